import numpy as np
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from custom_loops.supervised import logistic_regression
from recipes.shared.errors import UsageError
from tests.trainings import seeds


@pytest.fixture(scope="module")
def dataset():
    return logistic_regression.load_data(logistic_regression.HParams())


def coefficients(run):
    with np.load(run.folder / "state.npz") as state:
        kernel, bias = (state[name].astype(np.float64) for name in state.files if name.startswith("weights"))
    return kernel[:, 0], bias[0]


@pytest.mark.parametrize("seed", seeds(3))
def test_every_coefficient_agrees_with_scikit_learn_at_the_same_penalty(trained, dataset, seed):
    x, y = dataset.train.x.astype(np.float64), dataset.train.y[:, 0]
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(x, y)
    kernel, bias = coefficients(trained("logistic_regression", "custom_loop", seed=seed))
    np.testing.assert_allclose(kernel, model.coef_[0], rtol=1e-2)
    assert bias == pytest.approx(model.intercept_[0], rel=1e-2)


@pytest.mark.slow
def test_another_penalty_has_another_solution_and_that_agrees_too(trained, dataset):
    x, y = dataset.train.x.astype(np.float64), dataset.train.y[:, 0]
    model = LogisticRegression(C=0.01, tol=1e-10, max_iter=10_000).fit(x, y)
    kernel, _ = coefficients(trained("logistic_regression", "custom_loop", C=0.01, epochs=200))
    assert np.linalg.norm(kernel - model.coef_[0]) < 1e-2 * np.linalg.norm(model.coef_[0])


@pytest.mark.parametrize("side", ["fit", "custom_loop"])
def test_the_scores_are_those_of_a_threshold_at_one_half(trained, dataset, side):
    run = trained("logistic_regression", side, epochs=30)
    kernel, bias = coefficients(run)
    probabilities = 1 / (1 + np.exp(-(dataset.test.x @ kernel + bias)))
    labels, predictions = dataset.test.y[:, 0], probabilities > 0.5
    assert run.metrics["accuracy"] == pytest.approx((predictions == labels).mean())
    assert run.metrics["precision"] == pytest.approx(metrics.precision_score(labels, predictions, average="macro"))
    assert run.metrics["recall"] == pytest.approx(metrics.recall_score(labels, predictions, average="macro"))
    assert run.metrics["f1"] == pytest.approx(metrics.f1_score(labels, predictions, average="macro"))
    assert run.metrics["auc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities))


@pytest.mark.parametrize("side", ["fit", "custom_loop"])
def test_more_than_two_classes_are_refused_with_the_way_out(train, side):
    with pytest.raises(UsageError, match=r"digits has 10 classes.*softmax_classifier"):
        train("logistic_regression", side, data="digits")
