"""Measures the default run of `mlp_classifier` from the start of the process to its end, and the imports alone."""

import os
import re
import subprocess
import sys
import tempfile
import time

from recipes.commands.benchmark import rounds as turns
from recipes.commands.benchmark.measurement import CaseResult, Measurement

NAME, TITLE = "digits", "mlp_classifier on digits, 10 epochs, from process start to the printed result"
TARGETS = {"fit_documented": 1.0}


def measure(rounds: int, threads: int, say: turns.Say) -> CaseResult:
    """Return what the runs took, in turn, after one round that warms the machine's caches."""
    result = CaseResult(NAME, TITLE, "run", 1, [], TARGETS)
    with tempfile.TemporaryDirectory() as logs:
        common = ["mlp_classifier", "--log", "nothing", "--logs", logs, "--run"]
        commands = {
            ("custom_loop", "our custom loop"): ["-m", "recipes", "loop", *common],
            ("fit", "our fit side"): ["-m", "recipes", "fit", *common],
            ("fit_documented", "fit as documented"): ["-m", "recipes.commands.benchmark.digits_documented"],
            ("imports", "only the imports of TensorFlow and Keras"): [
                "-c",
                "from recipes.shared import runtime; runtime.configure(); import keras",
            ],
        }
        result.measurements = [Measurement(name, title) for name, title in commands]
        for turn in range(rounds + 1):
            say(f"{NAME}: round {turn} of {rounds}" if turn else f"{NAME}: warm-up")
            for measurement, command in zip(result.measurements, commands.values(), strict=True):
                name = [str(turn)] if command[-1] == "--run" else []
                _run([sys.executable, "-P", *command, *name], threads, measurement, counts=turn > 0)
    return result


def _run(command: list[str], threads: int, measurement: Measurement, counts: bool) -> None:
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=turns.environment(threads),
        preexec_fn=lambda: turns.pin(threads),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        measurement.failure = turns.last_line(output)
    elif counts:
        measurement.seconds.append(seconds)
        measurement.peak_memory_mib = usage.ru_maxrss / 1024
        accuracy = re.search(r"^test: .*\baccuracy ([\d.]+)", output, re.MULTILINE)
        measurement.score = float(accuracy[1]) if accuracy else None
