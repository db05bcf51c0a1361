"""Gives the contestants of a case their turns: A B C A B C ..., every one in a process of its own.

A turn is two epochs, and the second counts. The first after another process had the machine finds cold caches: for our
loop it took up to a third longer, for NumPy next to nothing, and in a training every epoch but one follows its like.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recipes.commands import processes as started
from recipes.commands.benchmark.cases import Case
from recipes.commands.benchmark.contestants import CONTESTANTS, Contestant
from recipes.commands.benchmark.measurement import CaseResult, Measurement
from recipes.shared.errors import UsageError

Say = Callable[[str], None]
PATIENCE = 5  # seconds that a contestant gets to end
EPOCHS_IN_A_TURN = 2
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


class Stopped(Exception):
    """A contestant ended before its time; the message is the last thing that it said."""


def measure(case: Case, peers: bool, data: str, rounds: int, threads: int, examples: int, say: Say) -> CaseResult:
    """Return what the contestants of `case` took.

    Args:
        case: what they train.
        peers: whether other frameworks take part; one that is not installed is said to be missing.
        data: the images, as `prepare.images` takes them.
        rounds: turns of everybody; the very first epoch shows the cost of the first run.
        threads: that each may use, and as many cores.
        examples: in an epoch.
        say: is told what goes on.

    Raises:
        UsageError: the data cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.npz"
        epochs = rounds * EPOCHS_IN_A_TURN
        arguments = [case.name, data, epochs, examples, problem]
        prepared = subprocess.run(
            python("prepare", *arguments), env=environment(threads), capture_output=True, text=True, check=False
        )
        if prepared.returncode:
            raise UsageError(last_line(prepared.stderr).removeprefix("recipes: "))
        result = CaseResult(case.name, case.title, "step", examples // case.batch_size, [], case.targets)
        processes: list[Process] = []
        try:
            for contestant in contestants(case, peers):
                measurement = Measurement(contestant.name, contestant.title)
                result.measurements.append(measurement)
                if importlib.util.find_spec(contestant.needs) is None:
                    measurement.failure = f"{contestant.needs} is not installed: pip install -e .[bench]"
                    continue
                say(f"{case.name}: {contestant.title} starts")
                errors = Path(folder) / f"{contestant.name}.txt"
                command = python("contestant", case.name, contestant.name, problem, epochs, threads)
                processes.append(Process(command, threads, measurement, errors))
            for turn in range(rounds):
                say(f"{case.name}: round {turn + 1} of {rounds}")
                shift = turn % len(processes)  # nobody is always the first
                for process in processes[shift:] + processes[:shift]:
                    process.turn()
            for process in processes:
                process.finish(result.steps)
        finally:
            started.end([process.process for process in processes], PATIENCE)
    return result


def contestants(case: Case, peers: bool) -> list[Contestant]:
    """Return who takes part in a case."""
    return [each for each in CONTESTANTS if (peers or not each.peer) and (not each.cases or case.builder in each.cases)]


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a contestant that may use so many threads."""
    return os.environ | {name: str(threads) for name in THREADS} | {"TF_CPP_MIN_LOG_LEVEL": "2"}


def pin(threads: int) -> None:
    """Keep this process, and what it starts, to so many cores, where the system can; frameworks count these."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


class Process:
    """The process of one contestant, and its measurement so far. One that fails is out, and the others go on."""

    def __init__(self, command: Sequence[str], threads: int, measurement: Measurement, errors: Path) -> None:
        self.measurement = measurement
        self._errors = errors
        self._turns: list[list[float]] = []  # the seconds of the epochs of each turn
        with errors.open("wb") as file:
            pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": file}
            self.process = subprocess.Popen(command, env=environment(threads), preexec_fn=lambda: pin(threads), **pipes)
        self._attempt(lambda: self._keep(import_seconds=self._answer()["import_seconds"]))

    def turn(self) -> None:
        """Let it train the epochs of a turn."""

        def train() -> float:
            assert self.process.stdin is not None
            try:
                self.process.stdin.write(b"\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                raise Stopped from None
            return float(self._answer()["seconds"])

        self._attempt(lambda: self._turns.append([train() for _ in range(EPOCHS_IN_A_TURN)]))

    def finish(self, steps: int) -> None:
        """Let it end; from then on its measurement is whole."""

        def end() -> None:
            answer = self._answer()
            counted = [seconds[-1] for seconds in self._turns]
            self._keep(
                seconds=[seconds / steps for seconds in counted],
                first_seconds=self._turns[0][0] - statistics.median(counted),
                score=answer["score"],
                digest=answer["digest"],
                peak_memory_mib=answer["peak_memory_mib"],
            )

        self._attempt(end)

    def _attempt(self, action: Callable[[], None]) -> None:
        if not self.measurement.failure:
            try:
                action()
            except Stopped:
                self.measurement.failure = last_line(self._errors.read_text(errors="replace"))

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Stopped
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _keep(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self.measurement, name, value)


def python(module: str, *arguments: Any) -> list[str]:
    """Return the command that runs a module of the benchmark in a process of its own."""
    return [sys.executable, "-P", "-m", f"recipes.commands.benchmark.{module}", *map(str, arguments)]


def last_line(text: str) -> str:
    """Return the last line of `text` that says something."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it ended without a word")
