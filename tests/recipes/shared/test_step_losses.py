"""The loss of every step, held against gradient descent replayed in NumPy, and the two sides against each other."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.shared.batches import Batches, epoch_order
from recipes.shared.step_losses import StepLosses, between

EXAMPLES, BATCH, EPOCHS, RATE, SEED = 29, 4, 3, 0.05, 7  # 7 full batches and one of 1
STEPS = 8
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(EXAMPLES, 3)).astype(np.float32)
Y = (X @ np.float32([[1], [-2], [0.5]]) + RANDOM.normal(0, 0.3, (EXAMPLES, 1))).astype(np.float32)
KERNEL = np.float32([[0.5], [0.25], [-1]])


def replayed(batch_size=BATCH, epochs=EPOCHS, rate=RATE):
    """The losses of mean squared error on a linear model, in float64."""
    x, y, kernel, losses = X.astype(np.float64), Y.astype(np.float64), KERNEL.astype(np.float64), []
    for epoch in range(epochs):
        order = epoch_order(EXAMPLES, SEED, epoch).numpy()
        for start in range(0, EXAMPLES, batch_size):
            rows = order[start : start + batch_size]
            error = x[rows] @ kernel - y[rows]
            losses.append((error**2).mean())
            kernel = kernel - rate * 2 * x[rows].T @ error / len(rows)
    return np.array(losses)


def build():
    keras.backend.clear_session()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([KERNEL])
    return model


def by_fit(batch_size=BATCH, epochs=EPOCHS, rate=RATE, others=()):
    model, batches, steps = build(), Batches((X, Y), batch_size, seed=SEED), StepLosses(EXAMPLES, batch_size)
    model.compile(keras.optimizers.SGD(rate), "mse", jit_compile=False)
    model.fit(batches.train, epochs=epochs, shuffle=False, callbacks=[batches, steps, *others], verbose=0)
    return steps


@functools.cache
def losses_of_fit():
    return by_fit().losses


def by_loop(steps_per_execution=None, batch_size=BATCH, epochs=EPOCHS, rate=RATE):
    model, optimizer = build(), keras.optimizers.SGD(rate)
    loss, mean_loss = keras.losses.MeanSquaredError(), keras.metrics.Mean(name="loss")

    def train_step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        mean_loss.update_state(value, sample_weight=tf.shape(x)[0])
        return {"loss": value}

    loop = Loop(model, train_step, None, [mean_loss], optimizer, steps_per_execution=steps_per_execution)
    steps = StepLosses(EXAMPLES, batch_size)
    loop.train(Batches((X, Y), batch_size, seed=SEED), epochs=epochs, callbacks=[steps])
    return steps


@pytest.mark.parametrize("batch_size", [4, 29, 40, 10])
def test_the_losses_of_fit_are_those_of_the_replay(batch_size):
    steps = by_fit(batch_size)
    assert steps.losses.dtype == np.float64
    np.testing.assert_allclose(steps.losses, replayed(batch_size), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps_per_execution", [None, 1, 5])
def test_the_losses_of_the_loop_are_those_of_the_replay_and_have_the_bytes_of_fit(steps_per_execution):
    losses = by_loop(steps_per_execution).losses
    assert losses.shape == (EPOCHS * STEPS,)
    np.testing.assert_allclose(losses, replayed(), rtol=1e-4, atol=1e-5)
    assert losses.tobytes() == losses_of_fit().tobytes()


@pytest.mark.parametrize("steps_per_execution", [9, 3])
def test_an_execution_that_lacks_one_step_is_counted_once(steps_per_execution):
    """8 steps: 9 lack one to be full, and so does the last execution of threes."""
    assert by_loop(steps_per_execution).losses.shape == (EPOCHS * STEPS,)


def test_the_replay_itself_learns():
    assert replayed()[-STEPS:].mean() < replayed()[:STEPS].mean() / 5


def test_a_training_that_ends_in_the_middle_of_an_epoch_keeps_the_steps_it_made():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = int(self.model.optimizer.iterations) == STEPS + 3

    np.testing.assert_allclose(by_fit(others=[Stop()]).losses, replayed()[: STEPS + 3], rtol=1e-4, atol=1e-5)


def test_no_step_has_no_loss():
    assert StepLosses(EXAMPLES, BATCH).losses.shape == (0,)


@pytest.mark.parametrize("train", [by_fit, by_loop])
def test_after_divergence_the_losses_are_not_finite_and_before_they_are_right(train):
    losses, expected = train(rate=1e4).losses, replayed(rate=1e4)
    assert not np.isfinite(losses[-STEPS:]).any()
    assert np.isnan(losses[-1])
    np.testing.assert_allclose(losses[:3], expected[:3], rtol=1e-3)


@pytest.mark.parametrize("train", [by_fit, by_loop])
def test_losses_that_become_nan_at_once_are_nan_from_there_on(train, monkeypatch):
    broken = Y.copy()
    broken[epoch_order(EXAMPLES, SEED, 0).numpy()[2 * BATCH]] = np.nan  # in the third batch
    before = replayed()[:2]
    monkeypatch.setitem(globals(), "Y", broken)
    losses = train().losses
    np.testing.assert_allclose(losses[:2], before, rtol=1e-4)
    assert np.isnan(losses[2:]).all()
    assert losses.shape == (EPOCHS * STEPS,)


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (7, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_the_epochs_that_so_many_steps_take(steps, epochs):
    assert StepLosses(EXAMPLES, BATCH).epochs(steps) == epochs
    assert StepLosses(32, BATCH).epochs(steps) == epochs


@pytest.mark.parametrize("seen", [(4, 8), (3, 23), (22, 23), (0, 5)])
def test_what_came_between_two_running_means_is_its_own_mean(seen):
    before, after = seen
    values = np.random.default_rng(1).exponential(size=after)
    mean_before = values[:before].mean() if before else 0.0
    assert between(mean_before, before, values.mean(), after) == pytest.approx(values[before:].mean(), rel=1e-12)


def test_what_came_between_two_float32_means_carries_their_rounding_and_no_more():
    values = np.random.default_rng(2).exponential(size=500)
    means = np.float32(np.cumsum(values) / np.arange(1, 501)).tolist()
    found = [between(means[n - 1], n, means[n], n + 1) for n in range(1, 500)]
    bound = 2e-7 * np.max(means) * np.arange(2, 501)  # 1e-7 of the mean, times how often one goes into all
    assert (np.abs(np.array(found) - values[1:]) < bound).all()


@pytest.mark.parametrize(
    ("means", "expected"), [((1.0, np.inf), np.inf), ((np.inf, np.inf), np.nan), ((1, np.nan), np.nan)]
)
def test_between_means_that_are_not_finite_nothing_is_known(means, expected):
    np.testing.assert_equal(between(means[0], 4, means[1], 8), expected)
