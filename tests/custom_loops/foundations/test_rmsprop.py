import keras
import numpy as np
import pytest
import tensorflow as tf

STEPS, A, RHO, EPSILON = 100, 0.01, 0.9, 1e-7


def gradients():
    """A hundred gradients for six weights, from far below epsilon's root to far above."""
    return np.random.default_rng(0).normal(size=(STEPS, 6)) * 10.0 ** np.array([-6, -4, -3, -1, 0, 3])


def reference(w):
    """The formula in float64 NumPy."""
    v = np.zeros_like(w)
    for gradient in gradients():
        v = RHO * v + (1 - RHO) * gradient**2
        w = w - A * gradient / np.sqrt(v + EPSILON)
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
    return train_step("rmsprop", model, learning_rate=A, rho=RHO, epsilon=EPSILON)


def start(model):
    return model.get_weights()[0][:, 0].astype(np.float64)


def test_a_hundred_steps_of_the_loop_follow_the_formula(model, step):
    expected = reference(start(model))
    for gradient in gradients():
        step(tf.constant(gradient[None], tf.float32), tf.zeros(1))
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, rtol=1e-5)


def test_a_hundred_steps_of_keras_follow_the_formula(model):
    expected = reference(start(model))
    optimizer = keras.optimizers.RMSprop(A, rho=RHO, epsilon=EPSILON)
    for gradient in gradients():
        optimizer.apply([tf.constant(gradient[:, None], tf.float32)], model.trainable_variables)
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, rtol=1e-5)


def test_epsilon_outside_the_root_would_not_pass(model):
    w = start(model)
    outside, v = w.copy(), 0.0
    for gradient in gradients():
        v = RHO * v + (1 - RHO) * gradient**2
        outside -= A * gradient / (np.sqrt(v) + EPSILON)
    assert abs(outside / reference(w) - 1).max() > 1e-3


def test_the_pair_learns_and_its_weights_agree_for_other_settings_too(trained):
    settings = {"data": "wine", "rho": 0.99, "epsilon": 1e-3, "epochs": 12}
    fit, loop = (trained("rmsprop", side, **settings) for side in ("fit", "custom_loop"))
    assert fit.metrics["accuracy"] >= 0.9
    for a, b in zip(*(np.load(run.folder / "state.npz").values() for run in (loop, fit)), strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
