"""Processes that train: real ones, forked and fresh, and what ends them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.commands import processes
from tests import children


@pytest.fixture
def fresh():
    server = processes.Server(fork=False)
    assert server.is_ready
    return server


@pytest.mark.process
@pytest.mark.parametrize("kind", ["server", "fresh"])
def test_a_child_writes_to_its_own_files_and_its_end_is_told(kind, request, result):
    server = request.getfixturevalue(kind)
    assert result(server, children.write_and_exit, 0) == (0, "to the output\n", "to the errors\n", "to the errors")
    assert result(server, children.write_and_exit, 3)[0] == 3
    code, output, error, ended = result(server, children.fail)
    assert (code, output, ended) == (1, "", "ValueError: a mistake")
    assert "Traceback" in error
    assert result(server, children.die) == (-signal.SIGKILL, "", "", "killed by signal 9")
    assert result(server, os._exit, 4) == (4, "", "", "exited without a message, exit code 4")


def test_a_forked_child_has_imported(server, result):
    assert set(result(server, children.say_what_is_imported)[1].split()) == {
        "tensorflow",
        "keras",
        "sklearn",
        "matplotlib",
    }


@pytest.mark.process
def test_a_fresh_child_has_not(fresh, result):
    assert result(fresh, children.say_what_is_imported)[1] == "\n"


def test_a_child_has_the_variables_that_it_is_given_and_those_of_this_process(server, monkeypatch, result):
    monkeypatch.setenv("RECIPES_TEST", "of the parent")
    assert result(server, children.say_variable, "RECIPES_TEST")[1] == "of the parent\n"
    variables = {"RECIPES_TEST": "its own"}
    assert result(server, children.say_variable, "RECIPES_TEST", variables=variables)[1] == "its own\n"
    assert result(server, children.say_variable, "PYTHONSAFEPATH")[1] == "None\n"


@pytest.mark.parametrize("name", ["XLA_FLAGS", "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"])
def test_settings_that_are_read_at_the_import_need_a_fresh_process(name, monkeypatch):
    server = processes.Server()
    assert server.forks
    monkeypatch.setenv("ELSEWHERE", "1")
    assert server.forks
    monkeypatch.setenv(name, "something else")
    assert not server.forks
    assert server.is_ready
    assert processes.Server().forks  # a server that begins now inherits it


def test_what_an_import_sets_in_this_process_changes_nothing(monkeypatch):
    """As in a search, whose chief imports TensorFlow beside the server of its workers."""
    for name in processes.SET_AT_IMPORT:
        monkeypatch.delenv(name, raising=False)
    server = processes.Server()
    for name in processes.SET_AT_IMPORT:
        monkeypatch.setenv(name, "1")
    assert server.forks


def test_beside_a_gpu_every_process_is_fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GPU_DEVICES", (str(tmp_path / "none"), str(tmp_path)))
    assert not processes.Server().forks


@pytest.mark.process
@pytest.mark.parametrize("kind", ["server", "fresh"])
def test_what_lies_in_the_working_directory_shadows_no_module(kind, request, cwd, monkeypatch, result):
    server = request.getfixturevalue(kind)
    (cwd / "colorsys.py").write_text("raise SystemExit('shadowed')\n")
    monkeypatch.setattr(sys, "path", [str(cwd), *sys.path])  # as `python -m recipes` has it
    assert result(server, children.say_where_a_module_is_from, "colorsys")[1].endswith("colorsys.py\n")


def test_processes_get_the_time_to_end_and_those_that_do_not_are_killed(server, wait_for):
    signals = "import signal, time; signal.signal(signal.SIGTERM, signal.{}); print(flush=True); time.sleep(60)"
    handlers = ("SIG_IGN", "SIG_DFL")
    started = [
        subprocess.Popen([sys.executable, "-c", signals.format(handler)], stdout=subprocess.PIPE)
        for handler in handlers
    ]
    for process in started:
        process.stdout.readline()  # it handles signals as it shall
    forked = [server.start(children.sleep, handler) for handler in handlers]
    for child in forked:
        wait_for(lambda child=child: child.written()[0])
    processes.end([*started, *forked], 0.5)
    assert [process.returncode for process in (*started, *forked)] == [-signal.SIGKILL, -signal.SIGTERM] * 2
    for process in started:
        process.stdout.close()
    for child in forked:
        child.close()


@pytest.mark.process
@pytest.mark.slow
def test_fifty_children_train_and_end(server, result):
    """With XLA and without, two at a time; a lock that a fork has copied in its locked state would hang some."""
    losses = {}
    for _ in range(25):
        started = {jit_compile: server.start(children.train, jit_compile) for jit_compile in (False, True)}
        for jit_compile, child in started.items():
            assert child.wait(60) == 0, child.written()
            losses.setdefault(jit_compile, set()).add(child.written()[0])
            child.close()
    fresh = processes.Server(fork=False)
    for jit_compile, found in losses.items():
        assert found == {result(fresh, children.train, jit_compile)[1]}


class Comparison:
    """A real `recipes compare`, in a session of its own as in a terminal, whose fit side trains."""

    def __init__(self, folder, wait_for, descendants):
        command = [sys.executable, "-m", "recipes", "compare", "mlp_classifier", "--epochs", "1000000", "--run", "x"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=folder, start_new_session=True, **pipes)
        self.history = folder / "logs" / "mlp_classifier" / "x" / "fit" / "history.json"
        wait_for(self.history.exists)
        self.children = descendants(self.process.pid)
        commands = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in self.children}
        self.server, self.side = (
            child for child, command in commands.items() if b"multiprocessing.forkserver" in command
        )

    def end(self, wait_for):
        """Return the exit code, the output and the errors, once nothing is left running."""
        output, error = self.process.communicate(timeout=60)
        # one that nobody waits for any more is a zombie until the system has cleared it away
        wait_for(lambda: all(state_of(child) in ("", "Z") for child in self.children), 30)
        return self.process.returncode, output, error


def state_of(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.fixture
def comparison(tmp_path, wait_for, descendants):
    comparison = Comparison(tmp_path, wait_for, descendants)
    yield comparison
    comparison.process.kill()


@pytest.mark.process
def test_ctrl_c_ends_all_and_keeps_what_was_done(comparison, wait_for):
    os.killpg(comparison.process.pid, signal.SIGINT)
    code, _, error = comparison.end(wait_for)
    assert (code, error) == (130, "\nrecipes: interrupted\n")
    assert json.loads(comparison.history.read_text())["loss"]


@pytest.mark.process
def test_sigterm_ends_all_and_keeps_what_was_done(comparison, wait_for):
    comparison.process.terminate()
    assert comparison.end(wait_for)[0] == 128 + signal.SIGTERM
    assert json.loads(comparison.history.read_text())["loss"]


@pytest.mark.process
def test_the_command_is_killed_and_nothing_goes_on(comparison, wait_for):
    comparison.process.kill()
    assert comparison.end(wait_for)[0] == -signal.SIGKILL
    assert json.loads(comparison.history.read_text())["loss"]


@pytest.mark.process
def test_the_server_is_killed_and_its_side_ends_and_the_other_is_trained(comparison, wait_for):
    os.kill(comparison.server, signal.SIGKILL)
    wait_for(lambda: state_of(comparison.side) in ("", "Z"), 30)
    loop = comparison.history.parent.with_name("custom_loop") / "history.json"
    wait_for(loop.exists)  # by another server
    comparison.process.terminate()
    assert comparison.end(wait_for)[0] == 128 + signal.SIGTERM


@pytest.mark.process
def test_a_side_is_killed_and_the_other_is_trained(comparison, wait_for):
    os.kill(comparison.side, signal.SIGKILL)
    loop = comparison.history.parent.with_name("custom_loop") / "history.json"
    wait_for(loop.exists)
    comparison.process.terminate()
    assert comparison.end(wait_for)[0] == 128 + signal.SIGTERM
