"""What TensorBoard gets: the same callback, so the same tags, on both sides.

`train/` and `validation/` hold the event files. The step of every point is the number of optimizer updates made.
- `epoch_<metric>`: the epoch's loss and metrics, as Keras' own callback names them
- `epoch_learning_rate`, `epoch_steps_per_second` (train only)
- `batch_<metric>`: the mean over the epoch so far, which is what Keras means by that name. The custom loop has it for
  every step; fit for every execution, so for every step when `steps_per_execution` is 1
"""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from recipes.shared.hparams import HParams
from recipes.shared.recording import Logs, steps_done


class EventFile:
    """One event file: TFRecords of `Event` messages.

    Written directly, because one eager `tf.summary.scalar` costs 240 microseconds, more than a training step, and one
    inside a graph 26; this costs 4 (measured: 1500 steps of two tags, AMD EPYC, TensorFlow 2.21).
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{platform.node()}.{os.getpid()}"
        self._records = tf.io.TFRecordWriter(str(folder / name))
        self._records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add one point a tag, all at `step`."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._records.write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)).SerializeToString())

    def flush(self) -> None:
        """Make what was written visible to TensorBoard."""
        self._records.flush()

    def close(self) -> None:
        """Flush and close; nothing can be written afterwards."""
        self._records.close()


class TensorBoardLogger(keras.callbacks.Callback):
    """Writes scalars for every epoch and step below `folder`."""

    def __init__(self, folder: Path, hparams: HParams) -> None:
        super().__init__()
        self.folder = folder
        self.hparams = hparams
        self.files: dict[str, EventFile] = {}
        self._updates = 0  # before this epoch
        self._logged = 0  # steps of this epoch whose scalars are written
        self._batch_tags: dict[str, str] = {}
        self._flushed_at = 0.0

    def on_train_begin(self, logs: Logs = None) -> None:
        """Open the event files."""
        self.files = {name: EventFile(self.folder / name) for name in ("train", "validation")}

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Start the clock."""
        self._logged = 0
        self._epoch_began = time.perf_counter()
        self._training_ended = self._epoch_began

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Log one execution, unless its steps are logged already. `batch` is its last one."""
        self._training_ended = time.perf_counter()
        steps = steps_done(batch, self.params or {})
        if steps > self._logged:
            self._logged = steps
            self.files["train"].write(self._updates + self._logged, self._batch_scalars(logs or {}))

    def on_train_chunk_end(self, first_step: int, logs: Mapping[str, np.ndarray]) -> None:
        """Log every step of a compiled chunk. Only the custom loop calls this; fit does not show single steps."""
        columns = [values.tolist() for values in logs.values()]
        for step, values in enumerate(zip(*columns, strict=True), start=self._updates + first_step + 1):
            self.files["train"].write(step, self._batch_scalars(dict(zip(logs, values, strict=True))))
        self._logged = first_step + len(columns[0])

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Log the epoch's metrics, its learning rate and its speed."""
        self._updates += self._logged
        logs = logs or {}
        train = {f"epoch_{name}": value for name, value in logs.items() if not name.startswith("val_")}
        train["epoch_learning_rate"] = self._learning_rate()
        if self._logged:
            train["epoch_steps_per_second"] = self._logged / (self._training_ended - self._epoch_began)
        self.files["train"].write(self._updates, train)
        validation = {f"epoch_{name[4:]}": value for name, value in logs.items() if name.startswith("val_")}
        self.files["validation"].write(self._updates, validation)
        if time.perf_counter() - self._flushed_at > 1.0:  # flushing makes a system call; epochs may take a millisecond
            self._flush()

    def on_train_end(self, logs: Logs = None) -> None:
        """Make everything visible."""
        self._flush()

    def close(self) -> None:
        """Close the event files. Calling it again does nothing."""
        for file in self.files.values():
            file.close()
        self.files = {}

    def _flush(self) -> None:
        for file in self.files.values():
            file.flush()
        self._flushed_at = time.perf_counter()

    def _batch_scalars(self, logs: Mapping[str, float]) -> dict[str, float]:
        return {f"batch_{name}": value for name, value in logs.items() if not name.startswith("val_")}

    def _learning_rate(self) -> float:
        """Return the current rate; a loop that writes its update rule by hand has no optimizer to ask."""
        optimizer = getattr(self.model, "optimizer", None)
        return float(optimizer.learning_rate) if optimizer is not None else self.hparams.learning_rate
