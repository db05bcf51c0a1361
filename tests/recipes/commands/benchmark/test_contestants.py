"""The contestants do the same work: from the same weights, over the same batches, they come to the same outputs."""

import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recipes.commands.benchmark import prepare
from recipes.commands.benchmark.cases import CASES, Problem
from recipes.commands.benchmark.contestants import CONTESTANTS, keras_parts, our_sides
from recipes.commands.benchmark.turns import Epochs

STEPS = 5
NAMES = [name for name in CASES if name != "mlp_128"]
RANDOM = "mlp_regularized"  # each framework draws dropout masks of its own
SCRIPT = """
import io, os, sys
from pathlib import Path
import numpy as np
from recipes.commands.benchmark.cases import CASES, Problem
from recipes.commands.benchmark.contestants import {module}
from recipes.commands.benchmark.turns import Epochs

for name in {names}:
    problem = Problem.load(CASES[name], Path(name + ".npz"))
    outputs, _ = {module}.{function}(problem, Epochs(1, io.StringIO("\\n"), open(os.devnull, "w")))
    np.save("{function}_" + name + ".npy", outputs)
"""


def epochs(count=1):
    return Epochs(count, io.StringIO("\n" * count), io.StringIO())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Problems of a few steps each, and what our loop comes to."""
    folder = tmp_path_factory.mktemp("problems")
    for name in NAMES:
        problem = prepare.problem(CASES[name], "digits", 1, STEPS * CASES[name].batch_size)
        problem.save(folder / f"{name}.npz")
        problem = Problem.load(CASES[name], folder / f"{name}.npz")
        np.save(folder / f"initial_{name}.npy", keras_parts.result(problem, keras_parts.build_model(problem))[0])
        outputs, weights = our_sides.custom_loop(problem, epochs())
        np.save(folder / f"ours_{name}.npy", outputs)
        np.savez(folder / f"weights_{name}.npz", *weights)
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_our_sides_end_with_the_same_bytes(folder, name):
    problem = Problem.load(CASES[name], folder / f"{name}.npz")
    with np.load(folder / f"weights_{name}.npz") as file:
        ours = [file[key].tobytes() for key in file.files]
    for train in (our_sides.fit, our_sides.fit_at_its_best) if name == "mlp" else (our_sides.fit,):
        assert [weight.tobytes() for weight in train(problem, epochs())[1]] == ours
    assert ours != [weight.tobytes() for weight in problem.weights]


@pytest.fixture(scope="module")
def trained(folder):
    """A function that lets another framework train all cases, in a process of its own, and returns the outputs."""
    done = set()

    def trained(contestant, name):
        if importlib.util.find_spec(contestant.needs) is None:
            if os.environ.get("CI"):
                pytest.fail("CI needs the extra `bench`")
            pytest.skip("the extra `bench` is not installed")
        module, function = contestant.function.split(".")
        if contestant.name not in done:
            script = SCRIPT.format(module=module, function=function, names=NAMES)
            ran = subprocess.run(
                [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
            )
            assert ran.returncode == 0, ran.stderr
            done.add(contestant.name)
        return np.load(folder / f"{function}_{name}.npy")

    return trained


PEERS = [each for each in CONTESTANTS if each.name in ("pytorch", "jax_step", "jax_scan")]


@pytest.mark.parametrize("name", [name for name in NAMES if name != RANDOM])
@pytest.mark.parametrize("contestant", PEERS, ids=lambda each: each.name)
@pytest.mark.process
def test_other_frameworks_come_to_our_outputs(folder, trained, contestant, name):
    outputs = trained(contestant, name)
    ours, initial = (np.load(folder / f"{kind}_{name}.npy") for kind in ("ours", "initial"))
    assert outputs.shape == ours.shape
    # Adam divides by small roots, so rounding grows; an update more or less would be a fifth of the way
    assert np.sqrt(np.mean((outputs - ours) ** 2)) < 0.1 * np.sqrt(np.mean((ours - initial) ** 2))


@pytest.mark.parametrize("contestant", PEERS, ids=lambda each: each.name)
@pytest.mark.process
def test_other_frameworks_regularize_as_we_do_but_for_the_masks(folder, trained, contestant):
    outputs, ours = trained(contestant, RANDOM), np.load(folder / f"ours_{RANDOM}.npy")
    assert np.corrcoef(outputs.ravel(), ours.ravel())[0, 1] > 0.9


def test_every_contestant_is_a_function_of_a_module_and_has_a_name_of_its_own():
    assert len({each.name for each in CONTESTANTS}) == len(CONTESTANTS)
    for each in CONTESTANTS:
        module, function = each.function.split(".")
        spec = importlib.util.find_spec(f"recipes.commands.benchmark.contestants.{module}")
        assert f"def {function}(" in Path(spec.origin).read_text(encoding="utf-8")
