import numpy as np
import pytest
import tensorflow as tf

from custom_loops.foundations import gradient_descent


def test_the_formulas_equal_the_tape_and_finite_differences():
    random = np.random.default_rng(0)
    x, y = tf.constant(random.normal(size=(20, 1))), tf.constant(random.normal(size=(20, 1)))
    w, b = tf.Variable([[0.7]], dtype=tf.float64), tf.Variable([-0.2], dtype=tf.float64)
    with tf.GradientTape() as tape:
        loss = gradient_descent.mean_squared_error(x, y, w, b)
    formulas = gradient_descent.formula_gradients(x, y, w, b)
    for variable, by_tape, by_formula in zip([w, b], tape.gradient(loss, [w, b]), formulas, strict=True):
        variable.assign_add(tf.fill(variable.shape, tf.constant(1e-6, tf.float64)))
        moved = gradient_descent.mean_squared_error(x, y, w, b)
        variable.assign_sub(tf.fill(variable.shape, tf.constant(1e-6, tf.float64)))
        assert by_formula.numpy().item() == pytest.approx(by_tape.numpy().item(), rel=1e-12)
        assert by_formula.numpy().item() == pytest.approx((moved - loss).numpy() / 1e-6, rel=1e-4)


@pytest.mark.parametrize("side", ["fit", "custom_loop"])
def test_ends_at_the_least_squares_solution(trained, side):
    run = trained("gradient_descent", side)
    dataset = gradient_descent.load_data(gradient_descent.HParams())
    design = np.hstack([dataset.train.x, np.ones_like(dataset.train.x)]).astype(np.float64)
    solution, *_ = np.linalg.lstsq(design, dataset.train.y.astype(np.float64), rcond=None)
    with np.load(run.folder / "state.npz") as state:
        trained = [state[name].item() for name in state.files if name.startswith("weights")]
    np.testing.assert_allclose(trained, solution[:, 0], rtol=1e-5, atol=1e-4)


def test_a_wrong_gradient_stops_the_loop(train, monkeypatch):
    monkeypatch.setattr(gradient_descent, "formula_gradients", lambda x, y, w, b: (w * 0, b * 0))
    with pytest.raises(tf.errors.InvalidArgumentError):
        train("gradient_descent", "custom_loop", epochs=1)
