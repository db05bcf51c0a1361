import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from custom_loops.supervised import linear_regression
from tests.trainings import seeds


@pytest.fixture(scope="module")
def least_squares():
    dataset = linear_regression.load_data(linear_regression.HParams())
    return LinearRegression().fit(dataset.train.x.astype(np.float64), dataset.train.y[:, 0].astype(np.float64))


def coefficients(run):
    with np.load(run.folder / "state.npz") as state:
        kernel, bias = (state[name] for name in state.files if name.startswith("weights"))
    return kernel[:, 0], bias[0]


@pytest.mark.parametrize("seed", seeds(3))
def test_the_default_run_recovers_the_coefficient_vector(trained, least_squares, seed):
    kernel, bias = coefficients(trained("linear_regression", "custom_loop", seed=seed))
    error = np.linalg.norm(kernel - least_squares.coef_) / np.linalg.norm(least_squares.coef_)
    assert error < 1e-3
    assert bias == pytest.approx(least_squares.intercept_, rel=1e-3)


@pytest.mark.slow
def test_a_slower_run_recovers_every_single_coefficient(trained, least_squares):
    run = trained("linear_regression", "custom_loop", batch_size=141, epochs=2000, learning_rate=0.02, momentum=0.95)
    np.testing.assert_allclose(coefficients(run)[0], least_squares.coef_, rtol=1e-3)


def test_reports_mse_mae_and_r2_as_scikit_learn_computes_them(trained):
    run = trained("linear_regression", "fit", epochs=20)
    dataset = linear_regression.load_data(linear_regression.HParams())
    kernel, bias = coefficients(run)
    residual = dataset.test.y[:, 0] - (dataset.test.x @ kernel + bias)
    spread = dataset.test.y[:, 0] - dataset.test.y.mean()
    assert run.metrics["mse"] == pytest.approx((residual**2).mean(), rel=1e-5)
    assert run.metrics["mae"] == pytest.approx(abs(residual).mean(), rel=1e-5)
    assert run.metrics["r2"] == pytest.approx(1 - (residual**2).sum() / (spread**2).sum(), rel=1e-4)
