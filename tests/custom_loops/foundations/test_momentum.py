import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops.foundations import momentum
from recipes.shared.batches import epoch_order

A, G = 0.1, 0.9


@pytest.fixture(scope="module")
def dataset():
    return momentum.load_data(momentum.HParams())


def reference(dataset, w, b, epochs, batch_size):
    """The moving-average form in float64 NumPy: v := g v + (1 - g) gradient, w := w - a v."""
    x, y = dataset.train.x.astype(np.float64), dataset.train.y.astype(np.float64)
    velocity_w, velocity_b = np.zeros_like(w), np.zeros_like(b)
    for epoch in range(epochs):
        order = epoch_order(len(x), 0, epoch).numpy()
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            residual = x[rows] @ w + b - y[rows]
            velocity_w = G * velocity_w + (1 - G) * 2 * x[rows].T @ residual / len(rows)
            velocity_b = G * velocity_b + (1 - G) * 2 * residual.mean(axis=0)
            w, b = w - A * velocity_w, b - A * velocity_b
    return w, b


@pytest.mark.parametrize("side", ["fit", "custom_loop"])
def test_a_hundred_steps_follow_the_formula(trained, dataset, side):
    w, b = (v.numpy().astype(np.float64) for v in momentum.build_model(momentum.HParams(), dataset).trainable_variables)
    expected = reference(dataset, w, b, epochs=12, batch_size=32)  # 108 steps
    run = trained("momentum", side, epochs=12)
    with np.load(run.folder / "state.npz") as state:
        trained = [state[name] for name in state.files if name.startswith("weights")]
    for value, exact in zip(trained, expected, strict=True):
        np.testing.assert_allclose(value, exact, rtol=1e-5, atol=1e-4 * abs(exact).max())


def test_one_step_in_eager_mode_moves_by_a_tenth_of_the_gradient(train_step, dataset):
    model = momentum.build_model(momentum.HParams(), dataset)
    before = [v.numpy() for v in model.trainable_variables]
    x, y = tf.constant(dataset.train.x[:4]), tf.constant(dataset.train.y[:4])
    with tf.GradientTape() as tape:
        value = keras.losses.MeanSquaredError()(y, model(x))
    gradients = tape.gradient(value, model.trainable_variables)
    train_step("momentum", model, learning_rate=A, momentum=G)(x, y)
    for variable, old, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(variable.numpy(), old - A * (1 - G) * gradient.numpy(), rtol=1e-5, atol=1e-6)
