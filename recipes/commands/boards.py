"""What a folder of runs shows as one board: the configuration of HParams, and the verdicts. No TensorFlow in here."""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from recipes.commands.parity import finished_files, read_object
from recipes.shared.files import replace_file
from recipes.shared.tensorboard_logging import hyper_parameters, summaries

CONFIGURATION = "events.out.tfevents.0000000000.hparams"
VERDICT = "events.out.tfevents.0000000000.parity"


@contextlib.contextmanager
def on(logs: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield the folder that TensorBoard shall read for the recipes `names`, or for all of `logs` if there are none.

    A board holds one configuration, so what is for one recipe cannot lie in `logs`, which has one for all: it lies in a
    folder of its own, beside links to the recipes' runs, and is removed afterwards.
    """
    if not names:
        refresh(logs)
        yield logs
        return
    with tempfile.TemporaryDirectory(prefix="recipes-board-") as folder:
        for name in names:
            (Path(folder) / name).symlink_to((logs / name).resolve())
        configure(Path(folder), *(logs / name for name in names))
        yield Path(folder)


def refresh(logs: Path) -> None:
    """Configure the board of all runs in `logs`, if it can be written to: TensorBoard makes do without."""
    with contextlib.suppress(OSError):
        configure(logs, logs)


def configure(folder: Path, *runs: Path) -> None:
    """Write into `folder` the configuration of HParams for all runs below the folders `runs`, over the one there is.

    A TensorBoard that is running keeps the one that it has read.

    Raises:
        OSError: `folder` cannot be written to.
    """
    configs = [path for each in runs for path in finished_files(each, "config.json")]
    read = [(read_object(path), read_object(path.with_name("report.json"))) for path in configs]
    write_events(folder / CONFIGURATION, hyper_parameters.configuration(read))


def write_verdict(folder: Path, words: str) -> None:
    """Write a text into the run's folder, which lies above those of its two sides.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_events(folder / VERDICT, summaries.text("parity", words))


def write_events(path: Path, value: Summary.Value) -> None:
    """Write an event file with one value."""
    # here, because it imports all of TensorBoard's summaries, which no command needs before it trains
    from tensorboard.summary.writer.record_writer import RecordWriter

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            records = RecordWriter(file)
            records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
            records.write(Event(wall_time=time.time(), summary=Summary(value=[value])).SerializeToString())

    replace_file(path, write)
