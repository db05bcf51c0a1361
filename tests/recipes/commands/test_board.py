"""`recipes board`: TensorBoard, really started, on the right folder and bound to localhost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from recipes.__main__ import main
from recipes.commands import board
from recipes.shared.tensorboard_logging import EventFile

MOST_SECONDS = 60


@pytest.fixture
def logs(tmp_path):
    """A folder with runs of two recipes, both sides of the first."""
    for run in ("a_recipe/one/fit/train", "a_recipe/one/custom_loop/train", "another/two/fit/train"):
        events = EventFile(tmp_path / "logs" / run)
        events.write(1, {"epoch_loss": 0.5})
        events.close()
    return tmp_path / "logs"


@pytest.fixture
def port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def ask(port, path, process):
    """Return what the server says, waiting for it to start and to have read something."""
    ends = time.monotonic() + MOST_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=5) as answer:
                content = json.load(answer)
            if content:
                return content
        except OSError:
            pass
        time.sleep(0.2)
    return pytest.fail(f"no answer from TensorBoard on port {port}; exit code {process.poll()}")


def test_the_board_serves_the_runs_of_all_recipes(logs, port):
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", "board", "--port", str(port)],
        cwd=logs.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that the server's own helpers end with it
    )
    try:
        assert sorted(ask(port, "/data/runs", process)) == [
            "a_recipe/one/custom_loop/train",
            "a_recipe/one/fit/train",
            "another/two/fit/train",
        ]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.fixture
def executed(monkeypatch):
    """What the process would have become."""
    calls = []
    monkeypatch.setattr(board.os, "execv", lambda program, args: calls.append((program, args)))
    return calls


@pytest.mark.parametrize(("names", "folder"), [([], ""), (["a_recipe"], "a_recipe")])
def test_the_board_becomes_tensorboard_on_the_right_folder_bound_to_localhost(names, folder, logs, port, executed):
    main(["board", *names, "--port", str(port), "--logs", str(logs)])
    ((program, args),) = executed
    assert program == args[0] == sys.executable
    assert args[1:3] == ["-m", "tensorboard.main"]
    assert args[3:] == ["--logdir", str(logs / folder), "--host", "localhost", "--port", str(port)]


def test_a_taken_port_is_refused_and_another_one_suggested(logs, executed, capsys):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["board", "--port", str(port), "--logs", str(logs)]) == 2
    error = capsys.readouterr().err
    assert f"port {port}" in error
    assert "choose another --port" in error
    assert len(error.splitlines()) == 1
    assert not executed


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        (["--port", "70000"], "between 0 and 65535"),
        (["--port", "-1"], "between 0 and 65535"),
        (["--port", "many"], "--port"),
        (["--prot", "1"], "did you mean --port?"),
        (["a_recipe", "another"], "takes one recipe"),
        (["third"], "no recipe named 'third'"),
        (["linear_svm"], "make one with `recipes compare linear_svm`"),
    ],
)
def test_a_mistake_is_refused_in_one_line(args, answer, logs, executed, capsys):
    assert main(["board", *args, "--logs", str(logs)]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert answer in captured.err
    assert not executed


def test_without_runs_the_board_says_how_to_make_one(tmp_path, executed, capsys):
    assert main(["board", "--logs", str(tmp_path / "nothing")]) == 2
    assert "make one with `recipes compare mlp_classifier`" in capsys.readouterr().err
    assert not executed
    assert not list(tmp_path.iterdir())


def test_a_mistyped_recipe_is_told_the_nearest_name_rather_than_to_run_the_mistyped_one(logs, executed, capsys):
    assert main(["board", "mlp_clasifier", "--logs", str(logs)]) == 2
    error = capsys.readouterr().err
    assert "mlp_classifier" in error
    assert "recipes compare mlp_clasifier`" not in error
    assert not executed
