"""Reads a learning-rate range test: where the loss diverged, and which rate that suggests."""

from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
from matplotlib.figure import Figure

from recipes.shared.errors import UsageError

SMOOTHING = 0.9  # share of the old mean in the new one
DIVERGED = 2.0  # times the lowest loss before: the curve has turned for good
MARGIN = 3.0  # the lowest loss is the last good moment of a curve that is about to turn; stay below its rate


@dataclass(frozen=True)
class RangeTest:
    """The losses of steps at growing rates, both of shape (steps,). Losses may end in values that are not finite."""

    rates: np.ndarray
    losses: np.ndarray

    @classmethod
    def of(cls, schedule: keras.optimizers.schedules.LearningRateSchedule, losses: np.ndarray) -> "RangeTest":
        """Return the test whose step t took the rate `schedule(t)`.

        Raises:
            UsageError: not even the first loss is finite.
        """
        if not np.isfinite(losses[0]):
            raise UsageError("the loss is not finite before the first update: the data or the model is at fault")
        return cls(np.array([float(schedule(step)) for step in range(len(losses))]), losses)

    @cached_property
    def smoothed(self) -> np.ndarray:
        """Moving mean of the losses, corrected for starting at 0, (steps,); infinite from where it is not finite."""
        means = np.empty(len(self.losses))
        mean = 0.0
        with np.errstate(invalid="ignore", over="ignore"):
            for step, loss in enumerate(self.losses):
                mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
                means[step] = mean / (1 - SMOOTHING ** (step + 1))
        return np.where(np.isfinite(means), means, np.inf)

    @cached_property
    def diverged(self) -> int | None:
        """The first step whose smoothed loss is twice the lowest before it; None if there is none."""
        above = self.smoothed > DIVERGED * np.minimum.accumulate(self.smoothed)
        above |= np.isinf(self.smoothed)
        return int(np.argmax(above)) if above.any() else None

    @property
    def suggestion(self) -> float:
        """A third of the rate at which the smoothed loss was lowest before it diverged.

        Raises:
            UsageError: it never did, so the range says nothing.
        """
        if self.diverged is None:
            raise UsageError(
                f"the loss did not diverge up to a rate of {self.rates[-1]:.3g}; use a higher --highest-learning-rate"
            )
        return float(self.rates[np.argmin(self.smoothed[: self.diverged])]) / MARGIN

    def summary(self) -> dict[str, float]:
        """Return the rate that is suggested, and the one at which the loss diverged."""
        return {"suggested_learning_rate": self.suggestion, "diverged_at": float(self.rates[self.diverged])}

    def plot(self) -> Figure:
        """Return a picture of the losses over the rates, with the two rates marked."""
        figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
        axes = figure.subplots()
        finite = np.isfinite(self.smoothed)
        axes.plot(self.rates[finite], self.losses[finite], color="0.8", label="loss of the step")
        axes.plot(self.rates[finite], self.smoothed[finite], label="smoothed")
        if self.diverged is not None:
            axes.axvline(self.suggestion, color="C2", linestyle="--", label=f"suggested rate {self.suggestion:.2g}")
            rate = self.rates[self.diverged]
            axes.axvline(rate, color="C3", linestyle=":", label=f"diverged at {rate:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(0, 2 * DIVERGED * self.smoothed[0] or 1))
        axes.legend()
        return figure
