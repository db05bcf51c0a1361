"""The callback that saves all that training changes, and restores it where it was saved."""

import shutil
import sys
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import keras

from recipes.shared import distribution, interruption, runtime, state
from recipes.shared.batches import Batches
from recipes.shared.callbacks import Logs, StepCallback
from recipes.shared.checkpointing import states, storage
from recipes.shared.checkpointing.options import Saving
from recipes.shared.checkpointing.storage import Folder, Position
from recipes.shared.errors import UsageError
from recipes.shared.files import as_written, lock

Newest = tuple[Position, dict[str, Any], list[str]] | None
FOLDER = "checkpoints"


class Checkpoints(StepCallback):
    """Saves after every epoch, when all callbacks and the loop's own code are through with it: as the next one begins.

    It stands before the callbacks that it keeps. What is saved in a hook is restored in the same one, and the variables
    once more in `on_train_begin`, for callbacks that look at the model there. Keras' callbacks reset themselves in
    `on_train_begin`, so what they remember must come later.

    A `Loop` says what its step changes, and may be saved within an epoch too. `model.fit` and a loop written by hand
    begin every epoch at its beginning.

    Args:
        folder: the run's; the checkpoints go below it.
        identity: what must be the same for training to go on: a dictionary that JSON can hold.
        saving: when to save, and whether to go on from the newest checkpoint.

    Attributes:
        batches: what is trained on, which must be the same too; None if that is not known.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], saving: Saving) -> None:
        super().__init__()
        self.path = folder / FOLDER
        self.identity = identity
        self.saving = saving
        self.batches: Batches | None = None
        self._kept: dict[str, Any] = {}
        self._step_variables: list[Any] | None = None  # None: training is saved between epochs only
        self._newest: tuple[int, Newest] | None = None  # of which training, and what was found
        self._trainings = 0  # a recipe may train more than once with the callbacks of one run
        self._pending: tuple[Position, dict[str, Any]] | None = None
        self._epoch = 0
        self._executions = 0
        self._failed = False
        self._writer: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None
        self._lock: IO[str] | None = None

    def keep(self, owners: Mapping[str, Any]) -> None:
        """Save and restore too what these remember: callbacks, and objects of a loop's own."""
        self._kept |= owners

    @property
    def first_epoch(self) -> int:
        """Where the training that comes next, or goes on, begins; counted from 0."""
        if self._pending is not None:
            return self._pending[0].epoch
        newest = self._find() if self.saving.resume else None
        return newest[0].epoch if newest is not None else 0

    def _find(self) -> Newest:
        """Return the newest checkpoint of the training that comes next, read once."""
        if self._newest is None or self._newest[0] != self._trainings:
            self._newest = self._trainings, Folder(self.path / str(self._trainings)).newest()
        return self._newest[1]

    def on_train_begin(self, logs: Logs = None) -> None:
        """Find out where to begin.

        Raises:
            UsageError: what is there cannot be used, or another process trains in this folder.
        """
        self._folder = Folder(self.path / str(self._trainings))
        data = [] if self.batches is None else self.batches.fingerprint()
        self._identity = as_written(self.identity | {"versions": runtime.versions(), "data": data})
        self._take_lock()
        self._step_variables = None if self.loop is None else self.loop.variables()
        newest = self._find() if self.saving.resume else None
        self._trainings += 1
        if newest is None:
            return
        position, content, damaged = newest
        for line in damaged:
            print(f"{line}; the checkpoint before it is used, of epoch {position.epoch}", file=sys.stderr)
        self._require_same(content["identity"])
        for owner in self._kept.values():
            if not states.is_known(owner):
                print(
                    f"{type(owner).__name__} has no get_state and set_state: what it remembers begins anew",
                    file=sys.stderr,
                )
        self._pending = position, content
        self._restore()
        if self.batches is not None:
            self.batches.first_epoch, self.batches.first_step = position.epoch, position.step

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Save what the epochs before have made of everything, or restore it.

        Raises:
            UsageError: the loop begins with another epoch than that where the training was cut off.
        """
        self._epoch = epoch
        self._executions = 0
        if self._pending is None:
            if epoch:
                self._save(Position(epoch))
            return
        position, _ = self._pending
        if position.ended or position.epoch != epoch:
            raise UsageError(
                f"this loop began with epoch {epoch + 1}, but the run was cut off in epoch {position.epoch + 1};"
                " let its epochs begin at run.first_epoch (fit: initial_epoch=run.first_epoch), or leave out --resume"
            )
        if not position.step:
            self._restored()

    def steps_to_watch(self, steps: int) -> Collection[int]:
        """Restore what was saved within the epoch, when all callbacks are ready; there may be no steps left of it."""
        if self._pending is not None:
            self._restored()
        return ()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Save within the epoch, where that was asked for, or a signal ends the training."""
        if self._step_variables is None:
            return
        self._executions += 1
        # A signal may reach one of several workers first, and saving adds the metrics up over all: each would wait for
        # the other without end.
        if (interruption.asked() and distribution.workers() == 1) or (
            self.saving.every and self._executions % self.saving.every == 0
        ):
            self._save(Position(self._epoch, min(batch + 1, self.params["steps"])))

    def on_train_end(self, logs: Logs = None) -> None:
        """Save that the training is over, or restore what it had come to."""
        if self._pending is not None:
            self._restored()
        else:
            self._save(Position((self.params or {}).get("epochs") or self._epoch + 1, ended=True))
        self.close()

    def close(self) -> None:
        """Write what is not written yet, and let go of the lock. Calling it again does nothing."""
        self._finish_writing()
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Remove all checkpoints."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def _save(self, position: Position) -> None:
        """Let a checkpoint be written. One that nobody can write ends nothing, and the last good one stays."""
        self._finish_writing()
        optimizers = self._optimizers()
        content = {
            "identity": self._identity,
            "optimizers": optimizers,
            "variables": state.values(self._variables(optimizers)),
            "states": {name: states.get_state(owner) for name, owner in self._owners().items()},
        }
        # while the next epoch trains: files take milliseconds
        self._writer = self._writer or ThreadPoolExecutor(1)
        self._writing = self._writer.submit(self._folder.save, position, storage.encode(content))

    def _finish_writing(self) -> None:
        """Wait for the last checkpoint, and say once if there was no room for it."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        try:
            writing.result()
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._failed = True
                before = self._folder.positions()
                last = f"the last is of epoch {before[-1].epoch}" if before else "there is none yet"
                print(f"cannot save a checkpoint to {self.path}: {error.strerror or error}; {last}", file=sys.stderr)

    def _restored(self) -> None:
        self._restore()
        self._pending = None

    def _restore(self) -> None:
        assert self._pending is not None
        _, content = self._pending
        optimizers, weights = state.optimizers(self.model), self.model.variables
        saved = {int(position): trained for position, trained in content["optimizers"].items()}  # JSON's keys are text
        if any(
            position >= len(optimizers) or max(trained, default=0) >= len(weights)
            for position, trained in saved.items()
        ):
            raise UsageError(f"the checkpoints in {self.path} are of another model; leave out --resume")
        for position, trained in saved.items():
            if not optimizers[position].built:
                optimizers[position].build([weights[index] for index in trained])
        variables = self._variables(saved)
        values = content["variables"]
        if variables.keys() != values.keys() or any(
            tuple(variable.shape) != values[name].shape for name, variable in variables.items()
        ):
            raise UsageError(f"the checkpoints in {self.path} are of another model; leave out --resume")
        for name, variable in variables.items():
            variable.assign(values[name])
        owners = self._owners()
        for name, values in content["states"].items():
            if name in owners:
                states.set_state(owners[name], values)

    def _optimizers(self) -> dict[int, list[int]]:
        """Return which of the model's optimizers are in use, and of each which of the model's variables it trains."""
        optimizers = state.optimizers(self.model)
        places = {id(variable): place for place, variable in enumerate(self.model.variables)}
        return {
            # private: Keras gives the variables of an optimizer, but not those that it trains
            position: [
                places[id(each)]
                for each in getattr(optimizers[position], "_trainable_variables", ())
                if id(each) in places
            ]
            for position in state.used_optimizers(self.model)
        }

    def _variables(self, used: Collection[int]) -> dict[str, Any]:
        """Return every variable that training changes, by its kind and position: names differ within one process."""
        named = {name.partition(" ")[0]: each for name, each in state.variables(self.model, used).items()}
        found = {id(_plain(variable)) for variable in named.values()}
        # those that nobody but the step knows: of metrics, and of update rules written by hand
        others = [each for each in self._step_variables or () if id(_plain(each)) not in found]
        return named | {f"step/{position:03d}": each for position, each in enumerate(others)}

    def _owners(self) -> dict[str, Any]:
        history = getattr(self.model, "history", None)
        return self._kept | ({"History": history} if history is not None else {})

    def _require_same(self, before: dict[str, Any]) -> None:
        for name in [name for name in self._identity if self._identity[name] != before.get(name)]:
            if name == "hparams":
                now, then = self._identity[name], before.get(name) or {}
                field = next(field for field in {**now, **then} if now.get(field) != then.get(field))
                flag = "--" + field.replace("_", "-")
                raise UsageError(
                    f"{flag} is {now.get(field)}, and the run in {self.path.parent} has {then.get(field)};"
                    " a run goes on as it began: leave it out, or choose another --run"
                )
            if name == "data":
                raise UsageError(f"the training data are others than those of {self.path.parent}; choose another --run")
            if name == "versions":
                print(
                    f"{_said(before.get(name))} began this run, {_said(self._identity[name])} goes on with it:"
                    " it may end with other bits",
                    file=sys.stderr,
                )
                continue
            raise UsageError(f"the checkpoints in {self.path} are of another {name}; choose another --run")

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w", encoding="utf-8")
        except OSError:  # no room: what cannot be saved is said where it is saved
            return
        lock(self._lock, f"another process trains in {self.path.parent}; choose another --run")


def _plain(variable: Any) -> Any:
    """Return the TensorFlow variable behind one of Keras'."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _said(versions: dict[str, str] | None) -> str:
    return ", ".join(f"{name}: {version}" for name, version in (versions or {}).items()) or "another version"
