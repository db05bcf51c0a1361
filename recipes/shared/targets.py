"""What is to be predicted: whether it is classes or quantities, checked and encoded. TensorFlow is not imported."""

import numpy as np

from recipes.shared.errors import UsageError

MOST_CLASSES = 100
MOST_WHOLE_NUMBERS = 20  # so few distinct integers, ten times each and more, are taken for classes


def check_classes(targets: np.ndarray, name: str) -> np.ndarray:
    """Return the distinct targets, sorted, checked to be classes rather than quantities."""
    if targets.dtype.kind == "f":
        if not np.isfinite(targets).all():
            raise UsageError(f"{name}: the target has NaN or infinite values")
        if (targets != np.round(targets)).any():
            raise UsageError(f"{name}: the target holds fractions; this recipe predicts classes")
    classes = np.unique(targets)
    if len(classes) > MOST_CLASSES:
        raise UsageError(f"{name}: the target has {len(classes)} distinct values; this recipe predicts classes")
    if len(classes) < 2:
        raise UsageError(f"{name}: every example has the target {classes[0]}; there is nothing to tell apart")
    return classes


def class_name(value: np.generic) -> str:
    """Return a class as text."""
    return str(int(value)) if isinstance(value, np.floating) else str(value)


def class_indices(targets: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    """Return the positions of `targets` among the sorted `classes`, int32.

    Raises:
        UsageError: one is not among them.
    """
    unseen = np.setdiff1d(targets, classes)
    if len(unseen):
        raise UsageError(f"{name}: the test part has the class {unseen[0]!s}, which the training part has not")
    return np.searchsorted(classes, targets).astype(np.int32)


def check_quantities(targets: np.ndarray, name: str) -> None:
    """Raise a UsageError if the targets of all examples are classes rather than quantities."""
    if targets.dtype.kind not in "iuf":
        kind = "true and false" if targets.dtype.kind == "b" else "text"
        raise UsageError(f"{name}: the target holds {kind}; this recipe predicts numbers")
    if look_like_classes(targets):
        raise UsageError(
            f"{name}: the target looks like {len(np.unique(targets))} classes, and this recipe predicts numbers;"
            " if they are quantities, write them with a decimal point"
        )


def look_like_classes(targets: np.ndarray) -> bool:
    """Return whether `targets` are words, or few whole numbers that are there often."""
    if targets.dtype.kind not in "iuf":
        return True
    distinct = len(np.unique(targets))
    return targets.dtype.kind != "f" and distinct <= MOST_WHOLE_NUMBERS and distinct * 10 <= len(targets)


def as_column(targets: np.ndarray, name: str) -> np.ndarray:
    """Return the targets as float32 of shape (examples, 1)."""
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as such
        column = targets.astype(np.float32)[:, None]
    if not np.isfinite(column).all():
        raise UsageError(f"{name}: the target has NaN or infinite values (or too large for float32)")
    return column
