"""A program that several trainings share ends each of them with the bits of a program of its own."""

import contextlib
import json

import keras
import pytest
import tensorflow as tf
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

from custom_loops.loop import Loop
from recipes.commands import catalog
from recipes.shared import programs
from recipes.supervised import mlp_classifier, softmax_classifier
from tests import trainings
from tests.trainings import slow

# Every pair that shares, what it trains with first, and what with then: all that may differ does.
SHARING = [name for name, pair in catalog.pairs().items() if "programs.reuse(" in pair.fit.text]
FIRST = {"epochs": 3, "learning_rate": 0.03, "batch_size": 32, "seed": 7}
SECOND = {"epochs": 2, "learning_rate": 0.002, "batch_size": 16, "seed": 3}


def files(run):
    """Return what a run and its children ended with, to the last bit."""
    return {
        path.relative_to(run.folder): json.loads(path.read_text()) if path.suffix == ".json" else path.read_bytes()
        for name in ("history.json", "state.npz")
        for path in sorted(run.folder.rglob(name))
    }


@pytest.fixture
def traced(monkeypatch):
    """A list that gets the name of a model whenever it is called in a graph, as in tracing a step.

    What Keras does to learn shapes does not count: a model of models is called to be built, and to be saved.
    """
    traced = []
    call = keras.Model.__call__

    def counted(self, *args, **kwargs):
        if not tf.executing_eagerly() and not in_symbolic_scope():
            traced.append(self.name)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "__call__", counted)
    return traced


def test_the_pairs_that_share_do_so_on_both_sides():
    assert {"mlp_classifier", "softmax_classifier", "cnn_classifier", "early_stopping", "dropout"} <= set(SHARING)
    assert [name for name, pair in catalog.pairs().items() if "programs.reuse(" in pair.custom_loop.text] == SHARING


FEW = [("mlp_classifier", "fit", False), ("mlp_classifier", "custom_loop", False)]
AS_THEY_ARE = [
    (name, side, trainings.module_of(name, side).HParams().jit_compile)
    for name in SHARING
    for side in ("fit", "custom_loop")
]


@pytest.mark.parametrize(
    ("name", "side", "jit_compile"), [*FEW, *(slow(*each) for each in AS_THEY_ARE if each not in FEW)]
)
def test_a_shared_program_gives_the_bits_of_a_program_of_its_own(name, jit_compile, side, train, traced):
    alone = train(name, side, **SECOND, jit_compile=jit_compile)
    traced.clear()
    with programs.kept():
        train(name, side, **FIRST, jit_compile=jit_compile)
        before = len(traced)
        shared = train(name, side, **SECOND, jit_compile=jit_compile)
    assert before
    assert len(traced) == before
    assert files(shared) == files(alone)
    assert shared.metrics == alone.metrics
    assert shared.validation_metrics == alone.validation_metrics


@pytest.mark.slow
@pytest.mark.parametrize("side", ["fit", "custom_loop"])
def test_another_architecture_has_a_program_of_its_own(side, train, traced):
    with programs.kept():
        train("mlp_classifier", side, **FIRST)
        before = len(traced)
        wide = train("mlp_classifier", side, **SECOND, hidden_units=8)
        after = len(traced)
        assert after > before
        again = train("mlp_classifier", side, **SECOND, hidden_units=8)
        assert len(traced) == after
    assert files(again) == files(wide)


def make(hparams, optimizer):
    dataset = mlp_classifier.load_data(hparams)
    model = mlp_classifier.build_model(hparams, dataset)
    return Loop(model, lambda x, y: None, None, [keras.metrics.Mean(name="loss")], optimizer)


def test_outside_of_a_search_every_loop_is_its_own():
    hparams = mlp_classifier.HParams()
    first, second = make(hparams, keras.optimizers.SGD(0.1)), make(hparams, keras.optimizers.SGD(0.1))
    assert programs.reuse(first, hparams) is first
    assert programs.reuse(second, hparams) is second


def test_inside_the_first_one_comes_back_with_the_values_of_the_second():
    hparams = mlp_classifier.HParams()
    with programs.kept():
        first = programs.reuse(make(hparams, keras.optimizers.Adam(0.1)), hparams)
        for variable in first.model.variables:
            variable.assign(variable + 1)  # as if it had trained
        second = make(hparams, keras.optimizers.Adam(0.25))
        assert programs.reuse(second, hparams) is first
        assert float(first.model.optimizer.learning_rate) == 0.25
        for variable, expected in zip(first.model.variables, second.model.variables, strict=True):
            assert variable.numpy().tobytes() == expected.numpy().tobytes()
        other = softmax_classifier.HParams()  # the same fields, and another recipe
        third = make(hparams, keras.optimizers.Adam(0.1))
        assert programs.reuse(third, other) is third
    assert programs.reuse(second, hparams) is second


@pytest.mark.parametrize(
    "optimizer", [None, keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10))], ids=["none", "schedule"]
)
@pytest.mark.parametrize("kept", [programs.kept, contextlib.nullcontext])
def test_a_rate_that_is_compiled_in_is_refused(optimizer, kept):
    with kept(), pytest.raises(ValueError, match="compiled into the step"):
        programs.reuse(make(mlp_classifier.HParams(), optimizer), mlp_classifier.HParams())


def test_the_seed_of_tensorflow_is_set_only_when_it_changes_once_something_is_shared(monkeypatch):
    seeds = []
    monkeypatch.setattr(tf.random, "set_seed", seeds.append)
    with programs.kept():
        for seed in (1, 1):  # a recipe that shares nothing may draw from TensorFlow's generator
            keras.utils.set_random_seed(seed)
        assert seeds == [1, 1]
        hparams = mlp_classifier.HParams(seed=2)
        programs.reuse(make(hparams, keras.optimizers.SGD(0.1)), hparams)
        assert seeds == [1, 1, 2]
        for seed in (2, 2, 3, 3, 2):
            keras.utils.set_random_seed(seed)
        assert seeds == [1, 1, 2, 3, 2]
    keras.utils.set_random_seed(2)
    assert seeds == [1, 1, 2, 3, 2, 2]
