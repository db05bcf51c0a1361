"""What TensorBoard gets: the same callback, so the same tags, on both sides.

`train/`, `validation/` and `test/` hold the event files. The step of a point is the number of optimizer updates made.
- `epoch_<metric>`: the epoch's loss and metrics, as Keras' own callback names them
- `epoch_learning_rate`, `epoch_steps_per_second` (train only)
- `batch_<metric>`: the mean over the epoch so far, which is what Keras means by that name. The custom loop has it for
  every step; fit for every execution, so for every step when `steps_per_execution` is 1
- `batch_learning_rate`: the rate that each update used, on both sides for every one (train only)
- `final_<metric>`: the scores of the trained model that need all outputs, such as F1 and AUC (validation and test)
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
from recipes.shared.learning_rates import LearningRates
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

    def write_picture(self, step: int, tag: str, png: bytes) -> None:
        """Add a picture, which the tab Images shows under `tag`."""
        value = Summary.Value(tag=tag, image=Summary.Image(encoded_image_string=png))
        self._records.write(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])).SerializeToString())

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
        self._flushed_at = 0.0

    def on_train_begin(self, logs: Logs = None) -> None:
        """Find out where the learning rate comes from, and how many updates were made before."""
        optimizer = getattr(self.model, "optimizer", None)
        self._updates = int(optimizer.iterations) if optimizer is not None else 0
        self._learning_rates = LearningRates(self.model, self.params or {}, self.hparams)

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
            *rates, last = self._learning_rates.of(self._updates + self._logged, steps - self._logged)
            for step, rate in enumerate(rates, start=self._updates + self._logged + 1):
                self._file("train").write(step, {"batch_learning_rate": rate})
            self._logged = steps
            self._file("train").write(self._updates + steps, _batch_scalars(logs or {}, last))

    def on_train_chunk_end(self, first_step: int, logs: Mapping[str, np.ndarray]) -> None:
        """Log every step of a compiled chunk. Only the custom loop calls this; fit does not show single steps."""
        columns = [values.tolist() for values in logs.values()]
        first = self._updates + first_step
        rates = self._learning_rates.of(first, len(columns[0]))
        for step, (rate, *values) in enumerate(zip(rates, *columns, strict=True), start=first + 1):
            self._file("train").write(step, _batch_scalars(dict(zip(logs, values, strict=True)), rate))
        self._logged = first_step + len(rates)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Log the epoch's metrics, its learning rate and its speed."""
        self._updates += self._logged
        logs = logs or {}
        train = {f"epoch_{name}": value for name, value in logs.items() if not name.startswith("val_")}
        train["epoch_learning_rate"] = self._learning_rates.of(self._updates, 1)[0]  # before callbacks change it
        if self._logged:
            train["epoch_steps_per_second"] = self._logged / (self._training_ended - self._epoch_began)
        self._file("train").write(self._updates, train)
        validation = {f"epoch_{name[4:]}": value for name, value in logs.items() if name.startswith("val_")}
        self._file("validation").write(self._updates, validation)
        if time.perf_counter() - self._flushed_at > 1.0:  # flushing makes a system call; epochs may take a millisecond
            self._flush()

    def on_train_end(self, logs: Logs = None) -> None:
        """Make everything visible."""
        self._flush()

    def write_final(self, part: str, scores: Mapping[str, float]) -> None:
        """Add the scores of the trained model on the part `validation` or `test`."""
        self._file(part).write(self._updates, {f"final_{name}": value for name, value in scores.items()})
        self._flush()

    def write_picture(self, name: str, png: bytes) -> None:
        """Add a picture under `name`."""
        self._file("train").write_picture(self._updates, name, png)
        self._flush()

    def close(self) -> None:
        """Close the event files. Calling it again does nothing."""
        for file in self.files.values():
            file.close()
        self.files = {}

    def _file(self, part: str) -> EventFile:
        if part not in self.files:
            self.files[part] = EventFile(self.folder / part)
        return self.files[part]

    def _flush(self) -> None:
        for file in self.files.values():
            file.flush()
        self._flushed_at = time.perf_counter()


def _batch_scalars(logs: Mapping[str, float], learning_rate: float) -> dict[str, float]:
    scalars = {f"batch_{name}": value for name, value in logs.items() if not name.startswith("val_")}
    return scalars | {"batch_learning_rate": learning_rate}
