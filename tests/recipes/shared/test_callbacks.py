"""Callbacks that see steps, and the calls of a loop that is written by hand, against those of `model.fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.shared.batches import Batches
from recipes.shared.callbacks import Hooks, StepCallback
from tests import loops
from tests.loops import BATCH, HOOKS, Recording, X, Y, classifier, make_batches, same_bytes


def by_hand(parts, batches, callbacks=(), epochs=2):
    """Train `parts` step by step in Python, and return the hooks."""
    model, optimizer, loss, (accuracy,) = parts
    mean_loss = keras.metrics.Mean(name="loss")
    optimizer.build(model.trainable_variables)

    def measure(x, y, training):
        logits = model(x, training=training)
        value = loss(y, logits)
        mean_loss.update_state(value, sample_weight=tf.shape(x)[0])
        accuracy.update_state(y, logits)
        return value

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            value = measure(x, y, training=True)
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)

    def results():
        return {metric.name: float(metric.result()) for metric in (accuracy, mean_loss)}

    def reset():
        for metric in (mean_loss, accuracy):
            metric.reset_state()

    def validate():
        reset()
        hooks.on_test_begin()
        for step, (x, y) in enumerate(batches.validation):
            hooks.on_test_batch_begin(step)
            measure(x, y, training=False)
            hooks.on_test_batch_end(step, results())
        hooks.on_test_end(results())
        return {f"val_{name}": value for name, value in results().items()}

    hooks = Hooks(model, [batches, *callbacks], epochs=epochs, steps=batches.steps)
    for _ in hooks.epochs():
        reset()
        for x, y in hooks.steps(batches.train):
            train_step(x, y)
            hooks.logs = results()
        if batches.validation is not None:
            hooks.logs |= validate()
    return hooks


@pytest.mark.slow
@pytest.mark.parametrize(
    "stop_at",
    [None, ("on_train_batch_end", 4), ("on_epoch_end", 0), ("on_train_begin",), ("on_test_batch_end", 1)],
)
@pytest.mark.parametrize("validate", [False, True])
def test_hooks_are_called_in_the_order_in_which_fit_calls_them(stop_at, validate):
    batches = make_batches(20) if validate else Batches((X, Y), 20)
    by_fit, by_hooks, a, b = Recording(stop_at), Recording(stop_at), classifier(), classifier()
    loops.fit(a, batches, [by_fit], epochs=3)
    by_hand(b, batches, [by_hooks], epochs=3)
    assert by_hooks.calls == by_fit.calls
    names = {name for name, *_ in by_fit.calls}
    assert names == {name for name in HOOKS if validate or "test" not in name}
    assert same_bytes(a.model, b.model)


def test_keras_callbacks_work_on_hooks_as_in_fit():
    def callbacks():
        return [
            keras.callbacks.EarlyStopping("val_loss", patience=0, restore_best_weights=True, min_delta=0.1),
            keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1)),
        ]

    batches, a, b = make_batches(20), classifier(), classifier()
    b.model.optimizer = b.optimizer  # what the scheduler sets
    by_fit = loops.fit(a, batches, callbacks(), epochs=8)
    hooks = by_hand(b, batches, callbacks(), epochs=8)
    assert b.model.history.history == by_fit
    assert len(by_fit["loss"]) < 8
    assert same_bytes(a.model, b.model)
    assert hooks.model is b.model


def test_the_progress_bar_is_there_if_it_is_asked_for(capsys):
    for verbose, said in ((0, False), (2, True)):
        hooks = Hooks(keras.Sequential([keras.Input((1,))]), epochs=1, steps=3, verbose=verbose)
        for _ in hooks.epochs():
            for value in hooks.steps(range(3)):
                hooks.logs = {"loss": float(value)}
        assert ("loss: 2.0" in capsys.readouterr().out) == said


def test_the_logs_of_a_step_are_those_that_were_set_in_it_and_an_epoch_begins_with_none():
    callback = Recording()
    hooks = Hooks(keras.Sequential([keras.Input((1,))]), [callback], epochs=2)
    for epoch in hooks.epochs():
        assert hooks.logs == {}
        for batch in hooks.steps("ab"):
            hooks.logs = {"loss": f"{batch}{epoch}"}
    ends = [(name, logs) for name, *_, logs in callback.calls if name.endswith("end")]
    assert ends == [
        ("on_train_batch_end", {"loss": "a0"}),
        ("on_train_batch_end", {"loss": "b0"}),
        ("on_epoch_end", {"loss": "b0"}),
        ("on_train_batch_end", {"loss": "a1"}),
        ("on_train_batch_end", {"loss": "b1"}),
        ("on_epoch_end", {"loss": "b1"}),
        ("on_train_end", {"loss": "b1"}),
    ]


def test_epochs_go_on_where_batches_say_and_see_their_orders():
    batches, seen = Batches((np.arange(10),), 10, seed=3), []
    batches.first_epoch = 2
    hooks = Hooks(keras.Sequential([keras.Input((1,))]), [batches], epochs=4, steps=batches.steps)
    for epoch in hooks.epochs():
        seen += [(epoch, x.numpy().tolist()) for (x,) in hooks.steps(batches.train)]
    batches.on_epoch_begin(3)
    assert [epoch for epoch, _ in seen] == [2, 3]
    assert seen[1][1] == next(iter(batches.train))[0].numpy().tolist()
    assert seen[0][1] != seen[1][1]
    assert sorted(seen[0][1]) == list(range(10))


class Finds(StepCallback):
    """Notes what it finds when training begins, and which steps are done after each execution."""

    def __init__(self):
        super().__init__()
        self.done = []

    def on_train_begin(self, logs=None):
        self.found = self.loop

    def on_train_batch_end(self, batch, logs=None):
        self.done.append(self.steps_done(batch))


def test_a_step_callback_finds_what_trains():
    assert Finds().loop is None
    model = keras.Sequential([keras.Input((1,))])
    by_hooks, by_owner, by_fit = Finds(), Finds(), Finds()
    hooks = Hooks(model, [by_hooks], epochs=1, train_step=len, test_step=max)
    assert list(hooks.epochs()) == [0]
    assert by_hooks.found is hooks
    assert (hooks.train_step, hooks.test_step) == (len, max)
    assert hooks.variables() is None
    owner = object()
    assert list(Hooks(model, [by_owner], epochs=1, loop=owner).epochs()) == [0]
    assert by_owner.found is owner
    loops.fit(classifier(), make_batches(20), [by_fit], epochs=1)
    assert by_fit.found is None


@pytest.mark.parametrize("train", [loops.fit, loops.loop])
@pytest.mark.parametrize("steps_per_execution", [1, 5, 20])
def test_the_steps_that_are_done_never_count_past_the_end(train, steps_per_execution):
    callback = Finds()
    train(classifier(), make_batches(BATCH), [callback], epochs=1, steps_per_execution=steps_per_execution)
    assert callback.done == [
        min(end, 13) for end in range(steps_per_execution, 13 + steps_per_execution, steps_per_execution)
    ]


def test_without_a_known_number_of_steps_the_count_is_believed():
    callback = Finds()
    hooks = Hooks(keras.Sequential([keras.Input((1,))]), [callback], epochs=1)
    for _ in hooks.epochs():
        assert list(hooks.steps("abc")) == ["a", "b", "c"]
    assert callback.done == [1, 2, 3]


def test_a_step_callback_that_says_nothing_changes_nothing():
    a, b = classifier(), classifier()
    assert loops.loop(a, make_batches(), [StepCallback()]) == loops.loop(b, make_batches())
    assert same_bytes(a.model, b.model)
