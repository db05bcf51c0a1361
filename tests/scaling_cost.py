"""What a step of `mlp_classifier` costs on one device, on several, and with several workers on this machine.

python -m tests.scaling_cost DATA.npz: the median of the epochs after the first, validation left out.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests import distributed

EPOCHS = 8
BATCH_SIZE = 32
CASES = [("none", 1), ("mirrored", 1), ("mirrored", 2), ("multi_worker", 2), ("multi_worker", 3)]
SIDES = ("custom_loop", "fit")


def measure(text):
    """Train as `text` says and print the microseconds a step."""
    values = json.loads(text)
    from recipes.shared.distribution import Distribution

    trained_on = Distribution(**values["distribution"])
    strategy = trained_on.start()
    import importlib

    import keras

    from recipes.shared.logging_options import LoggingOptions
    from recipes.shared.run import Run

    class Clock(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seconds = []

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.ended = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds.append((self.ended - self.began) / self.params["steps"])

    module = importlib.import_module(values["module"])
    hparams = module.HParams(data=values["data"], epochs=EPOCHS, batch_size=BATCH_SIZE, jit_compile=False)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, trained_on.scope(strategy):
        run = Run(folder, hparams, logging=LoggingOptions(level="nothing"))
        callbacks = run.callbacks
        run.callbacks = lambda batches: callbacks(batches, clock)
        module.train(hparams, run)
    print(1e6 * statistics.median(clock.seconds[1:]))


def main(data):
    """Print a table."""
    print("| strategy | replicas | custom loop, us a step | fit |")
    print("|---|---|---|---|")
    for name, replicas in CASES:
        row = []
        for side in SIDES:
            package = "custom_loops" if side == "custom_loop" else "recipes"
            distribution = {"strategy": name} | ({"devices": replicas} if name == "mirrored" else {})
            values = {"distribution": distribution, "module": f"{package}.supervised.mlp_classifier", "data": data}
            command = ["-m", "tests.scaling_cost", "--measure", json.dumps(values)]
            several = name == "multi_worker"
            places = distributed.environments(replicas) if several else [distributed.environment()]
            ended = distributed.finish([distributed.start(command, place) for place in places], seconds=1200)
            if any(code for code, *_ in ended):
                sys.exit(str(ended))
            row.append(f"{float(ended[0][1]):.0f}")
        print(f"| {name} | {replicas} | {row[0]} | {row[1]} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        measure(sys.argv[2])
    else:
        main(str(Path(sys.argv[1]).resolve()))
