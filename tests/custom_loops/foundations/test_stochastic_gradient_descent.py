import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LinearRegression

from custom_loops.foundations import stochastic_gradient_descent as sgd
from recipes.shared.errors import UsageError
from tests.trainings import seeds


@pytest.fixture(scope="module")
def dataset():
    return sgd.load_data(sgd.HParams())


@pytest.mark.parametrize("seed", seeds(3))
def test_single_examples_and_batches_reach_the_same_solution_and_batches_less_noisily(trained, dataset, seed):
    solution = LinearRegression().fit(dataset.train.x.astype(np.float64), dataset.train.y.astype(np.float64))
    run = trained("stochastic_gradient_descent", "custom_loop", seed=seed)
    assert [child.name for child in run.children] == ["batch_1", "batch_16"]
    for child in run.children:
        with np.load(child.folder / "state.npz") as state:
            kernel, bias = (state[name] for name in state.files if name.startswith("weights"))
        assert kernel[0, 0] == pytest.approx(solution.coef_[0, 0], rel=1e-4)
        assert bias[0] == pytest.approx(solution.intercept_[0], abs=1e-3)
    assert run.metrics["step_noise_batch_16"] < run.metrics["step_noise_batch_1"] / 3


@pytest.mark.slow
def test_the_noise_of_a_step_falls_with_the_batch_size_as_its_formula_says(trained):
    options = {"data": "diabetes", "learning_rate": 0.02}  # ten features and many batches, so a sharp mean
    n, noise = len(sgd.load_data(sgd.HParams(data="diabetes")).train), {}
    for batch_size in (2, 8, 32):
        run = trained("stochastic_gradient_descent", "custom_loop", batch_size=batch_size, **options)
        noise[batch_size] = run.metrics[f"step_noise_batch_{batch_size}"]
    for b, size in noise.items():
        assert size == pytest.approx(noise[2] * np.sqrt((n - b) / b / ((n - 2) / 2)), rel=0.25)
    assert noise[2] > noise[8] > noise[32]


def test_a_step_follows_the_gradient_of_its_own_example(train_step, dataset):
    model = sgd.build_model(sgd.HParams(), dataset)
    w, b = (variable.numpy().astype(np.float64) for variable in model.trainable_variables)
    x, y = dataset.train.x[:1], dataset.train.y[:1]
    residual = x.astype(np.float64) @ w + b - y
    step = train_step("stochastic_gradient_descent", model, learning_rate=0.01)
    step(tf.constant(x), tf.constant(y))
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(kernel, w - 0.01 * 2 * x.T @ residual, rtol=1e-5)
    np.testing.assert_allclose(bias, b - 0.01 * 2 * residual[0], rtol=1e-5)


@pytest.mark.parametrize("side", ["fit", "custom_loop"])
def test_a_batch_of_one_has_nothing_to_be_held_against(train, side):
    with pytest.raises(UsageError, match="--batch-size is 1; it must be at least 2"):
        train("stochastic_gradient_descent", side, batch_size=1)
