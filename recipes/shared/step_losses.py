"""The loss of every single step, which the logs of Keras hide in a running mean."""

import math

import numpy as np

from recipes.shared.callbacks import Logs, StepCallback


def between(mean_before: float, seen_before: int, mean: float, seen: int) -> float:
    """Return the mean over what came between two running means, each over so many examples.

    It carries their rounding: about 1e-7 of the mean, times how often the newer examples go into all.
    """
    return (mean * seen - mean_before * seen_before) / (seen - seen_before)


class StepLosses(StepCallback):
    """Collects them, in `model.fit` with `steps_per_execution=1` and in `custom_loops.loop` alike.

    Both log the mean over the examples of the epoch so far. The loss of a step is what that mean rose or fell by, so it
    carries its rounding: about 1e-7 of the mean, times the number of the step.

    Args:
        examples: in an epoch.
        batch_size: of all batches but the last, which may be short.
    """

    def __init__(self, examples: int, batch_size: int) -> None:
        super().__init__()
        ends = np.minimum(np.arange(1, -(-examples // batch_size) + 1) * batch_size, examples)
        self._examples = ends.astype(np.float64)  # seen after each step of an epoch
        self._means: list[float] = []

    @property
    def losses(self) -> np.ndarray:
        """The loss of every step so far, (steps,), float64."""
        losses = []
        for start in range(0, len(self._means), len(self._examples)):
            means = np.array(self._means[start : start + len(self._examples)])
            seen = self._examples[: len(means)]
            with np.errstate(invalid="ignore"):  # inf - inf: the loss of a step is not known once the mean is infinite
                losses.append(np.diff(means * seen, prepend=0.0) / np.diff(seen, prepend=0.0))
        return np.concatenate(losses) if losses else np.array([])

    def epochs(self, steps: int) -> int:
        """Return how many epochs it takes to make that many steps."""
        return math.ceil(steps / len(self._examples))

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Remember where the epoch begins."""
        self._before = len(self._means)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Take the mean after an execution of one step, unless the chunk has been taken already."""
        if len(self._means) < self._before + self.steps_done(batch):
            self._means.append((logs or {})["loss"])

    def on_chunk_end(self, first_step: int, values: dict[str, np.ndarray], metrics: dict[str, np.ndarray]) -> None:
        """Take the means after the steps of a chunk."""
        self._means.extend(metrics["loss"].tolist())
