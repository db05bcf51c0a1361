"""Which settings of a machine change the bits that a command ends with.

Each run is trained with each setting, and held against the same run without it.

python -m tests.reproducibility        or: make reproducibility; it takes some ten minutes and prints a table
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from recipes.commands import parity

RUNS = {
    "mlp_classifier": ["--epochs", "3"],
    "cnn_classifier": ["--epochs", "2"],
    "dropout": ["--epochs", "20"],
}
VERBS = ("fit", "loop")
# What is changed: environment variables, and flags of the command.
SETTINGS: dict[str, tuple[dict[str, str], list[str]]] = {
    "nothing: the same command again": ({}, []),
    "another hash seed of Python (`PYTHONHASHSEED`)": ({"PYTHONHASHSEED": "7"}, []),
    "nothing is logged (`--log nothing`)": ({}, ["--log", "nothing"]),
    "one thread for an operation (`TF_NUM_INTRAOP_THREADS=1`)": ({"TF_NUM_INTRAOP_THREADS": "1"}, []),
    "four threads for an operation (`TF_NUM_INTRAOP_THREADS=4`)": ({"TF_NUM_INTRAOP_THREADS": "4"}, []),
    "operations one after the other (`TF_NUM_INTEROP_THREADS=1`)": ({"TF_NUM_INTEROP_THREADS": "1"}, []),
    "one core (`taskset -c 0`)": ({"ONE_CORE": "1"}, []),
    "without oneDNN (`TF_ENABLE_ONEDNN_OPTS=0`)": ({"TF_ENABLE_ONEDNN_OPTS": "0"}, []),
    "a processor without AVX-512 (`ONEDNN_MAX_CPU_ISA=AVX2`, `XLA_FLAGS=--xla_cpu_max_isa=AVX2`)": (
        {"ONEDNN_MAX_CPU_ISA": "AVX2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
        [],
    ),
    "XLA the other way (`--jit-compile`, `--no-jit-compile`)": ({}, ["OTHER_JIT"]),
    "8 batches in an execution (`--steps-per-execution 8`)": ({}, ["--steps-per-execution", "8"]),
}


def train(name: str, verb: str, run: str, logs: Path, environment: dict[str, str], flags: list[str]) -> Path:
    """Train in a process of its own and return the folder of the side."""
    side = {"fit": "fit", "loop": "custom_loop"}[verb]
    command = [sys.executable, "-m", "recipes", verb, name, "--logs", str(logs), "--run", run, *RUNS[name]]
    if flags == ["OTHER_JIT"]:
        flags = ["--no-jit-compile" if name == "mlp_classifier" else "--jit-compile"]
    if environment.pop("ONE_CORE", ""):
        command = ["taskset", "-c", "0", *command]
    if "--log" not in flags:
        command += ["--log", "scalars"]
    subprocess.run([*command, *flags], env=os.environ | environment, check=True, capture_output=True)
    return logs / name / run / side


def main() -> None:
    """Print, for each setting and run, whether the bits are the same, or how far the weights are apart."""
    columns = [(name, verb) for name in RUNS for verb in VERBS]
    print("| what is another | " + " | ".join(f"{name}, {verb}" for name, verb in columns) + " |")
    print("|---|" + "---|" * len(columns))
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        first = {column: train(*column, "first", logs, {}, []) for column in columns}
        for number, (title, (environment, flags)) in enumerate(SETTINGS.items()):
            cells = []
            for column in columns:
                other = train(*column, f"other-{number}", logs, dict(environment), flags)
                result = parity.compare(first[column], other)
                if result.weights_max_abs_diff:
                    cells.append(f"{result.weights_max_abs_diff:.1e}")
                else:
                    cells.append("same weights, other logged losses" if result.history_max_abs_diff else "same bits")
            print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
