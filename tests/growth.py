"""Whether the cost of a step stays the same as the data grows: 1x, 4x and 16x the examples, MLP at batch size 32.

    python -m tests.growth path/to/mnist.npz        or: make growth DATA=path/to/mnist.npz

The loop alone, each size in a process of its own, in turn, seven turns as the benchmark gives them. The target is 10 %.
"""

import sys
import tempfile
from pathlib import Path

from recipes.commands import processes as started
from recipes.commands.benchmark import prepare, rounds
from recipes.commands.benchmark.cases import CASES
from recipes.commands.benchmark.measurement import Measurement

SIZES, ROUNDS, THREADS = (3_008, 12_032, 48_000), 7, 2  # sixteen epochs of the smallest are one of the largest


def main(data):
    processes = {}
    epochs = ROUNDS * rounds.EPOCHS_IN_A_TURN
    with tempfile.TemporaryDirectory() as folder:
        try:
            for size in SIZES:
                path = Path(folder) / f"{size}.npz"
                prepare.problem(CASES["mlp"], data, epochs, size).save(path)
                command = rounds.python("contestant", "mlp", "custom_loop", path, epochs, THREADS)
                processes[size] = rounds.Process(command, THREADS, Measurement("", ""), path.with_suffix(".txt"))
            for _ in range(ROUNDS):
                for process in processes.values():
                    process.turn()
            for size, process in processes.items():
                process.finish(size // 32)
        finally:
            started.end([process.process for process in processes.values()], 5)
    first = processes[SIZES[0]].measurement.median
    for size, process in processes.items():
        median = process.measurement.median
        print(f"{size:6} examples: {1e6 * median:6.1f} us a step, {median / first:.3f} of the smallest's")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1])
