"""Event files read back by TensorBoard's own reader, and what is left of them when the disk is full: one warning."""

import math
import subprocess
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary

from recipes.shared.tensorboard_logging.event_files import EventFile, EventFiles


def read(folder):
    """Return {tag: [(step, value), ...]} of the scalars in the event files of `folder`."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def values(**numbers):
    return [Summary.Value(tag=tag, simple_value=number) for tag, number in numbers.items()]


@pytest.fixture
def files(tmp_path):
    files = EventFiles(tmp_path / "run")
    yield files
    files.close()


def test_values_come_back_at_their_steps(files):
    files.write("train", 3, values(loss=0.5, rate=0.25))
    files.write("train", 10**12, iter(values(loss=2.0)))
    files.close()
    assert read(files.folder / "train") == {"loss": [(3, 0.5), (10**12, 2.0)], "rate": [(3, 0.25)]}


def test_values_that_are_not_finite_come_back_as_they_were(files):
    files.write_steps("train", 1, {"loss": [math.inf, -math.inf, math.nan]})
    files.close()
    first, second, third = (value for _, value in read(files.folder / "train")["loss"])
    assert (first, second) == (math.inf, -math.inf)
    assert math.isnan(third)


def test_columns_get_a_point_for_every_step(files):
    files.write_steps("train", 5, {"loss": [4.0, 3.0, 2.0], "rate": np.float32([0.5, 0.25, 0.125])})
    files.close()
    assert read(files.folder / "train") == {
        "loss": [(5, 4.0), (6, 3.0), (7, 2.0)],
        "rate": [(5, 0.5), (6, 0.25), (7, 0.125)],
    }


def test_columns_of_different_length_are_a_mistake(files):
    with pytest.raises(ValueError, match="shorter"):
        files.write_steps("train", 1, {"loss": [1.0, 2.0], "rate": [1.0]})


def test_a_graph_comes_back(files):
    graph = GraphDef()
    graph.node.add(name="multiply", op="MatMul")
    files.write_graph("train", graph.SerializeToString())
    files.close()
    events = EventAccumulator(str(files.folder / "train")).Reload()
    assert events.Graph() == graph


def test_each_part_has_a_file_of_its_own_once_something_is_written_to_it(files):
    assert not files.folder.exists()
    for part in ("", "train", "validation", "train"):
        files.write(part, 1, values(**{f"in_{part}": 1.0}))
    files.close()
    paths = sorted(path.parent.relative_to(files.folder).as_posix() for path in files.folder.rglob("events.out.*"))
    assert paths == [".", "train", "validation"]
    assert read(files.folder / "train").keys() == {"in_train"}
    assert read(files.folder / "validation").keys() == {"in_validation"}


def test_what_was_written_can_be_read_after_a_flush(files):
    files.write("train", 1, values(loss=0.5))
    files.flush()
    assert read(files.folder / "train") == {"loss": [(1, 0.5)]}
    files.write("train", 2, values(loss=0.25))
    files.flush()
    assert read(files.folder / "train") == {"loss": [(1, 0.5), (2, 0.25)]}


def test_two_files_in_one_folder_do_not_overwrite_each_other(tmp_path):
    for step in (1, 2):
        file = EventFile(tmp_path)
        file.write(step, values(loss=step))
        file.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert {path.name.split(".")[2] for path in tmp_path.iterdir()} == {"tfevents"}


def test_a_plugins_file_is_in_the_folder_byte_for_byte_and_can_be_written_again(files):
    for content in (b"first", bytes(range(256))):
        files.write_file("labels.tsv", content)
    assert (files.folder / "labels.tsv").read_bytes() == bytes(range(256))


def test_closing_twice_is_harmless_and_quiet(files, capfd):
    files.write("train", 1, values(loss=0.5))
    files.close()
    files.close()
    files.flush()
    assert read(files.folder / "train") == {"loss": [(1, 0.5)]}
    assert not files.broken
    assert capfd.readouterr() == ("", "")


ACTIONS = {
    "write": lambda files: files.write("train", 1, values(loss=0.5)),
    "write_steps": lambda files: files.write_steps("train", 1, {"loss": [0.5]}),
    "write_graph": lambda files: files.write_graph("train", GraphDef().SerializeToString()),
    "write_file": lambda files: files.write_file("labels.tsv", b"0"),
    "flush": lambda files: files.flush(),
    "close": lambda files: files.close(),
}


@pytest.mark.parametrize("first", ["write", "write_steps", "write_graph", "write_file"])
def test_where_no_folder_can_be_made_one_line_warns_and_all_else_goes_on(first, tmp_path, capfd):
    (tmp_path / "file").write_text("in the way")
    files = EventFiles(tmp_path / "file" / "run")
    for action in (ACTIONS[first], *ACTIONS.values()):
        action(files)
    assert files.broken
    assert capfd.readouterr() == (
        "",
        f"cannot log to {files.folder}: Not a directory; the training goes on without\n",
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_what_is_costly_to_make_is_not_made_for_a_broken_log(tmp_path):
    (tmp_path / "file").touch()
    files = EventFiles(tmp_path / "file")
    files.write("train", 1, values(loss=0.5))
    made = []
    files.write("test", 1, (made.append(value) or value for value in values(loss=0.5)))
    assert files.broken
    assert made == []


def test_a_mistake_in_the_code_is_not_taken_for_a_full_disk(files):
    with pytest.raises(TypeError):
        files.write("train", 1, [None])
    assert not files.broken


FULL_DISK = """
import resource
import sys
from pathlib import Path

