"""What streaming costs: peak memory with 1 and 10 times the data, and microseconds a step against the data in memory.

    python -m tests.streaming_cost [rounds]        or: make streaming-cost

Made-up images of the size of MNIST's, 10,000 in a shard; whole processes that train `mlp_classifier` by the loop.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from recipes.commands import catalog, processes, side
from recipes.shared.logging_options import LoggingOptions

SHARD, EPOCHS, BATCH = 10_000, 5, 32
# name: (training shards, whether they are streamed)
RUNS = {"in memory": (6, False), "streamed": (6, True), "streamed, 10 times the data": (60, True)}
MOST_MEMORY, MOST_TIME = 1.10, 1.30


def write_shard(path: Path, examples: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    y = random.integers(0, 10, examples, dtype=np.uint8)
    x = random.integers(0, 256, (examples, 28, 28), dtype=np.uint8)
    x[np.arange(examples), y, :] = 255  # a bright line says the class, so that there is something to learn
    np.savez(path, x=x, y=y)


def write_folder(folder: Path, shards: int) -> None:
    folder.mkdir()
    for shard in range(shards):
        write_shard(folder / f"train-{shard:03}.npz", SHARD, seed=shard)
    for part, seed in (("validation", 1000), ("test", 1001)):
        write_shard(folder / f"{part}.npz", SHARD // 10, seed)


def train(folder: Path, data: Path, stream: bool) -> dict:
    """Return the report of a run in a process of its own."""
    hparams = {"data": str(data), "stream": stream, "epochs": EPOCHS, "batch_size": BATCH}
    source = catalog.find("mlp_classifier").side("custom_loop").path
    job = side.Job(str(source), str(folder), hparams, logging=LoggingOptions(level="nothing"))
    processes.Server(fork=False).start(side.train_here, job).wait()
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def main(rounds: int = 3) -> None:
    memory: dict = {}
    microseconds: dict = {}
    with tempfile.TemporaryDirectory() as temporary:
        folders = {shards: Path(temporary) / f"{shards}_shards" for shards in {shards for shards, _ in RUNS.values()}}
        for shards, folder in folders.items():
            write_folder(folder, shards)
        for number in range(rounds):
            for name, (shards, stream) in RUNS.items():
                report = train(Path(temporary) / f"{number}_{name}", folders[shards], stream)
                steps = -(-shards * SHARD // BATCH)
                memory.setdefault(name, []).append(report["peak_memory_mib"])
                microseconds.setdefault(name, []).append(report["seconds_per_epoch"] / steps * 1e6)
            print(
                f"round {number + 1}", {name: f"{times[-1]:.0f} us" for name, times in microseconds.items()}, flush=True
            )
    print(f"\n{'':28} {'peak memory':>12} {'a step':>8}")
    for name in RUNS:
        print(f"{name:28} {max(memory[name]):>8.0f} MiB {statistics.median(microseconds[name]):>5.0f} us")
    larger = max(memory["streamed, 10 times the data"]) / max(memory["streamed"])
    slower = statistics.median(microseconds["streamed"]) / statistics.median(microseconds["in memory"])
    print(f"\n10 times the data: {larger:.3f} of the memory (target {MOST_MEMORY})")
    print(f"streamed: {slower:.3f} of the time in memory (target {MOST_TIME})")


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:]))
