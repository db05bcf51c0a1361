import json

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet, Ridge

from custom_loops.regularization import l1_l2
from tests.trainings import seeds, slow

SIDES = ("fit", "custom_loop")


@pytest.fixture(scope="module")
def training():
    split = l1_l2.load_data(l1_l2.HParams()).train
    return split.x.astype(np.float64), split.y[:, 0].astype(np.float64)


def weights(run):
    with np.load(run.folder / "state.npz") as state:
        kernel, bias = (state[name].astype(np.float64) for name in state.files if name.startswith("weights"))
    return kernel[:, 0], bias[0]


@pytest.mark.parametrize("seed", seeds(3))
def test_l1_zeroes_weights_that_l2_keeps(trained, seed):
    sparse, _ = weights(trained("l1_l2", "custom_loop", l1=20.0, l2=0.0, seed=seed))
    shrunk, _ = weights(trained("l1_l2", "custom_loop", l1=0.0, l2=0.1, seed=seed))
    zeroed = abs(sparse) < 1e-3
    assert zeroed.sum() == 6
    assert abs(shrunk).min() > 0.5


@pytest.mark.parametrize(
    ("l1", "l2"),
    [(20.0, 0.0), *(slow(*each) for each in ((20.0, 0.05), (4.0, 0.1)))],
)
def test_the_weights_are_those_of_scikit_learns_elastic_net(trained, training, l1, l2):
    alpha = l1 / 2 + l2
    model = ElasticNet(alpha=alpha, l1_ratio=l1 / 2 / alpha, tol=1e-10, max_iter=100_000).fit(*training)
    run = trained("l1_l2", "custom_loop", l1=l1, l2=l2)
    kernel, bias = weights(run)
    np.testing.assert_allclose(kernel, model.coef_, atol=0.01 * abs(model.coef_).max())
    assert bias == pytest.approx(model.intercept_, rel=1e-3)


def test_without_l1_it_is_ridge_regression(trained, training):
    kernel, _ = weights(trained("l1_l2", "custom_loop", l1=0.0, l2=0.1))
    model = Ridge(alpha=0.1 * len(training[0])).fit(*training)
    np.testing.assert_allclose(kernel, model.coef_, atol=0.01 * abs(model.coef_).max())


@pytest.mark.parametrize("side", SIDES)
def test_the_penalty_is_in_every_loss(trained, side):
    run = trained("l1_l2", side, epochs=3)
    kernel, _ = weights(run)
    penalty = 20.0 * abs(kernel).sum() + 0.05 * (kernel**2).sum()
    assert penalty > 100
    assert run.metrics["loss"] - run.metrics["mse"] == pytest.approx(penalty, rel=1e-4)
    history = json.loads((run.folder / "history.json").read_text())
    assert history["val_loss"][-1] - history["val_mse"][-1] == pytest.approx(penalty, rel=1e-4)
    assert all(loss - mse > 10 for loss, mse in zip(history["loss"], history["mse"], strict=True))


@pytest.mark.parametrize("side", SIDES)
def test_the_report_counts_the_zeroes(trained, side):
    run = trained("l1_l2", side, epochs=40, learning_rate=0.1)
    kernel, _ = weights(run)
    assert run.metrics["zero_weights"] == (abs(kernel) < 1e-3).sum()
