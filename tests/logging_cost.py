"""What logging costs: whole processes that train `mlp_classifier` for 10 epochs, with everything, scalars and nothing.

    python -m tests.logging_cost path/to/mnist.npz [rounds]        or: make logging-cost DATA=path/to/mnist.npz

In turn (A B C A B C ...), each side apart. The steady ratio is of what 8 epochs more take: a run of 10 less one of 2.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from recipes.commands import catalog, processes, side
from recipes.shared.logging_options import LoggingOptions

LEVELS = ("nothing", "scalars", "everything")
TARGETS = {"scalars": 1.03, "everything": 1.15}


def main(data: str, rounds: int = 5) -> None:
    pair = catalog.find("mlp_classifier")
    seconds: dict = {}
    with tempfile.TemporaryDirectory() as logs:
        for number in range(rounds + 1):  # the first warms the caches of the machine, and does not count
            for name in catalog.SIDES:
                for level in LEVELS:
                    for epochs in (10, 2):
                        folder = Path(logs) / f"{number}_{name}_{level}_{epochs}"
                        hparams = {"data": data, "epochs": epochs}
                        logging = LoggingOptions(level=level)
                        job = side.Job(str(pair.side(name).path), str(folder), hparams, logging=logging)
                        began = time.perf_counter()
                        processes.Server(fork=False).start(side.train_here, job).wait()
                        if number:
                            seconds.setdefault((name, level, epochs), []).append(time.perf_counter() - began)
            print(f"round {number}", flush=True)
    medians = {key: statistics.median(times) for key, times in seconds.items()}
    print(f"\n{'':12} {'logs':>11} {'10 epochs':>10} {'ratio':>6} {'target':>7} {'steady ratio':>13}")
    for name in catalog.SIDES:
        for level in LEVELS:
            whole = medians[name, level, 10]
            steady, quiet = (medians[name, each, 10] - medians[name, each, 2] for each in (level, "nothing"))
            ratio = whole / medians[name, "nothing", 10]
            target = TARGETS.get(level, "")
            print(f"{name:12} {level:>11} {whole:>8.2f} s {ratio:>6.3f} {target:>7} {steady / quiet:>13.3f}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], *(int(value) for value in sys.argv[2:]))
