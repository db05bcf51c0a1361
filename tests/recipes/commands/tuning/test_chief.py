"""Chief and workers as real processes on this machine, some of which are killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.__main__ import main
from recipes.commands.tuning import worker
from recipes.commands.tuning.trials import ATTEMPTS

pytestmark = pytest.mark.usefixtures("cwd", "no_variables")

SEARCH = ("mlp_classifier", "--side", "custom_loop", "--tuner", "random", "--epochs", "2", "--no-jit-compile")


@pytest.fixture
def start():
    """A function that starts a search in a process of its own, which does not outlive the test."""
    with contextlib.ExitStack() as stack:

        def start(*args, **environment):
            process = subprocess.Popen(
                [sys.executable, "-m", "recipes", "tune", *SEARCH, *args],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | environment,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def ended(process, seconds=120):
    """Return the exit code of a search and what it printed."""
    output, error = process.communicate(timeout=seconds)
    return process.returncode, output + error


def folder(name="x"):
    return Path("logs", "mlp_classifier", f"tune-{name}")


def found(name="x"):
    return json.loads((folder(name) / "trials.json").read_text())


@pytest.fixture(scope="module")
def in_one_process(tmp_path_factory):
    """A function that returns values and scores of the first trials of the same search without workers."""
    logs = tmp_path_factory.mktemp("alone")
    assert main(["tune", *SEARCH, "--trials", "5", "--run", "x", "--logs", str(logs)]) == 0
    whole = json.loads((logs / "mlp_classifier" / "tune-x" / "trials.json").read_text())
    return lambda trials: [(trial["values"], trial["score"]) for trial in whole[:trials]]


def scores():
    return [(trial["values"], trial["score"]) for trial in found()]


def busy(process):
    """Return the trial and the process of a worker that is at a trial; nothing if there is none."""
    for path in folder().glob(f"trial_*/{ATTEMPTS}"):
        with contextlib.suppress(OSError, ValueError):  # it is written just now
            number = json.loads(path.read_text())["process"]
            if Path(f"/proc/{number}").exists():
                return path.parent.name.removeprefix("trial_"), number
    return None


@pytest.mark.process
def test_two_workers_score_as_one_process_does(start, in_one_process):
    code, output = ended(start("--trials", "4", "--workers", "2", "--run", "x"))
    assert code == 0, output
    assert scores() == in_one_process(4)
    assert sorted(line.split("/")[0] for line in output.splitlines() if line.startswith("trial ")) == [
        f"trial {number}" for number in range(1, 5)
    ]
    assert len(list(folder().glob("worker-*.json"))) == 0


@pytest.mark.process
def test_a_search_that_began_in_one_process_goes_on_with_workers_and_back(start, in_one_process, capfd):
    main(["tune", *SEARCH, "--trials", "2", "--run", "x"])
    before = scores()
    code, output = ended(start("--trials", "4", "--workers", "1", "--run", "x"))
    assert code == 0, output
    assert scores()[:2] == before
    main(["tune", *SEARCH, "--trials", "5", "--run", "x"])
    capfd.readouterr()
    assert scores() == in_one_process(5)


@pytest.mark.process
def test_a_worker_that_is_killed_in_a_trial_gets_it_back_once_and_the_search_ends(start, in_one_process, wait_for):
    process = start("--trials", "4", "--workers", "2", "--run", "x")
    trial, victim = wait_for(lambda: busy(process))
    os.kill(victim, signal.SIGKILL)
    code, output = ended(process)
    assert code == 0, output
    assert "died (killed by signal 9); starting it again" in output
    assert scores() == in_one_process(4)
    assert not list(folder().rglob(ATTEMPTS))
    assert output.count(f"trial {int(trial) + 1}/4: ") == 1


@pytest.mark.process
def test_a_trial_that_kills_its_worker_twice_has_failed_and_the_search_ends(start, in_one_process, wait_for):
    process = start("--trials", "2", "--workers", "1", "--run", "x")
    trial, first = wait_for(lambda: busy(process))
    os.kill(first, signal.SIGKILL)

    def again():
        now = busy(process)
        attempts = folder() / f"trial_{trial}" / ATTEMPTS
        with contextlib.suppress(OSError, ValueError):
            return now and now[1] != first and json.loads(attempts.read_text())["count"] == 2 and now[1]

    os.kill(wait_for(again), signal.SIGKILL)
    code, output = ended(process)
    assert code == 0, output
    assert "trial 1/2: " in output
    assert "FAILED: the process was killed twice" in output
    assert [each["status"] for each in found()] == ["failed", "completed"]
    assert scores()[1] == in_one_process(2)[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def elsewhere(identifier, port):
    """Return KerasTuner's variables, as on several machines."""
    return dict(zip(worker.VARIABLES, (identifier, "127.0.0.1", port), strict=True))


