"""Small trainings by `model.fit` and by `Loop`, for the tests of what drives and feeds both."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.shared import losses
from recipes.shared.batches import Batches
from recipes.shared.callbacks import StepCallback
from recipes.shared.streaming import Streamed

EXAMPLES, BATCH = 100, 8  # 12 full batches and one of 4
HOOKS = {
    f"on_{what}_{when}" for what in ("train", "epoch", "train_batch", "test", "test_batch") for when in ("begin", "end")
}
X = np.random.default_rng(0).normal(size=(EXAMPLES, 5)).astype(np.float32)
Y = (X.sum(axis=1) > 0).astype(np.int32)


class Parts(NamedTuple):
    """What `model.compile` takes; a train step has references to the same."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer | None
    loss: keras.losses.Loss | None
    metrics: list[keras.metrics.Metric]


def classifier(optimizer=None, metrics=None):
    """Return a model of two classes for `X`, always with the same weights and names."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    return Parts(model, optimizer or keras.optimizers.SGD(0.1), loss, [accuracy] if metrics is None else metrics)


def make_batches(batch_size=BATCH, **options):
    """Return `X` and `Y` in batches, the first 30 for validation and test as well."""
    held_out = X[:30], Y[:30]
    return Batches((X, Y), batch_size, **{"validation": held_out, "test": held_out} | options)


def fit(parts, batches, callbacks=(), epochs=2, **options):
    """Train by fit, and return the history."""
    model, optimizer, loss, metrics = parts
    model.compile(optimizer, loss, metrics=metrics, weighted_metrics=[], **{"jit_compile": False} | options)
    history = model.fit(
        batches.train,
        validation_data=batches.validation,
        epochs=epochs,
        shuffle=False,
        callbacks=[batches, *callbacks],
        verbose=0,
    )
    return history.history


def make_loop(parts, traced=None, **options):
    """Return a loop that does what fit does; `traced` gets the shape of `x` whenever Python runs the train step."""
    model, optimizer, loss, metrics = parts
    mean_loss = keras.metrics.Mean(name="loss")
    traced = [] if traced is None else traced

    def measure(x, y, weights, training):
        outputs = model(x, training=training)
        if loss is None:
            total_loss = losses.total(model.losses[0], model.losses[1:])
        else:
            total_loss = losses.total(loss(y, outputs, sample_weight=weights), model.losses)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(tf.nest.flatten(x)[0])[0])
        for metric in metrics:
            metric.update_state(y, outputs)
        return total_loss

    def train_step(x, y=None, weights=None):
        traced.append(tuple(tf.nest.flatten(x)[0].shape))
        with tf.GradientTape() as tape:
            total_loss = measure(x, y, weights, training=True)
        optimizer.apply(tape.gradient(total_loss, model.trainable_variables), model.trainable_variables)
        return {"loss": total_loss}

    def test_step(x, y=None, weights=None):
        return {"loss": measure(x, y, weights, training=False)}

    return Loop(model, train_step, test_step, [mean_loss, *metrics], optimizer, **options)


def loop(parts, batches, callbacks=(), epochs=2, traced=None, **options):
    """Train by a loop, and return the history."""
    return make_loop(parts, traced, **options).train(batches, epochs=epochs, callbacks=[batches, *callbacks])


def same_bytes(a, b):
    """Return whether all variables of two models are the same."""
    return [each.numpy().tobytes() for each in a.variables] == [each.numpy().tobytes() for each in b.variables]


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
            index = [value for value in args if isinstance(value, int)]
            logs = next((value for value in args if isinstance(value, dict)), logs)
            self.calls.append((name, *index, dict(logs or {})))
            if (name, *index) == self.stop_at:
                self.model.stop_training = True

        return hook


class Watching(StepCallback):
    """Asks to see the steps `watched` alone, and notes every call of the hooks of chunks and executions."""

    def __init__(self, watched=()):
        super().__init__()
        self.watched, self.asked = set(watched), []
        self.begun, self.ended, self.calls = [], [], []
        self.values, self.metrics = [], []

    def steps_to_watch(self, steps):
        self.asked.append(steps)
        return self.watched

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("batch_begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("batch_end", batch))

    def on_chunk_begin(self, first_step):
        self.calls.append(("chunk_begin", first_step))
        self.begun.append(first_step)

    def on_chunk_end(self, first_step, values, metrics):
        self.calls.append(("chunk_end", first_step))
        steps = {len(array) for array in (*values.values(), *metrics.values())}
        assert len(steps) <= 1
        self.ended.append((first_step, *steps))
        self.values.append(values)
        self.metrics.append(metrics)

    def all_values(self, name):
        """Return what every step so far has returned under `name`."""
        return np.concatenate([values[name] for values in self.values])

    def all_metrics(self, name):
        """Return the metric `name` after every step so far."""
        return np.concatenate([metrics[name] for metrics in self.metrics])


def stream(shards):
    """Return `X` and `Y` as a stream of shards of these sizes."""
    ends = np.cumsum(shards)

    def read(shard):
        rows = slice(ends[shard] - shards[shard], ends[shard])
        return X[rows], Y[rows]

    return Streamed(read, shards, keras.Sequential([keras.Input((5,)), keras.layers.Identity()]))
