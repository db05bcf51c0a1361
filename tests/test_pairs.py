"""Every pair found on disk is held to its promise: once as it is, and four kinds of step in several settings.

`.ci/run` takes those settings for all other pairs too, and `make parity` (PARITY=full) the product of all.
"""

import itertools
import os

import pytest

from recipes.commands import catalog, parity
from tests import trainings
from tests.trainings import slow

PAIRS = catalog.pairs()
TOLERANT = {name: pair.custom_loop.tolerance for name, pair in PAIRS.items() if pair.custom_loop.tolerance}
IDENTICAL = [name for name in PAIRS if name not in TOLERANT]
# The only pairs that may differ, and by how much.
WRITTEN_BY_HAND = {
    "adam": 1e-6,
    "gradient_descent": 1e-6,
    "learning_rate_schedule": 1e-6,
    "momentum": 1e-5,
    "rmsprop": 1e-6,
}
SMALLER = {"cross_validation": {"folds": 2}, "learning_rate_range_test": {"steps": 40}}  # the same code, less of it

EPOCH = "epoch"  # steps_per_execution: all batches of an epoch
# (XLA, steps_per_execution of fit, of the loop, seed); every value of every setting is in the subset at least once.
SUBSET = [(True, 1, EPOCH, 0), (False, 8, 8, 1), (True, EPOCH, 1, 1)]
ALL = list(itertools.product([True, False], [1, 8, EPOCH], [1, 8, EPOCH], [0, 1]))
FULL = os.environ.get("PARITY") == "full"
# What the driver has to treat alike: a plain step, convolutions, random bits, penalties.
KINDS = ("mlp_classifier", "cnn_classifier", "dropout", "l1_l2")
# 32 divides none of the default data sets: every epoch ends with a short batch.
TINY = {"epochs": 2, "batch_size": 32}


@pytest.fixture
def run_with(trained):
    """A function that returns the folder of a tiny run with these settings."""

    def run_with(name, side, jit_compile, steps_per_execution, seed):
        steps = 10**6 if steps_per_execution == EPOCH else steps_per_execution
        settings = {"jit_compile": jit_compile, "steps_per_execution": steps, "seed": seed}
        return trained(name, side, **TINY, **settings, **SMALLER.get(name, {})).folder

    return run_with


def test_the_subset_has_every_value_of_every_setting():
    for values, all_values in zip(zip(*SUBSET, strict=True), zip(*ALL, strict=True), strict=True):
        assert set(values) == set(all_values)


@pytest.mark.parametrize("name", [name for name in IDENTICAL if name not in KINDS])
def test_every_other_pair_ends_with_the_same_bytes_as_it_is(trained, name):
    defaults = {"jit_compile": trainings.module_of(name, "fit").HParams().jit_compile}
    fit, loop = (trained(name, side, **TINY, **defaults, **SMALLER.get(name, {})) for side in catalog.SIDES)
    result = parity.compare(fit.folder, loop.folder)
    assert result.identical, result.reasons


def with_settings():
    """Return a name and settings for each test; `make test` takes all for the plain step, else those without XLA."""
    few = [(name, *each) for name in KINDS for each in SUBSET if name == KINDS[0] or not each[0]]
    for name, settings in itertools.product(IDENTICAL, ALL if FULL else SUBSET):
        yield (name, *settings) if (name, *settings) in few else slow(name, *settings)


@pytest.mark.parametrize(("name", "jit_compile", "fit_steps", "loop_steps", "seed"), list(with_settings()))
def test_both_sides_end_with_the_same_bytes(run_with, name, jit_compile, fit_steps, loop_steps, seed):
    fit = run_with(name, "fit", jit_compile, fit_steps, seed)
    loop = run_with(name, "custom_loop", jit_compile, loop_steps, seed)
    result = parity.compare(fit, loop)
    assert result.identical, result.reasons


SHAPES = list(itertools.product(["digits", "breast_cancer", "wine"], [1, 2, 64], [8, 16, 47]))


@pytest.mark.parametrize(
    ("data", "hidden_units", "batch_size"),
    [SHAPES[0], *(slow(*shape) for shape in (SHAPES[1:] if FULL else SHAPES[10::10]))],
)
def test_one_program_has_the_bits_of_fit_for_other_shapes_too(trained, data, hidden_units, batch_size):
    settings = {"data": data, "hidden_units": hidden_units, "batch_size": batch_size, "epochs": 4, "jit_compile": True}
    fit = trained("mlp_classifier", "fit", learning_rate=0.03, **settings)
    loop = trained("mlp_classifier", "custom_loop", learning_rate=0.03, **settings)
    result = parity.compare(fit.folder, loop.folder)
    assert result.identical, result.reasons


def test_only_convolutions_do_without_one_program():
    nested = [name for name, pair in PAIRS.items() if "one_program=" in pair.custom_loop.text]
    assert nested == [name for name, pair in PAIRS.items() if "Conv2D(" in pair.fit.text]


@pytest.mark.parametrize("name", TOLERANT)
def test_hand_written_rules_stay_within_their_tolerance(trained, name):
    fit, loop = trained(name, "fit"), trained(name, "custom_loop")
    result = parity.compare(fit.folder, loop.folder, PAIRS[name].custom_loop.tolerance)
    assert result.within_tolerance, result.reasons


def test_only_the_listed_pairs_have_a_tolerance_and_no_larger_one():
    assert set(TOLERANT) <= set(WRITTEN_BY_HAND)
    assert all(TOLERANT[name] <= WRITTEN_BY_HAND[name] for name in TOLERANT)
    assert len(WRITTEN_BY_HAND) <= len(PAIRS) // 3


@pytest.mark.parametrize(
    "flags",
    [{"hidden_units": 1}, slow({"batch_size": 16}), slow({"learning_rate": 0.3})],
    ids=["one hidden unit", "batch size 16", "learning rate 0.3"],
)
def test_softmax_is_identical_where_one_program_was_not(trained, flags):
    settings = {"data": "breast_cancer", "epochs": 5, "jit_compile": True, **flags}
    runs = [trained("softmax_classifier", side, **settings) for side in catalog.SIDES]
    result = parity.compare(runs[0].folder, runs[1].folder)
    assert result.identical, result.reasons


def test_another_seed_gives_another_result(run_with):
    a = run_with("mlp_classifier", "fit", False, 8, 1)
    b = run_with("mlp_classifier", "custom_loop", False, EPOCH, 0)
    assert not parity.compare(a, b).holds
