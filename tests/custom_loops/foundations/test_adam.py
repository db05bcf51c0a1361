import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops.foundations import adam
from recipes.commands import parity

STEPS, A, B1, B2, EPSILON = 100, 0.01, 0.9, 0.999, 1e-7


def gradients():
    """A hundred gradients for six weights, from about epsilon to far above."""
    return np.random.default_rng(0).normal(size=(STEPS, 6)) * 10.0 ** np.array([-7, -5, -3, -1, 0, 3])


def reference(w, epsilon_hat=True):
    """Textbook moments in float64 NumPy, with the epsilon of the paper's section 2, last form, or of Algorithm 1."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, gradient in enumerate(gradients(), start=1):
        m = B1 * m + (1 - B1) * gradient
        v = B2 * v + (1 - B2) * gradient**2
        if epsilon_hat:
            w = w - A * np.sqrt(1 - B2**t) / (1 - B1**t) * m / (np.sqrt(v) + EPSILON)
        else:
            w = w - A * (m / (1 - B1**t)) / (np.sqrt(v / (1 - B2**t)) + EPSILON)
    return w


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.linspace(1, 2, 6)[:, None]])  # not next to 0, where a relative error means nothing
    return model


@pytest.fixture
def step(train_step, model, monkeypatch):
    """The train step with a loss that is linear in the weights, so that its gradient is the example itself."""
    monkeypatch.setattr(
        keras.losses, "SparseCategoricalCrossentropy", lambda from_logits: lambda y, output: tf.reduce_sum(output)
    )
    return train_step("adam", model, learning_rate=A, beta_1=B1, beta_2=B2, epsilon=EPSILON)


def start(model):
    return model.get_weights()[0][:, 0].astype(np.float64)


def test_a_hundred_steps_of_the_loop_follow_the_formula(model, step):
    expected = reference(start(model))
    for gradient in gradients():
        step(tf.constant(gradient[None], tf.float32), tf.zeros(1))
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, rtol=1e-5)


def test_a_hundred_steps_of_keras_follow_the_formula(model):
    expected = reference(start(model))
    optimizer = keras.optimizers.Adam(A, beta_1=B1, beta_2=B2, epsilon=EPSILON)
    for gradient in gradients():
        optimizer.apply([tf.constant(gradient[:, None], tf.float32)], model.trainable_variables)
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, rtol=1e-5)


def test_the_epsilon_of_algorithm_1_is_another_rule(model):
    w = start(model)
    assert abs(reference(w, epsilon_hat=False) / reference(w) - 1).max() > 1e-2


def test_without_bias_correction_the_first_step_would_be_another(model, step):
    w = start(model)
    step(tf.constant([[5.0, -5.0, 0.1, -0.1, 1.0, 100.0]]), tf.zeros(1))
    moved = model.get_weights()[0][:, 0] - w
    np.testing.assert_allclose(moved, A * np.array([-1, 1, -1, 1, -1, -1]), rtol=1e-4)  # corrected: a whole a each


def test_the_pair_learns_and_stays_within_its_tolerance_for_other_settings_too(trained):
    settings = {"data": "wine", "beta_1": 0.5, "beta_2": 0.99, "epsilon": 1e-3, "epochs": 12}
    fit, loop = (trained("adam", side, **settings) for side in ("fit", "custom_loop"))
    assert fit.metrics["accuracy"] >= 0.9
    for a, b in zip(*(np.load(run.folder / "state.npz").values() for run in (loop, fit)), strict=False):
        np.testing.assert_allclose(a, b, rtol=adam.TOLERANCE, atol=adam.TOLERANCE)


@pytest.mark.slow
def test_the_rule_adds_up_in_the_order_of_keras_so_that_a_long_run_at_a_high_rate_agrees_too(trained):
    fit, loop = (trained("adam", side, learning_rate=0.1, epochs=60) for side in ("fit", "custom_loop"))
    result = parity.compare(fit.folder, loop.folder, adam.TOLERANCE)
    assert result.weights_max_abs_diff == 0.0
    assert result.history_max_abs_diff == 0.0
