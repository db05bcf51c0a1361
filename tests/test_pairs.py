"""Every pair found on disk is held to its promise. `make parity` (PARITY=full) runs the product of all settings."""

import itertools
import os

import pytest

from recipes.commands import catalog, parity

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
FULL = list(itertools.product([True, False], [1, 8, EPOCH], [1, 8, EPOCH], [0, 1]))
SETTINGS = FULL if os.environ.get("PARITY") == "full" else SUBSET


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train_into):
    """Train a side once for each of its own settings; many comparisons share a run."""
    folders = {}

    def trained(name, side, jit_compile, steps_per_execution, seed):
        key = (name, side, jit_compile, steps_per_execution, seed)
        if key not in folders:
            folder = tmp_path_factory.mktemp(f"{name}_{side}")
            steps = 10**6 if steps_per_execution == EPOCH else steps_per_execution
            # 32 divides none of the default data sets: every epoch ends with a short batch.
            train_into(
                folder,
                name,
                side,
                epochs=2,
                batch_size=32,
                jit_compile=jit_compile,
                steps_per_execution=steps,
                seed=seed,
                **SMALLER.get(name, {}),
            )
            folders[key] = folder
        return folders[key]

    return trained


def test_the_subset_has_every_value_of_every_setting():
    for values, all_values in zip(zip(*SUBSET, strict=True), zip(*FULL, strict=True), strict=True):
        assert set(values) == set(all_values)


@pytest.mark.parametrize(("jit_compile", "fit_steps", "loop_steps", "seed"), SETTINGS)
@pytest.mark.parametrize("name", IDENTICAL)
def test_both_sides_end_with_the_same_bytes(trained, name, jit_compile, fit_steps, loop_steps, seed):
    fit = trained(name, "fit", jit_compile, fit_steps, seed)
    loop = trained(name, "custom_loop", jit_compile, loop_steps, seed)
    result = parity.compare(fit, loop)
    assert result.identical, result.reasons


SHAPES = list(itertools.product(["digits", "breast_cancer", "wine"], [1, 2, 64], [8, 16, 47]))


@pytest.mark.parametrize(("data", "hidden_units", "batch_size"), SHAPES if SETTINGS is FULL else SHAPES[::10])
def test_one_program_has_the_bits_of_fit_for_other_shapes_too(train, data, hidden_units, batch_size):
    settings = {"data": data, "hidden_units": hidden_units, "batch_size": batch_size, "epochs": 4, "jit_compile": True}
    fit = train("mlp_classifier", "fit", learning_rate=0.03, **settings)
    loop = train("mlp_classifier", "custom_loop", learning_rate=0.03, **settings)
    result = parity.compare(fit.folder, loop.folder)
    assert result.identical, result.reasons


def test_only_convolutions_do_without_one_program():
    nested = [name for name, pair in PAIRS.items() if "one_program=False" in pair.custom_loop.text]
    assert nested == [name for name, pair in PAIRS.items() if "Conv2D(" in pair.fit.text]


@pytest.mark.parametrize("name", TOLERANT)
def test_hand_written_rules_stay_within_their_tolerance(train, name):
    fit, loop = train(name, "fit"), train(name, "custom_loop")
    result = parity.compare(fit.folder, loop.folder, PAIRS[name].custom_loop.tolerance)
    assert result.within_tolerance, result.reasons


def test_only_the_listed_pairs_have_a_tolerance_and_no_larger_one():
    assert set(TOLERANT) <= set(WRITTEN_BY_HAND)
    assert all(TOLERANT[name] <= WRITTEN_BY_HAND[name] for name in TOLERANT)
    assert len(WRITTEN_BY_HAND) <= len(PAIRS) // 3


@pytest.mark.parametrize(
    "flags",
    [{"hidden_units": 1}, {"batch_size": 16}, {"learning_rate": 0.3}],
    ids=["one hidden unit", "batch size 16", "learning rate 0.3"],
)
def test_softmax_is_identical_where_one_program_was_not(train, flags):
    runs = [train("softmax_classifier", side, data="breast_cancer", epochs=5, **flags) for side in catalog.SIDES]
    result = parity.compare(runs[0].folder, runs[1].folder)
    assert result.identical, result.reasons


def test_another_seed_gives_another_result(trained):
    a = trained("mlp_classifier", "fit", False, 8, 1)
    b = trained("mlp_classifier", "custom_loop", False, EPOCH, 0)
    assert not parity.compare(a, b).holds
