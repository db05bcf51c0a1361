"""scikit-learn's estimators, an epoch at a time by `partial_fit`. They shuffle, and begin, by themselves."""

import numpy as np
from sklearn.linear_model import SGDRegressor
from sklearn.neural_network import MLPClassifier

from recipes.commands.benchmark.cases import CLASSES, Problem, Result
from recipes.commands.benchmark.turns import Epochs

HIDDEN = {"softmax": (10,), "mlp": (64, 64)}


def train(problem: Problem, epochs: Epochs) -> Result:
    """Train `MLPClassifier` (Adam), or `SGDRegressor`, which updates after every single example."""
    case = problem.case
    x, x_test = (part.reshape(len(part), -1) for part in (problem.x_train, problem.x_test))
    if case.classifies:
        classifier = MLPClassifier(
            HIDDEN[case.builder],
            batch_size=case.batch_size,
            learning_rate_init=case.learning_rate,
            alpha=0.0,
            random_state=0,
        )
        for _ in epochs:
            classifier.partial_fit(x, problem.y_train, classes=np.arange(CLASSES))
        return classifier.predict_proba(x_test), classifier.coefs_
    # Keras' gradient is of the mean of squares, which is twice this one's, over a batch: the same way in an epoch
    rate = 2 * case.learning_rate / case.batch_size
    regressor = SGDRegressor(learning_rate="constant", eta0=rate, alpha=0.0, random_state=0)
    for _ in epochs:
        regressor.partial_fit(x, problem.y_train[:, 0])
    return regressor.predict(x_test)[:, None], [regressor.coef_]
