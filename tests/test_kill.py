"""SIGKILL in the middle of a real run, which then goes on; `make kill` does it at 20 moments of four pairs."""

import random
import subprocess
import sys

import keras
import pytest

from recipes.__main__ import main
from recipes.commands import parity
from recipes.shared.logging_options import LoggingOptions
from tests import kill


def test_a_killed_run_goes_on_in_another_process_and_ends_with_the_same_bits(tmp_path, trained, wait_for):
    name, epochs = "adam", 6  # its variables are in no optimizer
    command = ["loop", name, "--epochs", str(epochs), "--log", "nothing", "--logs", str(tmp_path), "--run", "killed"]
    folder = tmp_path / name / "killed" / "custom_loop"
    process = subprocess.Popen([sys.executable, "-m", "recipes", *command], stdout=subprocess.DEVNULL)
    wait_for(lambda: any(folder.rglob("epoch-*.safetensors")) or process.poll() is not None)
    process.kill()
    process.wait()
    assert not (folder / "report.json").exists()
    keras.backend.clear_session()  # layers are named as in a process of its own
    assert main([*command, "--resume"]) == 0
    whole = trained(name, "custom_loop", LoggingOptions(level="nothing"), epochs=epochs)
    result = parity.compare(whole.folder, folder)
    assert result.identical, result.reasons


@pytest.mark.process
@pytest.mark.parametrize("side", kill.VERBS)
def test_a_killed_run_goes_on_and_ends_with_the_same_bits(tmp_path, side):
    whole = kill.Whole("dropout", side, ["--epochs", "60"], tmp_path)
    moment = random.Random(side).uniform(0.3, 0.7)
    while True:
        try:
            assert kill.kill_and_resume(whole, f"killed-{moment}", moment) == ""
            break
        except kill.TooLate:
            moment *= 0.7
