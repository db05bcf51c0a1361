"""Classification: one of a few classes for each example.

Scores and pictures come from all outputs, through scikit-learn. Keras' own Precision, Recall and F1Score expect
probabilities: on logits they threshold at 0.5, silently. So a score or picture is left out where it takes the one or
the other, and which of them a model gives is unknown.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from recipes.shared.errors import UsageError
from recipes.shared.tasks import Kind, Task

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

    from recipes.shared.splits import Split

MOST_CLASSES = 100
MOST_WHOLE_NUMBERS = 20  # so few distinct integers, ten times each and more, are taken for classes
FEW = 10  # examples of a class; the precision and recall of fewer say little
MOST_NAMES = 5  # of classes in a note
ROUNDING = 1e-3  # so far from 1 the sum of a one-hot row may be, which may be smoothed


@dataclass(frozen=True)
class Classification(Task):
    """Encoded targets are int32 class indices (examples,), which recipes may turn into (examples, 1) or one-hot rows.

    Attributes:
        classes: as they are in the data, sorted; none before `of`.
    """

    classes: tuple[Any, ...] = ()

    name = "classification"
    predicts = "classes"
    in_files = True

    def of(self, targets: Iterable[np.ndarray], data: str) -> Self:
        """Return the task with the classes that are among `targets`."""
        classes: np.ndarray | None = None
        for values in targets:
            found = np.unique(values)
            classes = found if classes is None else np.union1d(classes, found)
            if len(classes) > MOST_CLASSES:
                break  # they are no classes, and might be as many as the examples
        assert classes is not None
        return type(self)(tuple(check_classes(classes, data)))

    def encode(self, targets: np.ndarray, data: str) -> np.ndarray:
        """Return the positions of `targets` among the classes, int32."""
        classes = np.array(self.classes)
        unseen = np.setdiff1d(targets, classes)
        if len(unseen):
            raise UsageError(f"{data}: the test part has the class {unseen[0]!s}, which the training part has not")
        return np.searchsorted(classes, targets).astype(np.int32)

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return the targets: every part has the same share of each class."""
        return targets

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes as text."""
        return tuple(map(class_name, self.classes))

    def scores(self, targets: Any, outputs: np.ndarray, kind: Kind) -> dict[str, float]:
        """Return accuracy, macro precision, recall and F1, and the one-vs-rest macro AUC, as far as they are defined.

        Args:
            targets: class indices (examples,), or (examples, 1), or one-hot rows (examples, classes).
            outputs: (examples, classes), or (examples, 1) for two classes: that of class 1.
            kind: what they mean. A single one that is unknown may be held against 0 or against 1/2, so it is not.

        What is a mean over the classes is left out when one of them is missing from `targets`: `notes` says so.
        """
        from sklearn import metrics

        labels, classes = self.indices(targets), len(self.classes)
        predictions = _predictions(outputs, kind)
        scores: dict[str, float] = {}
        missing = len(np.unique(labels)) < classes
        if predictions is not None:
            scores["accuracy"] = float(metrics.accuracy_score(labels, predictions))
            if not missing:
                precision, recall, f1, _ = metrics.precision_recall_fscore_support(
                    labels, predictions, labels=range(classes), average="macro", zero_division=0.0
                )
                scores |= {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
        if not missing and self._has_auc(outputs, kind):
            scores["auc"] = _auc(labels, outputs, kind)
        return scores

    def notes(self, targets: Any, outputs: np.ndarray, kind: Kind) -> list[str]:
        """Return a line for each reason why scores or pictures of the test part are left out, or say little."""
        names, width, found = self.class_names, outputs.shape[1], []
        counts = np.bincount(self.indices(targets), minlength=len(names)).tolist()
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        few = [f"{count} of class {name}" for name, count in zip(names, counts, strict=True) if 0 < count < FEW]
        if missing:
            found.append(
                f"the test part has no example of class {_some(missing)}: precision, recall, f1 and auc, means over all"
                " classes, are not defined and left out"
            )
        if few:
            what = "accuracy rests" if missing else "precision, recall, f1 and auc rest"
            found.append(f"the test part has fewer than {FEW} examples of a class ({_some(few)}): {what} on little")
        if kind == "unknown":
            lost = ["accuracy, precision, recall, f1"] if width == 1 else []
            lost += ["auc"] if not self._has_auc(outputs, kind) else []
            lost += ["the pictures of probabilities"]
            found.append(
                "whether the model gives logits or probabilities is not known from its last activation:"
                f" {' and '.join(', '.join(lost).rsplit(', ', 1))} are left out; say it by"
                ' run.finish(..., outputs="logits") or "probabilities", on both sides'
            )
        elif not missing and not self._has_auc(outputs, kind):
            found.append(f"auc is left out: the model has {width} outputs for {len(names)} classes")
        return found

    def pictures(self, split: "Split", outputs: np.ndarray, kind: Kind) -> Iterator["Summary.Value"]:
        """Yield the confusion matrix, the worst mistakes, and a precision-recall curve for each class."""
        from recipes.shared.tensorboard_logging import pictures, summaries

        labels, names = self.indices(split.y), self.class_names
        predictions = _predictions(outputs, kind)
        if predictions is not None:
            matrix = pictures.confusion_matrix(labels, predictions, names)
            yield summaries.picture("confusion_matrix", pictures.png(matrix))
        if kind != "unknown":
            sure = probabilities(outputs, kind)
            mistakes = pictures.worst_mistakes(split.x, labels, sure, names)
            yield summaries.picture("worst_mistakes", pictures.png(mistakes))
            for index, name in enumerate(names):
                yield summaries.pr_curve(f"pr_curve/{name}", labels == index, sure[:, index], f"class {name}")

    def labels(self, targets: Any) -> list[str]:
        """Return the name of each example's class."""
        names = self.class_names
        return [names[index] for index in self.indices(targets)]

    def indices(self, targets: Any) -> np.ndarray:
        """Return targets of any of the forms that `scores` takes as class indices, (examples,) int64.

        Raises:
            TypeError: they have another form.
        """
        if not isinstance(targets, np.ndarray) or targets.ndim not in (1, 2):
            form = f"of shape {targets.shape}" if isinstance(targets, np.ndarray) else f"a {type(targets).__name__}"
            raise TypeError(f"the targets are {form}, not one class for each example")
        found = targets.ravel()
        if targets.ndim == 2 and targets.shape[1] > 1:
            if (targets < 0).any() or (np.abs(targets.sum(axis=1) - 1) > ROUNDING).any():
                raise TypeError(f"the targets are rows of {targets.shape[1]} numbers that are not one-hot")
            found = targets.argmax(axis=1)
        if not np.isin(found, np.arange(len(self.classes))).all():
            raise TypeError(f"the targets are not the indices of {len(self.classes)} classes")
        return found.astype(np.int64)

    def _has_auc(self, outputs: np.ndarray, kind: Kind) -> bool:
        """Return whether there is an AUC: two classes are ranked by any outputs, more by probabilities alone."""
        width, classes = outputs.shape[1], len(self.classes)
        return width <= 2 if classes == 2 else width == classes and kind != "unknown"


