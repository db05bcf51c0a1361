"""A part of a data set in memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Split:
    """Preprocessed examples.

    Attributes:
        x: features of shape (examples, *features), float32.
        y: (examples,) int32 class indices or (examples, 1) float32 numbers, or a dict of such for several outputs; None
            without targets. The second axis is there because a model's output has it: subtracting (examples,) from
            (examples, 1) would silently broadcast to a square.
        weights: of the examples in the loss, (examples,), float32; None if all count the same.
        shards: how many examples came from each file of a folder; empty for other data.
    """

    x: np.ndarray
    y: Any
    weights: np.ndarray | None = None
    shards: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example's features."""
        return self.x.shape[1:]

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The parts of a batch, with all examples: `(x,)`, `(x, y)` or `(x, y, weights)`."""
        if self.weights is not None:
            return self.x, self.y, self.weights
        return (self.x,) if self.y is None else (self.x, self.y)

    def take(self, rows: np.ndarray | slice) -> "Split":
        """Return the examples in `rows`."""
        y = {name: values[rows] for name, values in self.y.items()} if isinstance(self.y, dict) else self.y
        return Split(
            self.x[rows],
            y if y is None or isinstance(y, dict) else y[rows],
            None if self.weights is None else self.weights[rows],
        )

    def first(self, count: int) -> "Split":
        """Return the first `count` examples, or all if there are fewer."""
        return self.take(slice(count))

    def map_targets(self, function: Callable[[Any], Any]) -> "Split":
        """Return the same examples with `function` applied to their targets."""
        return replace(self, y=function(self.y))
