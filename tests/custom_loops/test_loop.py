"""The driver against `model.fit`: the same calls of the same hooks, the same stops; and no tracing without need."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops import loop
from recipes.shared import data, losses
from recipes.shared.errors import UsageError

EXAMPLES, BATCH = 100, 8  # 12 full batches and one of 4
HOOKS = {
    f"on_{what}_{when}" for what in ("train", "epoch", "train_batch", "test", "test_batch") for when in ("begin", "end")
}


class Recording(keras.callbacks.Callback):
    """Writes down every call of every hook."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.calls = []
        self.stop_at = stop_at

    def __getattribute__(self, name):
        if name not in HOOKS:
            return super().__getattribute__(name)

        def hook(*args, logs=None):
            *index, logs = (*args, logs) if len(args) < 2 else args
            index = [value for value in index if not isinstance(value, dict)]
            self.calls.append((name, *index, dict(logs or {})))
            if (name, *index) == self.stop_at:
                self.model.stop_training = True

        return hook


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)
    x = random.normal(size=(EXAMPLES, 5)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(np.int32)
    split = data.Split(x, y)
    held_out = data.Split(x[:30], y[:30])
    return data.Dataset(split, held_out, held_out, keras.Sequential([keras.Input((5,))]), ("no", "yes"))


def build():
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return model, keras.optimizers.SGD(0.1), loss


def fit(dataset, callbacks, steps_per_execution, epochs=2):
    model, optimizer, loss = build()
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(optimizer, loss, metrics=[accuracy], steps_per_execution=steps_per_execution, jit_compile=False)
    order = data.EpochOrder(dataset.train, 0)
    model.fit(
        order.batches(BATCH),
        validation_data=data.batches(dataset.validation, BATCH),
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[order, *callbacks],
    )
    return model


def run_loop(dataset, callbacks, steps_per_execution, epochs=2, traced=None, **options):
    model, optimizer, loss = build()
    metrics = [keras.metrics.Mean(name="loss"), keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def measure(x, y, logits, total):
        metrics[0].update_state(total, sample_weight=tf.shape(x)[0])
        metrics[1].update_state(y, logits)

    def train_step(x, y):
        if traced is not None:
            traced.append(x.shape)
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            total = losses.total(loss(y, logits), model.losses)
        optimizer.apply(tape.gradient(total, model.trainable_variables), model.trainable_variables)
        measure(x, y, logits, total)

    def test_step(x, y):
        logits = model(x, training=False)
        measure(x, y, logits, loss(y, logits))

    history = loop.train(
        model,
        train_step,
        test_step,
        metrics,
        dataset,
        batch_size=BATCH,
        epochs=epochs,
        seed=0,
        steps_per_execution=steps_per_execution,
        optimizer=optimizer,
        callbacks=callbacks,
        **options,
    )
    return model, history


def same_bytes(a, b):
    return [v.numpy().tobytes() for v in a.variables] == [v.numpy().tobytes() for v in b.variables]


@pytest.mark.parametrize("steps_per_execution", [1, 5, 13, 20])
def test_hooks_are_called_as_fit_calls_them(dataset, steps_per_execution):
    by_fit, by_loop = Recording(), Recording()
    fit(dataset, [by_fit], steps_per_execution)
    run_loop(dataset, [by_loop], steps_per_execution)
    assert by_loop.calls == by_fit.calls
    assert sum(name == "on_train_batch_end" for name, *_ in by_fit.calls) == 2 * -(-13 // steps_per_execution)


@pytest.mark.parametrize("steps_per_execution", [1, 5])
@pytest.mark.parametrize("stop_at", [("on_train_batch_end", 4), ("on_epoch_end", 0), ("on_train_begin",)])
def test_stop_training_stops_where_fit_stops(dataset, steps_per_execution, stop_at):
    by_fit, by_loop = Recording(stop_at), Recording(stop_at)
    a = fit(dataset, [by_fit], steps_per_execution, epochs=3)
    b, _ = run_loop(dataset, [by_loop], steps_per_execution, epochs=3)
    assert by_loop.calls == by_fit.calls
    assert same_bytes(a, b)


@pytest.mark.parametrize(
    "make_callbacks",
    [
        lambda: [keras.callbacks.EarlyStopping("val_loss", patience=0, restore_best_weights=True, min_delta=0.05)],
        lambda: [keras.callbacks.ReduceLROnPlateau("val_loss", patience=0, factor=0.1, min_delta=0.05)],
        lambda: [keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1))],
    ],
    ids=["EarlyStopping", "ReduceLROnPlateau", "LearningRateScheduler"],
)
def test_keras_callbacks_do_on_the_loop_what_they_do_in_fit(dataset, make_callbacks):
    a = fit(dataset, make_callbacks(), 1, epochs=8)
    b, history = run_loop(dataset, make_callbacks(), None, epochs=8)
    assert same_bytes(a, b)
    assert history == a.history.history


def test_a_callback_that_needs_a_compiled_model_is_refused_in_one_line(dataset):
    class Evaluates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.evaluate(np.zeros((2, 5)), np.zeros(2), verbose=0)

    with pytest.raises(UsageError, match="needs a compiled model") as error:
        run_loop(dataset, [Evaluates()], None)
    assert "\n" not in str(error.value)


def test_a_callbacks_own_error_is_not_hidden(dataset):
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run_loop(dataset, [Fails()], None)


@pytest.mark.parametrize(
    ("options", "steps_per_execution", "shapes"),
    [
        ({}, None, [(8, 5), (4, 5)]),  # nested: once per batch size
        ({}, 5, [(8, 5), (4, 5)]),
        ({"jit_compile": True}, None, [(8, 5), (4, 5)]),
        ({"jit_compile": True, "one_program": True}, None, [(8, 5), (4, 5)]),
        ({"jit_compile": True, "one_program": True}, 9, [(8, 5), (8, 5), (4, 5)]),  # 9 fused, 3 and 1 nested
    ],
)
def test_steps_are_traced_once_per_shape_and_never_after_the_first_epoch(dataset, options, steps_per_execution, shapes):
    traced = []
    run_loop(dataset, [], steps_per_execution, epochs=3, traced=traced, **options)
    assert [tuple(shape) for shape in traced] == shapes


def test_callbacks_that_ask_for_it_see_every_single_step(dataset):
    class Steps(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.losses = []

        def on_train_chunk_end(self, first_step, logs):
            assert first_step == len(self.losses)
            self.losses += logs["loss"].tolist()

    steps, batches = Steps(), Recording()
    run_loop(dataset, [steps], None, epochs=1)
    fit(dataset, [batches], 1, epochs=1)
    assert steps.losses == [logs["loss"] for name, *_, logs in batches.calls if name == "on_train_batch_end"]


def test_evaluate_gives_the_metrics_of_keras(dataset):
    model, _, loss = build()
    mean_loss = keras.metrics.Mean(name="loss")

    def test_step(x, y):
        mean_loss.update_state(loss(y, model(x, training=False)), sample_weight=tf.shape(x)[0])

    result = loop.evaluate(test_step, [mean_loss], dataset.train, batch_size=BATCH)
    model.compile(loss=loss, jit_compile=False)
    batches = data.batches(dataset.train, BATCH)
    assert result == model.evaluate(batches, return_dict=True, verbose=0)
    logits = model(dataset.train.x).numpy().astype(np.float64)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert result["loss"] == pytest.approx(-log_softmax[np.arange(EXAMPLES), dataset.train.y].mean(), rel=1e-6)