@pytest.fixture
def chief_here(monkeypatch, capfd):
    """A function that runs a chief that gets no workers in this process: its exit code and what it printed."""

    def chief_here(port, *args):
        for name, value in elsewhere("chief", port).items():
            monkeypatch.setenv(name, value)
        code = main(["tune", *SEARCH, "--trials", "1", "--run", "x", *args])
        captured = capfd.readouterr()
        return code, captured.out + captured.err

    return chief_here


@pytest.mark.process
def test_keras_tuners_variables_make_a_chief_and_workers_of_the_same_command(start, in_one_process):
    port = free_port()
    command = ("--trials", "3", "--run", "x")
    processes = [start(*command, **elsewhere(name, port)) for name in ("a", "the-chief", "b")]
    ends = [ended(process) for process in processes]
    assert [code for code, _ in ends] == [0, 0, 0], ends
    assert "trial 3/3: " in ends[1][1]
    assert "trial " not in ends[0][1] + ends[2][1]
    assert scores() == in_one_process(3)


@pytest.mark.process
def test_the_trial_of_a_worker_elsewhere_that_dies_is_given_to_another(start, in_one_process, wait_for):
    port = free_port()
    command = ("--trials", "3", "--run", "x", "--time-limit", "12")
    chief = start(*command, **elsewhere("chief", port))
    victim = start(*command, **elsewhere("victim", port))
    wait_for((folder() / "trial_0" / ATTEMPTS).exists)
    victim.kill()
    victim.communicate()
    survivor = start(*command, **elsewhere("survivor", port))
    code, output = ended(chief)
    assert code == 0, output
    assert ended(survivor)[0] == 0
    assert scores() == in_one_process(3)


def test_a_chief_without_workers_gives_up_after_the_time_limit(chief_here):
    code, output = chief_here(free_port(), "--time-limit", "3")
    assert code == 1
    assert "no worker has asked for a trial for 3 s; the same command goes on from here" in output


@pytest.mark.process
def test_the_workers_of_a_killed_chief_end_and_the_search_goes_on_later(start, in_one_process, wait_for, descendants):
    process = start("--trials", "3", "--workers", "2", "--run", "x")
    _, worker_process = wait_for(lambda: busy(process))
    assert b"forkserver" in Path(f"/proc/{worker_process}/cmdline").read_bytes()  # it has that of its server
    running = descendants(process.pid)
    assert len(running) >= 4  # two workers, the server that has forked them, multiprocessing's resource tracker
    process.kill()
    process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{each}/cmdline").exists() for each in running), 30)
    assert main(["tune", *SEARCH, "--trials", "3", "--run", "x"]) == 0
    assert scores() == in_one_process(3)


@pytest.mark.process
def test_ctrl_c_ends_chief_and_workers_and_the_same_command_goes_on(start, in_one_process, wait_for, descendants):
    process = start("--trials", "3", "--workers", "2", "--run", "x")
    wait_for(lambda: busy(process))
    running = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    code, output = ended(process)
    assert code == 130
    assert "Traceback" not in output
    wait_for(lambda: not any(Path(f"/proc/{each}").exists() for each in running), 30)
    assert main(["tune", *SEARCH, "--trials", "3", "--run", "x"]) == 0
    assert scores() == in_one_process(3)


@pytest.mark.process
def test_a_worker_that_cannot_work_ends_the_search_with_its_last_words(start, cwd):
    (cwd / "mine.py").write_text("raise SystemExit('the recipe is broken')\n\n\ndef train(hparams, run): ...\n")
    process = subprocess.run(
        [sys.executable, "-m", "recipes", "tune", "mine.py", "--trials", "2", "--workers", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert process.returncode == 1
    assert "the recipe is broken" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_port_that_is_taken_is_refused(chief_here):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, output = chief_here(str(taken.getsockname()[1]))
    assert code == 2
    assert "the chief cannot listen at 127.0.0.1:" in output.splitlines()[-1]
