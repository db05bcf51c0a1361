"""What the final report says besides the loss, computed from all outputs through scikit-learn.

Keras' own Precision, Recall and F1Score expect probabilities: on logits they threshold at 0.5, silently. So it is found
out here which of the two a model gives, and a score is left out where that decides and nobody can tell.
"""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import scipy.special
from sklearn import metrics

from recipes.shared.data import Split
from recipes.shared.errors import TrainingDiverged

Kind = Literal["logits", "probabilities", "unknown"]
FEW = 10  # examples of a class; the precision and recall of fewer say little
MOST_NAMES = 5  # of classes in a note
ROUNDING = 1e-5  # that far a sum of probabilities may be from 1


def classification(
    labels: np.ndarray, outputs: np.ndarray, kind: Kind = "logits", classes: int | None = None
) -> dict[str, float]:
    """Return accuracy, macro precision, recall and F1, and the one-vs-rest macro AUC, as far as they are defined.

    Args:
        labels: class indices (examples,), or (examples, 1) for two classes, or one-hot rows (examples, classes).
        outputs: (examples, classes), or (examples, 1) for two classes: that of class 1.
        kind: what the outputs are. A single one that is unknown may be held against 0 or against 1/2, so it is not.
        classes: how many there are; as many as outputs if not given.

    What is a mean over the classes is left out when one of them is missing from `labels`: `notes` says so.
    """
    labels = class_indices(labels)
    width = outputs.shape[1]
    classes = classes or max(2, width)
    scores: dict[str, float] = {}
    missing = len(np.unique(labels)) < classes
    if width > 1 or kind != "unknown":
        threshold = 0.5 if kind == "probabilities" else 0.0
        predictions = (outputs[:, 0] > threshold).astype(np.int64) if width == 1 else outputs.argmax(axis=1)
        scores["accuracy"] = float(metrics.accuracy_score(labels, predictions))
        if not missing:
            precision, recall, f1, _ = metrics.precision_recall_fscore_support(
                labels, predictions, labels=range(classes), average="macro", zero_division=0.0
            )
            scores |= {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
    if not missing and _has_auc(width, classes, kind):
        scores["auc"] = _auc(labels, outputs, kind)
    return scores


def _has_auc(width: int, classes: int, kind: Kind) -> bool:
    """Return whether there is an AUC: of two classes any output ranks the examples, of more it takes probabilities."""
    return width <= 2 if classes == 2 else width == classes and kind != "unknown"


def _auc(labels: np.ndarray, outputs: np.ndarray, kind: Kind) -> float:
    width = outputs.shape[1]
    if width == 1:
        return float(metrics.roc_auc_score(labels, outputs[:, 0]))
    if width == 2:
        return float(metrics.roc_auc_score(labels, outputs[:, 1] - outputs[:, 0]))
    if kind == "logits":
        return float(metrics.roc_auc_score(labels, probabilities(outputs), multi_class="ovr", average="macro"))
    # each class by itself: what a sigmoid gives for several does not sum to 1
    return float(metrics.roc_auc_score(np.eye(width)[labels], outputs, average="macro"))


def notes(labels: np.ndarray, outputs: np.ndarray, kind: Kind, class_names: Sequence[str]) -> list[str]:
    """Return a line for each reason why scores of the test part are left out, or say little.

    Args:
        labels: as `classification` takes them.
        outputs: likewise.
        kind: what the outputs are.
        class_names: by index.
    """
    counts = np.bincount(class_indices(labels), minlength=len(class_names))
    width, found = outputs.shape[1], []
    missing = [name for name, count in zip(class_names, counts, strict=False) if not count]
    few = [f"{count} of class {name}" for name, count in zip(class_names, counts, strict=False) if 0 < count < FEW]
    if missing:
        found.append(
            f"the test part has no example of class {_some(missing)}: precision, recall, f1 and auc, means over all"
            " classes, are not defined and left out"
        )
    if few:
        what = "accuracy rests" if missing else "precision, recall, f1 and auc rest"
        found.append(f"the test part has fewer than {FEW} examples of a class ({_some(few)}): {what} on little")
    if width == 1 and kind == "unknown":
        found.append(
            "whether the model gives logits or probabilities cannot be told, so accuracy, precision, recall and f1 are"
            " left out; end it with a layer whose activation is linear or sigmoid"
        )
    elif not missing and not _has_auc(width, len(class_names), kind):
        reason = "of unknown kind" if width == len(class_names) else f"for {len(class_names)} classes"
        found.append(f"auc is left out: the model has {width} outputs {reason}")
    return found


def _some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def kind_of(model: keras.Model, outputs: np.ndarray) -> Kind:
    """Return what the outputs of a classifier are.

    Its last activation says so or, where that is hidden in a `call` or is no usual one, the outputs themselves, which
    both sides have alike. (A loss knows as well, but only `compile` tells it to the model, and a loop has none.)

    Args:
        model: the classifier, which has been called.
        outputs: of many examples, (examples, outputs).
    """
    activation = _last_activation(model)
    if activation in ("sigmoid", "softmax"):
        return "probabilities"
    if activation == "linear" or (outputs < -ROUNDING).any() or (outputs > 1 + ROUNDING).any():
        return "logits"
    sums_to_one = outputs.shape[1] > 1 and np.abs(outputs.sum(axis=1) - 1).max() < ROUNDING
    return "probabilities" if sums_to_one else "unknown"


def _last_activation(operation: Any) -> str | None:
    """Return the name of the activation that gives a model's only output; None if it is in no layer."""
    while isinstance(operation, keras.Model):
        tensors = getattr(operation, "outputs", None)
        if not isinstance(tensors, list) or len(tensors) != 1:
            return None
        operation = tensors[0]._keras_history.operation
    activation = getattr(operation, "activation", None)
    if activation is None:
        name = type(operation).__name__.lower()  # the layer Softmax, or keras.ops.sigmoid and softmax
        return name if name in ("sigmoid", "softmax") else None
    return getattr(activation, "__name__", None)


def class_indices(labels: np.ndarray) -> np.ndarray:
    """Return targets of any of the forms that `classification` takes as class indices, (examples,) int64."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(axis=1)
    return labels.ravel().astype(np.int64)


def probabilities(outputs: np.ndarray, kind: Kind = "logits") -> np.ndarray:
    """Return a probability for every class, (examples, classes), where one output stands for two classes too.

    In float64: rows of float32 miss the sum of 1 that scikit-learn insists on. What is of unknown kind is taken for
    probabilities, because it lies between 0 and 1.
    """
    outputs = outputs.astype(np.float64)
    single = outputs.shape[1] == 1
    if kind == "logits":
        return scipy.special.softmax(np.concatenate([0 * outputs, outputs], axis=1) if single else outputs, axis=1)
    return np.concatenate([1 - outputs, outputs], axis=1) if single else outputs


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
    if found.ndim != 2 or found.dtype.kind != "f":
        raise TypeError(f"the model gives {found.dtype} of shape {found.shape}, not a row of numbers for each example")
    if not np.isfinite(found).all():
        raise TrainingDiverged("the outputs of the model are not finite")
    return found


def score(split: Split, outputs: np.ndarray, class_names: Sequence[str], kind: Kind = "logits") -> dict[str, float]:
    """Return the scores of a model's `outputs` on `split`: those of a regression if there are no classes."""
    if not class_names:
        return regression(split.y, outputs)
    return classification(split.y, outputs, kind, len(class_names))
