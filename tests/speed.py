"""Steps per second on an MLP 784-64-64-10 at batch size 32: fit as it comes, fit at its best, and the custom loop.

    python -m tests.speed path/to/mnist.npz [rounds]        or: make speed DATA=path/to/mnist.npz

Each contestant trains in a process of its own, in turn (A B C A B C ...), and reports the median epoch after its first.
Weights must be identical, or the numbers mean nothing.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from recipes.commands import catalog, parity, processes, side

CONTESTANTS = [("fit", 1), ("fit", 10), ("fit", 100), ("fit", 1500), ("custom_loop", None)]  # steps_per_execution


def main(data: str, rounds: int = 3) -> None:
    pair = catalog.find("mlp_classifier")
    seconds: dict = {contestant: [] for contestant in CONTESTANTS}
    with tempfile.TemporaryDirectory() as logs:
        for number in range(rounds):
            for name, steps in CONTESTANTS:
                folder = Path(logs) / f"{number}_{name}_{steps}"
                hparams = {"data": data, "steps_per_execution": steps, "epochs": 4}
                job = side.Job(str(pair.side(name).path), str(folder), hparams)
                processes.Server(fork=False).start(side.train_here, job).wait()
                report = parity.read_json(folder / "report.json")
                seconds[name, steps].append(report["seconds_per_epoch"])
                updates = report["updates"] // 4
                first = Path(logs) / "0_fit_1"
                same = parity.compare(first, folder).identical
                print(f"round {number + 1}: {name}, steps_per_execution {steps}: same bits {same}", flush=True)
    medians = {contestant: statistics.median(times) for contestant, times in seconds.items()}
    loop = medians["custom_loop", None]
    print(f"\n{'':12} {'steps per':>10} {'steps per':>10} {'time, as a multiple':>20}")
    print(f"{'':12} {'execution':>10} {'second':>10} {'of the custom loop':>20}")
    for (name, steps), time in medians.items():
        print(f"{name:12} {steps or 'epoch':>10} {updates / time:>10.0f} {time / loop:>20.2f}")
    best = min(time for (name, _), time in medians.items() if name == "fit")
    print(f"\nagainst fit as it comes: {medians['fit', 1] / loop:.1f} x; against fit at its best: {best / loop:.1f} x")
    print("An epoch here includes validation on 12000 examples and the writing of logs, on either side.")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], *(int(value) for value in sys.argv[2:]))
