"""Pairs as users write them, from public reports: each is compared by the real command, and gives what a user expects.

They are in tests/cases. Two of them read files that lie beside the project, and are skipped where these are absent.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

OURS = Path(__file__).parent / "cases"
CASES = Path(__file__).parents[2] / "shared" / "cases"
BESIDE = pytest.mark.skipif(not CASES.is_dir(), reason="the cases of other people's pairs are not beside the project")

pytestmark = pytest.mark.process


def recipes(case, *args, **environment):
    """Run the command in the folder of a case, and return the finished process."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "recipes", *args],
        cwd=OURS / case if (OURS / case).is_dir() else CASES / case,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(OURS.parents[1]), str(OURS)]), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def compare(case, logs, *flags):
    """Return the process and its JSON."""
    path = logs / "result.json"
    done = recipes(case, "compare", "fit.py", "loop.py", "--logs", str(logs), "--json", str(path), *flags)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done, json.loads(path.read_text())[0] if path.is_file() else {}


@pytest.mark.parametrize(
    ("case", "flags"),
    [
        ("sampling", ["--data", "iris", "--epochs", "3"]),
        ("gan", ["--epochs", "3"]),
        ("sigmoid", ["--data", "breast_cancer", "--epochs", "5"]),
        ("autoencoder", ["--data", "iris", "--epochs", "2"]),
        pytest.param("stateful", ["--data", str(CASES / "series.npz"), "--epochs", "2"], marks=BESIDE),
        ("train_step_weights", ["--data", "wine", "--epochs", "2"]),
        ("not_serializable", ["--data", "wine", "--epochs", "2"]),
        ("no_steps", ["--data", "wine", "--epochs", "2"]),
        ("bracket_metric2", ["--data", "wine", "--epochs", "2"]),
        ("warnings_hidden", ["--data", "wine", "--epochs", "2"]),
        pytest.param("mask_plain_call", ["--epochs", "2"], marks=BESIDE),
    ],
)
def test_a_pair_that_is_right_is_identical(case, flags, tmp_path):
    done, result = compare(case, tmp_path, *flags)
    assert result.get("identical"), done.stdout + done.stderr
    assert done.returncode == 0


def test_a_model_of_two_outputs_trains_and_what_cannot_be_shown_is_said(tmp_path):
    done, result = compare("two_outputs", tmp_path, "--data", "wine", "--epochs", "2")
    assert result["weights_max_abs_diff"] == 0
    assert "note: TensorBoard gets no graph of the train step" in done.stdout
    assert "note: scores besides those of the side itself are left out" in done.stdout
    # its loop weighs the loss of an output by the batch, and Keras does not: the history shows it
    assert "copy_loss" in result["reasons"][0]


@pytest.mark.parametrize("side", ["fit", "loop"])
def test_what_is_logged_changes_no_bit_of_a_model_that_draws_when_it_is_looked_at(side, tmp_path):
    for level in ("everything", "nothing"):
        done = recipes(
            *("sampling", side, f"{side}.py", "--data", "iris", "--epochs", "3"),
            *("--logs", str(tmp_path), "--run", level, "--log", level),
        )
        assert done.returncode == 0, done.stderr
    states = [path.read_bytes() for path in sorted(tmp_path.glob("*/*/*/state.npz"))]
    assert len(states) == 2
    assert states[0] == states[1]


def test_a_metric_with_several_values_is_compared_value_by_value(tmp_path):
    done, result = compare("f1_vector", tmp_path, "--data", "wine", "--epochs", "2")
    history = json.loads((Path(result["run"]) / "fit" / "history.json").read_text())
    assert {"f1_score_0", "f1_score_1", "f1_score_2", "val_f1_score_0"} <= history.keys()
    other = json.loads((Path(result["run"]) / "custom_loop" / "history.json").read_text())
    assert history["f1_score_1"] == other["f1_score_1"]
    assert done.returncode == 1  # its loop logs a made-up accuracy
    assert "accuracy" in done.stdout


def test_a_model_that_cannot_be_saved_is_said_under_the_verdict(tmp_path):
    done, result = compare("not_serializable", tmp_path, "--data", "wine", "--epochs", "2")
    assert "IDENTICAL" in done.stdout
    assert "note: model.keras could not be saved" in done.stdout
    assert (Path(result["run"]) / "fit" / "report.json").is_file()


def test_what_keras_warns_of_is_shown_under_the_verdict(tmp_path):
    done, result = compare("warnings_hidden", tmp_path, "--data", "wine", "--epochs", "2")
    assert done.stdout.count("warning: Gradients do not exist for variables") == 1
    assert len(result["warnings"]) == 1


def test_a_name_with_brackets_is_a_name(tmp_path):
    done, _ = compare("bracket_metric2", tmp_path, "--data", "wine", "--epochs", "2")
    assert "test acc[/b]" in done.stdout


@pytest.mark.parametrize("side", ["fit", "loop"])
def test_a_pair_of_networks_goes_on_after_a_kill_with_the_bits_of_one_that_did_not(side, tmp_path):
    command = [side, f"{side}.py", "--epochs", "6", "--logs", str(tmp_path)]
    whole = recipes("gan", *command, "--run", "whole")
    assert whole.returncode == 0, whole.stderr
    killed = recipes("gan", *command, "--run", "killed", MARK=str(tmp_path / "mark"))
    assert killed.returncode == -signal.SIGKILL
    resumed = recipes("gan", *command, "--run", "killed", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    states = [path.read_bytes() for path in sorted(tmp_path.glob("*/*/*/state.npz"))]
    assert len(states) == 2
    assert states[0] == states[1]
