"""What the final report says besides the loss, computed from logits through scikit-learn.

Keras' own Precision, Recall and F1Score expect probabilities: on logits they threshold at 0.5, silently.
"""

import keras
import numpy as np
import scipy.special
from sklearn import metrics

from recipes.shared.data import Split
from recipes.shared.errors import TrainingDiverged


def classification(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Return accuracy, macro precision, recall and F1, and the one-vs-rest macro AUC.

    Args:
        labels: class indices (examples,), or (examples, 1) for two classes, or one-hot rows (examples, classes).
        logits: (examples, classes), or (examples, 1) for two classes: positive means class 1.

    AUC is left out when a class is missing from `labels`, for which it is not defined.
    """
    labels = class_indices(labels)
    binary = logits.shape[1] == 1
    predictions = (logits[:, 0] > 0).astype(np.int64) if binary else logits.argmax(axis=1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, predictions, average="macro", zero_division=0.0
    )
    scores = {
        "accuracy": float(metrics.accuracy_score(labels, predictions)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }
    if len(np.unique(labels)) == max(2, logits.shape[1]):
        if binary:
            scores["auc"] = float(metrics.roc_auc_score(labels, logits[:, 0]))
        elif logits.shape[1] == 2:
            scores["auc"] = float(metrics.roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
        else:
            scores["auc"] = float(
                metrics.roc_auc_score(labels, probabilities(logits), multi_class="ovr", average="macro")
            )
    return scores


def class_indices(labels: np.ndarray) -> np.ndarray:
    """Return targets of any of the forms that `classification` takes as class indices, (examples,) int64."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(axis=1)
    return labels.ravel().astype(np.int64)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return a probability for every class, (examples, classes), where one logit stands for two classes too.

    In float64: rows of float32 miss the sum of 1 that scikit-learn insists on.
    """
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    return scipy.special.softmax(logits, axis=1)


def regression(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Return mean squared error, mean absolute error and R2 (of two examples and more) of (examples, 1) predictions."""
    targets, predictions = targets.astype(np.float64), predictions.astype(np.float64)
    scores = {
        "mse": float(metrics.mean_squared_error(targets, predictions)),
        "mae": float(metrics.mean_absolute_error(targets, predictions)),
    }
    if len(targets) > 1:  # the spread of a single target is 0
        scores["r2"] = float(metrics.r2_score(targets, predictions))
    return scores


def outputs(model: keras.Model, split: Split, batch_size: int = 1024) -> np.ndarray:
    """Return what `model` makes of `split`, as in inference: (examples, outputs).

    Raises:
        TrainingDiverged: an output is not finite. (The loss may be: a ReLU or a maximum can swallow a NaN.)
    """
    starts = range(0, len(split), batch_size)
    found = np.concatenate([np.asarray(model(split.x[start : start + batch_size], training=False)) for start in starts])
    if not np.isfinite(found).all():
        raise TrainingDiverged("the outputs of the model are not finite")
    return found


def score(split: Split, outputs: np.ndarray, class_names: tuple[str, ...]) -> dict[str, float]:
    """Return the scores of a model's `outputs` on `split`: those of a regression if there are no classes."""
    return classification(split.y, outputs) if class_names else regression(split.y, outputs)
