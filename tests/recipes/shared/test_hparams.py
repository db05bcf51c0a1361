"""The hyper-parameters that every recipe has."""

import importlib
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar, Literal

import pytest

from recipes.commands import catalog
from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams
from recipes.shared.search_space import Choices, LogRange

EVERY_PAIR = pytest.mark.parametrize("pair", catalog.pairs().values(), ids=catalog.pairs())


def hparams_of(pair):
    return importlib.import_module(f"recipes.{pair.topic}.{pair.name}").HParams


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
        ("seed", -1, "at least 0"),
        ("seed", 2**32, "below 4294967296"),
        ("split_seed", -1, "at least 0"),
        ("split_seed", 2**32, "below 4294967296"),
        ("image_size", (0, 4), "two numbers from 1 to 2147483647"),
        ("image_size", (4, -1), "two numbers from 1 to 2147483647"),
        ("image_size", (2**31, 4), "two numbers from 1 to 2147483647"),
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
        {"split_seed": 2**32 - 1},
        {"image_size": (1, 2)},
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
        "drop": (),
        "keep": (),
        "numeric": (),
        "categorical": (),
        "split_column": None,
        "image_size": None,
        "channels_first": False,
        "split_seed": 0,
        "stream": False,
        "learning_rate": 0.001,
        "epochs": 3,
        "seed": 0,
        "train_on_validation": False,
        "steps_per_execution": None,
        "jit_compile": False,
        "clip_norm": 2.0,
    }
    assert HParams().used()["batch_size"] == 32


def test_domains_say_what_each_field_that_is_used_can_be():
    @dataclass(frozen=True, kw_only=True)
    class Own(HParams):
        unused: ClassVar[dict[str, str]] = {"batch_size": "it always takes the whole training part"}
        mode: Literal["slow", "fast", 3] = "slow"
        widths: tuple[int, ...] = (1, 2)
        clip_norm: float = 2.0
        patience: int | None = 3
        nesterov: bool = False

    assert Own().domains() == {
        "data": "text",
        "target": "text",
        "header": [False, True],
        "drop": "text",
        "keep": "text",
        "numeric": "text",
        "categorical": "text",
        "split_column": "text",
        "image_size": "text",
        "channels_first": [False, True],
        "split_seed": "number",
        "stream": [False, True],
        "learning_rate": "number",
        "epochs": "number",
        "seed": "number",
        "train_on_validation": [False, True],
        "steps_per_execution": "text",  # it may be left out, and "none" is no number
        "jit_compile": [False, True],
        "mode": ["slow", "fast", 3],
        "widths": "text",
        "clip_norm": "number",
        "patience": "text",
        "nesterov": [False, True],
    }
    assert HParams().domains()["batch_size"] == "number"
    assert HParams().domains().keys() == HParams().used().keys()


def test_domains_understand_annotations_that_are_written_as_text(tmp_path):
    source = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from typing import Literal\n"
        "from recipes.shared import hparams\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class HParams(hparams.HParams):\n"
        "    mode: Literal['a', 'b'] = 'a'\n"
        "    rate: float = 0.5\n"
        "print(HParams().domains()['mode'], HParams().domains()['rate'], HParams().domains()['epochs'])\n"
    )
    (tmp_path / "own.py").write_text(source)
    done = subprocess.run([sys.executable, tmp_path / "own.py"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['a', 'b'] number number\n", "")


def test_the_module_imports_neither_tensorflow_nor_numpy():
    code = (
        "import sys, recipes.shared.hparams; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_recipe_without_a_search_space_of_its_own_searches_learning_rate_and_batch_size_for_the_loss():
    assert HParams.search_space == {
        "learning_rate": LogRange(1e-4, 1e-1),
        "batch_size": Choices(16, 32, 64, 128),
    }
    assert HParams.objective == "val_loss"
    assert "search_space" not in HParams().used()
    assert "objective" not in HParams().used()


def test_a_recipe_that_changes_a_default_keeps_the_constraint():
    @dataclass(frozen=True, kw_only=True)
    class Own(HParams):
        learning_rate: float = 0.3

    with pytest.raises(UsageError, match="--learning-rate is 0; it must be greater than 0"):
        Own(learning_rate=0)


@EVERY_PAIR
def test_every_recipe_searches_what_it_has_and_uses(pair):
    space = hparams_of(pair).search_space
    validates = "train_step, None" not in pair.custom_loop.text
    assert bool(space) == validates  # without a validation score there is nothing to search by
    assert space.keys() <= hparams_of(pair)().used().keys()
    for name, domain in space.items():
        domain.check(name)


@EVERY_PAIR
def test_every_recipe_can_be_made_of_the_ends_of_its_search_space(pair):
    space = hparams_of(pair).search_space
    for name, domain in space.items():
        default = getattr(hparams_of(pair)(), name)
        for value in domain.values if isinstance(domain, Choices) else (domain.low, domain.high):
            assert type(value) is type(default)
            assert getattr(hparams_of(pair)(**{name: value}), name) == value


@EVERY_PAIR
def test_the_default_of_every_recipe_lies_in_its_search_space(pair):
    hparams = hparams_of(pair)()
    outside = {name for name, domain in hparams.search_space.items() if getattr(hparams, name) not in domain}
    assert not outside


@EVERY_PAIR
def test_the_objective_of_every_recipe_is_measured_on_the_validation_part(pair):
    objective = hparams_of(pair).objective
    assert objective.startswith("val_")
    assert objective.removeprefix("val_") in pair.fit.metrics


@EVERY_PAIR
def test_both_sides_search_the_same(pair):
    loop = importlib.import_module(f"custom_loops.{pair.topic}.{pair.name}").HParams
    assert loop.search_space == hparams_of(pair).search_space
    assert loop.objective == hparams_of(pair).objective
