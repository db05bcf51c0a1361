"""What a run does when its machine lets it down: nothing that it has learnt may be lost. Real processes, real disks."""

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

FIT = [sys.executable, "-m", "recipes", "fit", "mlp_classifier"]
DELETES_THE_LOGS = """
import shutil

import keras

from {package}.supervised import mlp_classifier
from recipes.supervised.mlp_classifier import HParams


def train(hparams, run):
    class DeleteLogs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                shutil.rmtree(run.folder.parents[2])
                if hparams.seed == 1:
                    run.folder.parents[2].write_text("no folder any more")

    callbacks = run.callbacks
    run.callbacks = lambda batches: [*callbacks(batches), DeleteLogs()]
    mlp_classifier.train(hparams, run)
"""


def start(command, largest_file=None):
    """Start a process; files that grow beyond `largest_file` bytes fail as on a full disk."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if largest_file is None else limit,
    )


def finish(process):
    """Return exit code, output, and the lines of the errors that are the project's own."""
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, [line for line in errors.splitlines() if not re.match(r"[IWE]0000 ", line)]


@pytest.mark.process
def test_a_full_disk_ends_the_logging_with_one_warning_and_not_the_training(tmp_path):
    options = ["--epochs", "80", "--logs", str(tmp_path)]
    code, output, errors = finish(start([*FIT, *options, "--run", "full"], largest_file=400_000))
    assert code == 0
    assert "test: loss" in output
    (warning,) = errors
    assert "cannot log to" in warning
    assert "File too large; the training goes on without" in warning
    folder = tmp_path / "mlp_classifier" / "full" / "fit"
    events = EventAccumulator(str(folder / "train")).Reload()  # readable up to where the disk was full
    assert events.Scalars("epoch_loss")
    code, _, errors = finish(start([*FIT, *options, "--run", "roomy"]))
    assert (code, errors) == (0, [])
    with np.load(folder / "state.npz") as state, np.load(folder.parents[1] / "roomy/fit/state.npz") as other:
        assert all((state[name] == other[name]).all() for name in state.files)
    assert json.loads((folder / "report.json").read_text())["metrics"]["accuracy"] > 0.9


@pytest.mark.process
def test_where_there_is_no_room_for_the_model_the_scores_are_said_all_the_same(tmp_path):
    command = [*FIT, "--epochs", "2", "--log", "nothing", "--logs", str(tmp_path)]
    code, _, errors = finish(start(command, largest_file=120_000))
    assert code == 2
    assert re.search(r"cannot write to .*: File too large; what follows goes to ", errors[0])
    assert re.search(r"no room for model.keras: make room or choose another --logs.* accuracy 0\.\d+", errors[1])
    assert len(errors) == 2
    assert list((tmp_path / "mlp_classifier").rglob("state.npz"))  # what there was room for


@pytest.mark.parametrize("side", ["fit", "custom_loop"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.process
def test_logs_that_are_deleted_meanwhile_do_not_take_the_results_with_them(tmp_path, train_into, side, seed):
    verb, package = {"fit": ("fit", "recipes"), "custom_loop": ("loop", "custom_loops")}[side]
    script = tmp_path / "deletes_the_logs.py"
    script.write_text(DELETES_THE_LOGS.replace("{package}", package))
    options = ["--epochs", "4", "--seed", str(seed), "--logs", str(tmp_path / "logs"), "--run", "run"]
    code, output, errors = finish(start([sys.executable, "-m", "recipes", verb, str(script), *options]))
    assert code == 0, errors
    assert "test: loss" in output
    rescued = tmp_path / "logs" / "deletes_the_logs" / "run" / side
    if seed == 1:  # a file is in the way
        (line,) = [line for line in errors if "what follows goes to" in line]
        rescued = Path(re.search(r"what follows goes to (\S+)", line)[1])
    try:
        assert {"state.npz", "model.keras", "report.json", "history.json"} <= {path.name for path in rescued.iterdir()}
        assert json.loads((rescued / "report.json").read_text())["updates"] == 4 * 36
        sound = train_into(tmp_path / "sound", "mlp_classifier", side, epochs=4, seed=seed, jit_compile=True)
        with np.load(rescued / "state.npz") as state, np.load(sound.folder / "state.npz") as other:
            assert state.files == other.files
            assert all((state[name] == other[name]).all() for name in state.files)
    finally:
        shutil.rmtree(rescued)


@pytest.mark.process
def test_runs_that_are_started_together_do_not_share_a_folder(tmp_path):
    command = [sys.executable, "-m", "recipes", "fit", "gradient_descent", "--epochs", "3", "--logs", str(tmp_path)]
    for process in [start(command), start(command)]:
        code, _, errors = finish(process)
        assert (code, errors) == (0, [])
    folders = list((tmp_path / "gradient_descent").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert len(list((folder / "fit" / "train").iterdir())) == 1
        assert (folder / "fit" / "report.json").is_file()


@pytest.mark.process
def test_a_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a file system of its own")
    try:
        code, output, errors = finish(start([*FIT, "--epochs", "60", "--logs", str(disk)]))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert code == 0, errors
    assert "test: loss" in output
    text = "\n".join(errors)
    assert "No space left on device; the training goes on without" in text
    assert re.search(
        r"cannot save a checkpoint to .*: No space left on device; (the last is of epoch \d+|there is none yet)", text
    )
    assert len(errors) == 3
    rescued = Path(re.search(r"No space left on device; what follows goes to (\S+)", text)[1])
    assert (rescued / "model.keras").stat().st_size > 100_000
    shutil.rmtree(rescued)
