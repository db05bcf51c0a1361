"""Event files, what TensorBoard reads, written so that a full disk costs the log and not the training."""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary


class EventFile:
    """One event file: TFRecords of `Event` messages.

    Written directly, because one eager `tf.summary.scalar` costs 240 microseconds, more than a training step, and one
    inside a graph 26. A step of two scalars costs 0.9 here (15,000 steps, AMD EPYC, TensorFlow 2.21).
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{platform.node()}.{os.getpid()}"
        self._records = tf.io.TFRecordWriter(str(folder / name))
        self._records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())

    def write(self, step: int, values: Iterable[Summary.Value]) -> None:
        """Add `values`, all at `step`."""
        self._records.write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)).SerializeToString())

    def write_steps(self, first_step: int, columns: Mapping[str, Sequence[float]]) -> None:
        """Add one point of every column a step, the first of them at `first_step`."""
        event = Event(wall_time=time.time())  # one message for all steps: making one costs more than writing it
        values = [event.summary.value.add(tag=tag) for tag in columns]
        for step, row in enumerate(zip(*columns.values(), strict=True), start=first_step):
            event.step = step
            for value, number in zip(values, row, strict=True):
                value.simple_value = number
            self._records.write(event.SerializeToString())

    def write_graph(self, graph: bytes) -> None:
        """Add a serialised `GraphDef`, which the tab Graphs shows."""
        self._records.write(Event(wall_time=time.time(), graph_def=graph).SerializeToString())

    def flush(self) -> None:
        """Make what was written visible to TensorBoard."""
        self._records.flush()

    def close(self) -> None:
        """Flush and close; nothing can be written afterwards."""
        self._records.close()


class EventFiles:
    """The event files of a run: one below each of its parts, made when something is written to it.

    A write that fails, as on a full disk, ends the logging with one warning; nothing is written from then on.

    Args:
        folder: the parts' own; the part "" is the folder itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken = False
        self._files: dict[str, EventFile] = {}

    def write(self, part: str, step: int, values: Iterable[Summary.Value]) -> None:
        """Add `values`, all at `step`."""
        self._try(lambda: self._file(part).write(step, values))

    def write_steps(self, part: str, first_step: int, columns: Mapping[str, Sequence[float]]) -> None:
        """Add one point of every column a step, the first of them at `first_step`."""
        self._try(lambda: self._file(part).write_steps(first_step, columns))

    def write_graph(self, part: str, graph: bytes) -> None:
        """Add a serialised `GraphDef`."""
        self._try(lambda: self._file(part).write_graph(graph))

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file into the folder, for a plugin that reads files of its own."""

        def write() -> None:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)

        self._try(write)

    def flush(self) -> None:
        """Make what was written visible to TensorBoard."""
        for file in self._files.values():
            self._try(file.flush)

    def close(self) -> None:
        """Close all files. Calling it again does nothing."""
        for file in self._files.values():
            self._try(file.close)
        self._files = {}

    def _file(self, part: str) -> EventFile:
        if part not in self._files:
            self._files[part] = EventFile(self.folder / part)
        return self._files[part]

    def _try(self, action: Callable[[], Any]) -> None:
        if self.broken:
            return
        try:
            action()
        except (OSError, tf.errors.OpError) as error:
            self.broken = True
            # TensorFlow's message is the path, then "; " and the reason
            reason = str(getattr(error, "strerror", None) or error).rpartition("; ")[2]
            print(f"cannot log to {self.folder}: {reason}; the training goes on without", file=sys.stderr)
