"""The callback that writes `config.json` and `history.json`, keeps the time, and stops a run that diverged."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recipes.shared import interruption, runtime, state
from recipes.shared.callbacks import Logs, StepCallback
from recipes.shared.errors import NoRoom, TrainingDiverged
from recipes.shared.files import ResultFolder, write_json
from recipes.shared.hparams import HParams

SAVED = ("history", "epoch_seconds", "updates", "steps_per_execution", "_checked", "_initial")
SECONDS_BETWEEN_WRITES = 1.0  # history.json is rewritten whole; a recipe with a thousand short epochs would crawl


def scalars(logs: Logs) -> dict[str, Any]:
    """Return `logs` with a metric of several values, such as the F1 of each class, as `<name>_0`, `<name>_1`..."""
    flat: dict[str, Any] = {}
    for name, value in (logs or {}).items():
        array = np.asarray(value)
        if array.ndim == 0:
            flat[name] = value
        else:
            flat |= {f"{name}_{index}": each for index, each in enumerate(array.ravel().tolist())}
    return flat


def losses(named: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what of logs or results of a step is a loss: what is called "loss", or "<something>_loss"."""
    return {name: value for name, value in (named or {}).items() if name == "loss" or name.endswith("_loss")}


class Recorder(StepCallback):
    """Works in `model.fit` and in `custom_loops.loop` alike.

    Attributes:
        parent: of the run whose child this one is, if it is one.
        history: the logs of every epoch, `{name: [value of epoch 0, ...]}`, as `keras.callbacks.History` has them.
        epoch_seconds: wall time of every epoch, validation and the callbacks of its steps included.
        updates: how many updates the optimizer has made.
        diverged: the error to raise in the end, once the loss has stopped being finite.
    """

    def __init__(self, folder: Path, hparams: HParams, about: dict[str, Any]) -> None:
        super().__init__()
        self.folder = folder
        self.results = ResultFolder(folder)
        self.hparams = hparams
        self.about = about
        self.remedy = f"a smaller --learning-rate than {hparams.learning_rate}"
        self.parent: Recorder | None = None
        self.history: dict[str, list[float]] = {}
        self.epoch_seconds: list[float] = []
        self.updates = 0
        self.steps_per_execution = 1
        self.jit_compile: bool | None = None  # None: the loop does not say
        self.diverged: TrainingDiverged | None = None
        self._written_at = 0.0
        self._unwritten = False
        self._checked = 0  # steps of this epoch whose loss is known to be finite
        self._initial = ""

    def on_train_begin(self, logs: Logs = None) -> None:
        """Make the folder and write `config.json`."""
        if self.parent is not None:
            self.parent.write_config()  # before its children have ended, so that the run can be resumed
        self.write_config()
        compiled = getattr(self.model, "compiled", False)
        self.jit_compile = self.model.jit_compile if compiled else getattr(self.loop, "jit_compile", None)
        self._initial = self._initial or state.digest(self.model.trainable_variables)  # a resumed run has moved since

    def get_state(self) -> dict[str, Any]:
        """Return what a checkpoint saves, so that a resumed run reports as one that was never cut off."""
        diverged = str(self.diverged) if self.diverged is not None else None
        return {name: getattr(self, name) for name in SAVED} | {"diverged": diverged}

    def set_state(self, values: dict[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        diverged = values["diverged"]
        for name in SAVED:
            setattr(self, name, values[name])
        self.diverged = None if diverged is None else TrainingDiverged(diverged)
        self._unwritten = bool(self.history)

    def write_config(self) -> None:
        """Make the folder and write `config.json`.

        Raises:
            NoRoom: it cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "config.json", self.config())
        except OSError as error:
            raise NoRoom(f"cannot write to {self.folder} ({error.strerror}); choose another --logs") from error

    def config(self) -> dict[str, Any]:
        """Return what `config.json` says."""
        hparams = {"hparams": self.hparams.used(), "domains": self.hparams.domains()}
        return self.about | hparams | runtime.describe()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Start the clock."""
        self._epoch_began = time.perf_counter()
        self._epoch = epoch
        self._checked = 0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Remember which batch this execution begins with."""
        self._first_batch = batch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Stop when the loss so far is not finite, or a signal asks. `batch` is the last one of this execution."""
        interruption.stop_if_asked()
        # the last may be shorter, where a recipe says so
        self.steps_per_execution = max(self.steps_per_execution, batch - self._first_batch + 1)
        steps = self.steps_done(batch)
        if steps > self._checked:
            only = steps == self._checked + 1
            self._check(steps - 1, losses(logs), "at step {}" if only else "at or before step {}")
            self._checked = steps

    def on_chunk_end(self, first_step: int, values: dict[str, np.ndarray], metrics: dict[str, np.ndarray]) -> None:
        """Check each step of a chunk."""
        self._check(first_step, losses(metrics | values), "at step {}")  # a mean shows a NaN at its step too
        self._checked = first_step + len(next(iter((values | metrics).values()), ()))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Add the epoch to the history; its validation shows whether the last update ruined the weights."""
        self.epoch_seconds.append(time.perf_counter() - self._epoch_began)
        self.updates += self._checked
        logs = scalars(logs)
        validation = {name: value for name, value in losses(logs).items() if name.startswith("val_")}
        trained = {name: value for name, value in losses(logs).items() if name not in validation}
        self._check(self._checked - 1, trained, "by step {}")
        self._check(self._checked - 1, validation, "in validation, after step {}")
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        self._unwritten = True
        if time.perf_counter() - self._written_at > SECONDS_BETWEEN_WRITES:
            self.write_history()

    def on_train_end(self, logs: Logs = None) -> None:
        """Write the whole history."""
        self.write_history()

    def write_history(self) -> None:
        """Write `history.json` if it is behind."""
        if self._unwritten:
            self.results.write_json("history.json", self.history)
            self._unwritten = False
            self._written_at = time.perf_counter()

    def weights_moved(self) -> bool:
        """Return whether any trainable variable differs from its initial value."""
        return state.digest(self.model.trainable_variables) != self._initial

    def _check(self, first_step: int, found: Mapping[str, Any], where: str) -> None:
        """Stop the training if one of the losses `found`, by name, is not finite at a step from `first_step` on."""
        for name, values in found.items():
            each = np.atleast_1d(np.asarray(values))
            finite = np.isfinite(each)
            if self.diverged is None and not finite.all():
                step = first_step + int(np.argmin(finite)) + 1
                value = "NaN" if math.isnan(each[np.argmin(finite)]) else "infinite"
                self.diverged = TrainingDiverged(
                    f"the {name.removeprefix('val_').replace('_', ' ')} became {value} {where.format(step)}"
                    f" of epoch {self._epoch + 1}; try {self.remedy}. The logs are in {self.folder}"
                )
                self.model.stop_training = True