from recipes.shared import runtime

runtime.configure()

import keras
import numpy as np

from recipes.shared.hparams import HParams
from recipes.shared.tensorboard_logging import summaries
from recipes.shared.tensorboard_logging.event_files import EventFiles
from recipes.shared.tensorboard_logging.logger import TensorBoardLogger

POINT = summaries.scalars({"loss": 0.5})


def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def sizes(folder):
    return sorted(path.stat().st_size for path in folder.rglob("*") if path.is_file())


for name in ("write", "write_steps", "flush", "close", "write_file"):
    files = EventFiles(Path(sys.argv[1]) / name)
    files.write("validation", 0, POINT)
    files.flush()
    files.write("train", 0, POINT)
    allow(1000)
    if name == "write":
        for step in range(10_000):
            files.write("train", step, POINT)
    elif name == "write_steps":
        files.write_steps("train", 0, {"loss": [0.5] * 10_000})
    elif name == "write_file":
        files.write_file("labels.tsv", bytes(2000))
    else:
        for step in range(40):  # these fit into the buffer
            files.write("train", step, POINT)
        assert not files.broken
    if name == "close":
        files.close()
    files.flush()
    assert files.broken, name
    allow(resource.RLIM_INFINITY)  # there is room again, but a log with a hole in it would be worse than its end
    before = sizes(files.folder)
    files.write("train", 1, POINT)
    files.write("test", 1, POINT)
    files.write_file("after.tsv", b"0")
    files.flush()
    assert sizes(files.folder) == before, name
    files.close()
    files.close()

model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", "mse", jit_compile=False)
logger = TensorBoardLogger(Path(sys.argv[1]) / "training", HParams())
allow(1000)
x = np.ones((12, 1), np.float32)
model.fit(x, 2 * x, batch_size=4, epochs=2, verbose=0, callbacks=[logger])
logger.write_final({"test": {"loss": 0.5}})
logger.close()
print("updates", int(model.optimizer.iterations))
"""


@pytest.mark.process
def test_a_disk_that_fills_up_costs_one_line_a_run_and_the_training_goes_on(tmp_path):
    command = [sys.executable, "-W", "error", "-W", "ignore:__array__", "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "updates 6\n"
    assert done.stderr.splitlines() == [
        f"cannot log to {tmp_path / name}: File too large; the training goes on without"
        for name in ("write", "write_steps", "flush", "close", "write_file", "training")
    ]
    assert read(tmp_path / "write" / "validation") == {"loss": [(0, 0.5)]}  # what was there can still be read
