"""Regression: a number for each example."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from recipes.shared.errors import UsageError
from recipes.shared.tasks import Kind, Task
from recipes.shared.tasks.classification import look_like_classes

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

    from recipes.shared.splits import Split


@dataclass(frozen=True)
class Regression(Task):
    """Encoded targets are float32 of shape (examples, 1), as a model's output is."""

    name = "regression"
    predicts = "numbers"

    def of(self, targets: Iterable[np.ndarray], data: str) -> Self:
        """Return the task itself, if the targets are quantities."""
        check_quantities(np.concatenate([*targets]), data)
        return self

    def encode(self, targets: np.ndarray, data: str) -> np.ndarray:
        """Return the targets as float32 of shape (examples, 1)."""
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as such
            column = targets.astype(np.float32)[:, None]
        if not np.isfinite(column).all():
            raise UsageError(f"{data}: the target has NaN or infinite values (or too large for float32)")
        return column

    def scores(self, targets: Any, outputs: np.ndarray, kind: Kind) -> dict[str, float]:
        """Return mean squared error, mean absolute error and, of two examples and more, R2."""
        from sklearn import metrics

        _check(targets, outputs)
        targets, outputs = targets.astype(np.float64), outputs.astype(np.float64)
        scores = {
            "mse": float(metrics.mean_squared_error(targets, outputs)),
            "mae": float(metrics.mean_absolute_error(targets, outputs)),
        }
        if len(targets) > 1:  # the spread of a single target is 0
            scores["r2"] = float(metrics.r2_score(targets, outputs))
        return scores

    def pictures(self, split: "Split", outputs: np.ndarray, kind: Kind) -> Iterator["Summary.Value"]:
        """Yield predictions against targets, and how they differ."""
        from recipes.shared.tensorboard_logging import pictures, summaries

        targets, predictions = split.y.ravel(), outputs.ravel()
        for name, draw in (
            ("predicted_against_true", pictures.predicted_against_true),
            ("residuals", pictures.residuals),
        ):
            yield summaries.picture(name, pictures.png(draw(targets, predictions)))

    def labels(self, targets: Any) -> list[str]:
        """Return the target of each example."""
        return [", ".join(f"{value:.6g}" for value in row) for row in targets]


def check_quantities(targets: np.ndarray, data: str) -> None:
    """Raise a UsageError if the targets of all examples are classes rather than quantities."""
    if targets.dtype.kind not in "iuf":
        kind = "true and false" if targets.dtype.kind == "b" else "text"
        raise UsageError(f"{data}: the target holds {kind}; this recipe predicts numbers")
    if look_like_classes(targets):
        raise UsageError(
            f"{data}: the target looks like {len(np.unique(targets))} classes, and this recipe predicts numbers;"
            " if they are quantities, write them with a decimal point"
        )


def _check(targets: Any, outputs: np.ndarray) -> None:
    """Raise a TypeError unless there is an output for each number among the targets."""
    if not isinstance(targets, np.ndarray):
        raise TypeError(f"the targets are a {type(targets).__name__}, not a row of numbers for each example")
    if targets.shape != outputs.shape:
        raise TypeError(f"the model gives outputs of shape {outputs.shape} for targets of shape {targets.shape}")


TASK = Regression()
