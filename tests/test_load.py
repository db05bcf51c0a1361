"""Under load: runs that start together, a TensorBoard that reads along, a clock that jumps. None changes a result."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error

import numpy as np
import pytest

from recipes.commands import boards, parity
from tests.trainings import slow

RUNS = {"a": "loop", "b": "loop", "c": "fit", "d": "fit"}
SIDES = {"loop": "custom_loop", "fit": "fit"}


@pytest.fixture
def start(tmp_path):
    """A function that starts a run in a process of its own, which does not outlive the test."""
    with contextlib.ExitStack() as stack:

        def start(verb, run):
            options = ["--epochs", "3", "--logs", str(tmp_path / "logs"), "--run", run]
            command = [sys.executable, "-m", "recipes", verb, "mlp_classifier", *options]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def state(folder):
    with np.load(folder / "state.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def assert_same_weights(folder, other):
    ours, theirs = state(folder), state(other)
    assert ours
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=f"{folder}: {name}")


@pytest.mark.process
def test_four_runs_at_once_and_a_tensorboard_that_reads_while_they_write(tmp_path, start, train_into, start_board):
    runs = tmp_path / "logs" / "mlp_classifier"
    train_into(runs / "alone" / "custom_loop", "mlp_classifier", "custom_loop", epochs=3, jit_compile=True)
    board = start_board(tmp_path / "logs")
    board.wait_for(lambda: losses(board, "mlp_classifier/alone/custom_loop/train"))

    processes = {run: start(verb, run) for run, verb in RUNS.items()}
    while any(process.poll() is None for process in processes.values()):
        for run in board.json("data/runs"):
            losses(board, run)
        time.sleep(0.2)
    for run, process in processes.items():
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, ""), run
        assert "test: loss" in output
    for run, verb in RUNS.items():
        folder = runs / run / SIDES[verb]
        assert_same_weights(folder, runs / "alone" / "custom_loop")
        history = json.loads((folder / "history.json").read_text())
        shown = f"mlp_classifier/{run}/{SIDES[verb]}/train"
        board.wait_for(lambda shown=shown: len(losses(board, shown)) == 3)
        assert losses(board, shown) == np.float32(history["loss"]).tolist()
    assert (tmp_path / "logs" / boards.CONFIGURATION).stat().st_size > 0
    assert not list((tmp_path / "logs").rglob(".writing-*"))


def losses(board, run):
    """What TensorBoard knows of the epochs of a run so far; it answers 404 where it has seen none yet."""
    try:
        points = board.json("data/plugin/scalars/scalars", run=run, tag="epoch_loss")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return []
    return [value for _, _, value in points]


@pytest.mark.slow
@pytest.mark.parametrize("side", [slow("fit"), "custom_loop"])
@pytest.mark.parametrize("jump", [-86400.0, 86400.0 * 365])
def test_a_clock_that_jumps_changes_no_result(tmp_path, train_into, monkeypatch, side, jump):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    hparams = {"data": "iris", "epochs": 4, "batch_size": 8}
    train_into(tmp_path / "steady", "mlp_classifier", side, **hparams)
    asked = 0
    clock, calendar = time.time, time.strftime

    def jumping():
        nonlocal asked
        asked += 1
        return clock() + jump * (asked > 10)  # in the middle of the training

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "strftime", lambda form, *when: calendar(form, *(when or (time.localtime(jumping()),))))
    run = train_into(tmp_path / "jumping", "mlp_classifier", side, **hparams)
    assert asked > 20
    monkeypatch.undo()
    assert_same_weights(tmp_path / "jumping", tmp_path / "steady")
    events = EventAccumulator(str(tmp_path / "jumping" / "train")).Reload()
    assert [point.step for point in events.Scalars("epoch_loss")] == [12, 24, 36, 48]
    report = json.loads((tmp_path / "jumping" / "report.json").read_text())
    assert 0 < report["seconds_per_epoch"] < report["seconds_total"] < 600  # measured by a clock that does not jump
    assert run.metrics == json.loads((tmp_path / "steady" / "report.json").read_text())["metrics"]


def test_folders_that_come_and_go_do_not_disturb_who_looks_for_runs(tmp_path):
    """As another run's do, which writes each file into a folder of its own first."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    stopped = threading.Event()

    def come_and_go(number):
        while not stopped.is_set():
            (tmp_path / f"{number}" / ".writing-x").mkdir(parents=True)
            shutil.rmtree(tmp_path / f"{number}")

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2000):
            assert parity.finished_files(tmp_path, "config.json") == [tmp_path / "run" / "config.json"]
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
