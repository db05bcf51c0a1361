"""The hyper-parameters that every recipe has."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar

import pytest

from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams


@pytest.mark.parametrize(
    ("field", "value", "condition"),
    [
        ("learning_rate", 0.0, "greater than 0"),
        ("learning_rate", -0.1, "greater than 0"),
        ("learning_rate", float("nan"), "greater than 0"),
        ("learning_rate", float("inf"), "finite"),
        ("batch_size", 0, "at least 1"),
        ("batch_size", -32, "at least 1"),
        ("epochs", 0, "at least 1"),
        ("seed", -1, "between 0 and 4294967295"),
        ("seed", 2**32, "between 0 and 4294967295"),
        ("steps_per_execution", 0, "at least 1"),
    ],
)
def test_a_value_that_no_run_can_use_is_refused_with_its_flag(field, value, condition):
    with pytest.raises(UsageError) as error:
        HParams(**{field: value})
    assert str(error.value) == f"--{field.replace('_', '-')} is {value}; it must be {condition}"


@pytest.mark.parametrize(
    "values",
    [
        {"learning_rate": 1e-30},
        {"batch_size": 1, "epochs": 1, "steps_per_execution": 1},
        {"seed": 0},
        {"seed": 2**32 - 1},
        {"steps_per_execution": None},
    ],
)
def test_a_value_at_the_edge_is_accepted(values):
    hparams = HParams(**values)
    assert {name: getattr(hparams, name) for name in values} == values


def test_a_record_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        HParams().epochs = 3


def test_a_recipe_checks_its_own_fields_as_well_as_the_inherited_ones():
    @dataclass(frozen=True, kw_only=True)
    class Own(HParams):
        clip_norm: float = 1.0

        def __post_init__(self):
            super().__post_init__()
            self.require(self.clip_norm > 0, "clip_norm", "greater than 0")

    with pytest.raises(UsageError, match=r"--clip-norm is -1\.0; it must be greater than 0"):
        Own(clip_norm=-1.0)
    with pytest.raises(UsageError, match="--epochs is 0"):
        Own(epochs=0)


def test_used_leaves_out_what_the_recipe_has_no_use_for():
    @dataclass(frozen=True, kw_only=True)
    class FullBatch(HParams):
        unused: ClassVar[dict[str, str]] = {"batch_size": "it always takes the whole training part"}
        clip_norm: float = 2.0

    assert FullBatch(epochs=3).used() == {
        "data": "digits",
        "target": None,
        "header": True,
        "learning_rate": 0.001,
        "epochs": 3,
        "seed": 0,
        "steps_per_execution": None,
        "jit_compile": True,
        "clip_norm": 2.0,
    }
    assert HParams().used()["batch_size"] == 32


def test_the_module_imports_neither_tensorflow_nor_numpy():
    code = (
        "import sys, recipes.shared.hparams; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
