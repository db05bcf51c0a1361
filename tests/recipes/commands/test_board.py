"""`recipes board`: TensorBoard, really started, on the right folder and bound to localhost."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from recipes.__main__ import main
from recipes.commands import board, boards
from recipes.shared.tensorboard_logging import summaries
from recipes.shared.tensorboard_logging.event_files import EventFile

MOST_SECONDS = 60


@pytest.fixture
def logs(tmp_path):
    """A folder with runs of two recipes, both sides of the first."""
    for run in ("a_recipe/one/fit/train", "a_recipe/one/custom_loop/train", "another/two/fit/train"):
        events = EventFile(tmp_path / "logs" / run)
        events.write(1, summaries.scalars({"epoch_loss": 0.5}))
        events.close()
    return tmp_path / "logs"


@pytest.fixture
def port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def wait_for_runs(port, process, expected, host="localhost"):
    """Wait until the server has started and read the runs `expected`, and no others."""
    ends, runs = time.monotonic() + MOST_SECONDS, None
    while time.monotonic() < ends and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{host}:{port}/data/runs") as answer:
            runs = sorted(json.load(answer))
        if runs == expected:
            return
        time.sleep(0.2)
    pytest.fail(f"TensorBoard on port {port} has the runs {runs}; exit code {process.poll()}")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


@pytest.fixture
def started(logs, port, tmp_path):
    """A function that starts the real command; folders for temporary files are made in `tmp_path / "temporary"`."""
    (tmp_path / "temporary").mkdir()
    processes = []

    def started(*args):
        process = subprocess.Popen(
            [sys.executable, "-m", "recipes", "board", *args, "--port", str(port)],
            cwd=logs.parent,
            env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a group of its own, as a shell gives it, so that Ctrl-C reaches all of it
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def folders_of_boards(tmp_path):
    return list((tmp_path / "temporary").glob("recipes-board-*"))


@pytest.mark.process
def test_the_board_serves_the_runs_of_all_recipes_until_ctrl_c_ends_it(logs, port, started, tmp_path):
    process = started()
    # "." is what the board itself holds: the configuration of HParams
    runs = [".", "a_recipe/one/custom_loop/train", "a_recipe/one/fit/train", "another/two/fit/train"]
    wait_for_runs(port, process, runs)
    assert not folders_of_boards(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    _, error = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 0
    assert "Traceback" not in error
    assert not listens(port)


@pytest.mark.process
def test_the_board_of_one_recipe_serves_it_under_its_name_and_sigterm_takes_tensorboard_with_it(
    logs, port, started, tmp_path
):
    process = started("a_recipe")
    runs = [".", "a_recipe/one/custom_loop/train", "a_recipe/one/fit/train"]
    wait_for_runs(port, process, runs)
    events = EventFile(logs / "a_recipe" / "two" / "fit" / "train")
    events.write(1, summaries.scalars({"epoch_loss": 0.5}))
    events.close()
    wait_for_runs(port, process, [*runs, "a_recipe/two/fit/train"])  # one that begins while the board is open
    (folder,) = folders_of_boards(tmp_path)
    assert (folder / "a_recipe").is_symlink()
    process.terminate()  # of the command alone, not of the group
    _, error = process.communicate(timeout=MOST_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in error
    assert not listens(port)
    assert not folders_of_boards(tmp_path)
    assert (logs / "a_recipe" / "one" / "fit" / "train").is_dir()  # the link went, not what it leads to


class Process:
    """Stands for TensorBoard: ends at once, with the exit code 7."""

    def __init__(self, command):
        self.command = command
        self.logdir = Path(command[command.index("--logdir") + 1])
        self.names = sorted(path.name for path in self.logdir.iterdir())
        self.links = {path.name: path.resolve() for path in self.logdir.iterdir() if path.is_symlink()}

    def wait(self, timeout=None):
        return 7

    def terminate(self):
        pass


@pytest.fixture
def executed(monkeypatch):
    """The processes that would have been started."""
    processes = []

    def start(command):
        processes.append(Process(command))
        return processes[-1]

    monkeypatch.setattr(board.subprocess, "Popen", start)
    return processes


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_host_is_what_tensorboard_listens_at(host, logs, port, executed):
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    assert main(["board", "--host", host, "--port", str(port), "--logs", str(logs)]) == 7
    (process,) = executed
    assert process.command[-4:] == ["--host", host, "--port", str(port)]


def test_the_board_serves_at_another_host(logs, port, started):
    process = started("a_recipe", "--host", "127.0.0.2")  # the loopback has more addresses than that of localhost
    runs = [".", "a_recipe/one/custom_loop/train", "a_recipe/one/fit/train"]
    wait_for_runs(port, process, runs, host="127.0.0.2")
    assert not listens(port)  # at localhost
    process.terminate()
    process.communicate(timeout=MOST_SECONDS)


def test_the_board_of_all_is_tensorboard_on_the_logs_bound_to_localhost(logs, port, executed):
    assert main(["board", "--port", str(port), "--logs", str(logs)]) == 7
    (process,) = executed
    assert process.command[:3] == [sys.executable, "-m", "tensorboard.main"]
    assert process.command[3:] == ["--logdir", str(logs), "--host", "localhost", "--port", str(port)]
    assert process.names == sorted(["a_recipe", "another", boards.CONFIGURATION])


def test_the_board_of_one_recipe_is_a_folder_with_a_link_that_goes_when_it_ends(
    logs, port, executed, tmp_path, monkeypatch
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(logs.parent)
    assert main(["board", "a_recipe", "--port", str(port)]) == 7  # the logs are named relative to here
    (process,) = executed
    assert process.command[:3] == [sys.executable, "-m", "tensorboard.main"]
    assert process.command[3:] == ["--logdir", str(process.logdir), "--host", "localhost", "--port", str(port)]
    assert process.names == sorted(["a_recipe", boards.CONFIGURATION])
    assert process.links == {"a_recipe": logs / "a_recipe"}
    assert process.logdir.parent == tmp_path / "temporary"
    assert not list((tmp_path / "temporary").iterdir())
    assert sorted(path.name for path in logs.iterdir()) == ["a_recipe", "another"]  # the board of all is another


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
        (["--host", ""], "--host '' is no address; use localhost, or 0.0.0.0"),
        (["--host", "a b"], "--host 'a b' is no address"),
        (["--host", "x" * 70], "is no address; use localhost, or 0.0.0.0"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1 is no address of this machine; use localhost"),
        (["--host"], "--host needs a value"),
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