def check_classes(targets: np.ndarray, data: str) -> np.ndarray:
    """Return the distinct targets, sorted, checked to be classes rather than quantities."""
    if targets.dtype.kind == "f":
        if not np.isfinite(targets).all():
            raise UsageError(f"{data}: the target has NaN or infinite values")
        if (targets != np.round(targets)).any():
            raise UsageError(f"{data}: the target holds fractions; this recipe predicts classes")
    classes = np.unique(targets)
    if len(classes) > MOST_CLASSES:
        raise UsageError(f"{data}: the target has {len(classes)} distinct values; this recipe predicts classes")
    if len(classes) < 2:
        raise UsageError(f"{data}: every example has the target {classes[0]}; there is nothing to tell apart")
    return classes


def look_like_classes(targets: np.ndarray) -> bool:
    """Return whether `targets` are words, or few whole numbers that are there often."""
    if targets.dtype.kind not in "iuf":
        return True
    distinct = len(np.unique(targets))
    return targets.dtype.kind != "f" and distinct <= MOST_WHOLE_NUMBERS and distinct * 10 <= len(targets)


def class_name(value: Any) -> str:
    """Return a class as text."""
    return str(int(value)) if isinstance(value, float | np.floating) else str(value)


def probabilities(outputs: np.ndarray, kind: Kind) -> np.ndarray:
    """Return a probability for every class, (examples, classes), where one output stands for two classes too.

    In float64: rows of float32 miss the sum of 1 that scikit-learn insists on.
    """
    import scipy.special

    outputs = outputs.astype(np.float64)
    single = outputs.shape[1] == 1
    if kind == "logits":
        both = np.concatenate([0 * outputs, outputs], axis=1) if single else outputs
        softmax: np.ndarray = scipy.special.softmax(both, axis=1)
        return softmax
    return np.concatenate([1 - outputs, outputs], axis=1) if single else outputs


def _predictions(outputs: np.ndarray, kind: Kind) -> np.ndarray | None:
    """Return the predicted class of each example; None if that depends on what a single output means."""
    if outputs.shape[1] > 1:
        return outputs.argmax(axis=1)
    if kind == "unknown":
        return None
    return (outputs[:, 0] > (0.5 if kind == "probabilities" else 0.0)).astype(np.int64)


def _auc(labels: np.ndarray, outputs: np.ndarray, kind: Kind) -> float:
    from sklearn import metrics

    width = outputs.shape[1]
    if width == 1:
        return float(metrics.roc_auc_score(labels, outputs[:, 0]))
    if width == 2:
        return float(metrics.roc_auc_score(labels, outputs[:, 1] - outputs[:, 0]))
    if kind == "logits":
        sure = probabilities(outputs, kind)
        return float(metrics.roc_auc_score(labels, sure, multi_class="ovr", average="macro"))
    # each class by itself: what a sigmoid gives for several does not sum to 1
    return float(metrics.roc_auc_score(np.eye(width)[labels], outputs, average="macro"))


def _some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


TASK = Classification()
