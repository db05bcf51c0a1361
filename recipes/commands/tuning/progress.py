"""A line a trial, as it ends: number, values, score, the best so far, the time left."""

import contextlib
import statistics
import time
from typing import Any

from keras_tuner.src.engine.oracle import Display

from recipes.commands.tuning import trials
from recipes.commands.tuning.oracle import expected_trials
from recipes.commands.tuning.specification import Specification


class Progress(Display):
    """Takes the place of the display that KerasTuner gives an oracle, which fills a screen a trial."""

    def __init__(self, oracle: Any, specification: Specification) -> None:
        super().__init__(oracle=oracle)
        self.set_state(oracle._display.get_state())
        self.specification = specification
        self.expected = expected_trials(oracle, specification)
        self._ended = {
            trial.identifier: trial for trial in trials.read(specification, oracle) if trial.status != "running"
        }
        self._began: dict[str, float] = {}
        self._seconds: list[float] = []

    def on_trial_begin(self, trial: Any) -> None:
        """Start the clock."""
        self._ended.pop(trial.trial_id, None)  # it runs again if the process was killed just as it ended
        self._began[trial.trial_id] = time.monotonic()

    def on_trial_end(self, trial: Any) -> None:
        """Print the trial's line."""
        began = self._began.pop(trial.trial_id, None)
        if began is not None:
            self._seconds.append(time.monotonic() - began)
        ended = trials.read_one(self.specification, self.oracle, trial.trial_id)
        self._ended[trial.trial_id] = ended
        winner = trials.best(self.specification, sorted(self._ended.values(), key=lambda each: each.number))
        of = f"/{self.expected}" if self.expected else ""
        values = ", ".join(f"{name} {number(value)}" for name, value in ended.values.items())
        if ended.status == "completed":
            gave = f"{self.specification.objective} {score(ended)} in epoch {ended.best_epoch}"
        else:
            gave = f"FAILED: {ended.reason.partition(';')[0]}"  # what to try instead is for those who chose the values
        so_far = f"; best {number(winner.score)} (trial {winner.number})" if winner is not None else ""
        with contextlib.suppress(BrokenPipeError):  # who reads has seen enough; the search goes on
            print(f"trial {ended.number}{of}: {values}: {gave}{so_far}{self._time_left()}", flush=True)

    def _time_left(self) -> str:
        left = (self.expected or 0) - len(self._ended)
        if left <= 0 or not self._seconds:
            return ""
        seconds = statistics.median(self._seconds) * left / max(1, self.specification.workers)
        return f"; about {duration(seconds)} left"


def number(value: Any) -> str:
    """Return a value as a reader wants it: four digits of a float."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def score(trial: trials.Trial) -> str:
    """Return the score of a trial, and of several executions how far they spread around it."""
    return number(trial.score) + ("" if trial.spread is None else f" +- {number(trial.spread)}")


def duration(seconds: float) -> str:
    """Return a time as a reader wants it."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if round(seconds / 60) < 60 else f"{seconds / 3600:.1f} h"
