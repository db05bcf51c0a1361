import numpy as np
import pytest
from sklearn.svm import SVC

from custom_loops.supervised import linear_svm
from tests.trainings import seeds, slow


def objective(x, t, w, b):
    """mean hinge + |w|^2 / (2 C n) with C = 1, in float64."""
    return np.maximum(0, 1 - t * (x @ w + b)).mean() + w @ w / (2 * len(x))


@pytest.mark.parametrize("data", ["breast_cancer", slow("wine")])
@pytest.mark.parametrize("seed", seeds(2))
def test_each_hyperplane_comes_within_one_percent_of_svc(trained, data, seed):
    run = trained("linear_svm", "custom_loop", data=data, seed=seed)
    dataset = linear_svm.load_data(linear_svm.HParams(data=data))
    x = dataset.train.x.astype(np.float64)
    with np.load(run.folder / "state.npz") as state:
        kernel, bias = (state[name].astype(np.float64) for name in state.files if name.startswith("weights"))
    svc_scores, objectives = [], []
    for k in range(dataset.num_classes):
        t = dataset.train.y[:, k] * 2.0 - 1.0
        svc = SVC(kernel="linear", C=1, tol=1e-6).fit(x, t)
        best = objective(x, t, svc.coef_[0], svc.intercept_[0])
        objectives.append(objective(x, t, kernel[:, k], bias[k]))
        assert objectives[-1] <= 1.01 * best
        svc_scores.append(svc.decision_function(dataset.test.x))
    accuracy = (np.argmax(svc_scores, axis=0) == dataset.test.y.argmax(axis=1)).mean()
    assert abs(run.metrics["accuracy"] - accuracy) <= 1 / len(dataset.test) + 1e-6
    # The loss that is logged is that objective, averaged over the classes; over the last epoch the weights hardly move.
    assert run.history["loss"][-1] == pytest.approx(np.mean(objectives), rel=0.01)


def test_a_larger_c_penalises_the_weights_less(trained):
    norms = []
    for c in (0.01, 1.0):
        run = trained("linear_svm", "custom_loop", C=c, epochs=50)
        with np.load(run.folder / "state.npz") as state:
            norms.append(np.linalg.norm(state[state.files[0]]))
    assert norms[0] < norms[1] / 2
