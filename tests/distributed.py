"""Trains recipes one after the other under one strategy: `python -m tests.distributed JSON`.

For tests: TensorFlow takes logical devices and connections between workers only when it starts, so what shall train
under a strategy needs a process of its own, and every such process costs seconds.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_SECONDS = 100  # of any process; none takes a third of it


def job(name, side, folder, logging="scalars", **hparams):
    """Return what `main` takes for one training."""
    return {"name": name, "side": side, "folder": str(folder), "logging": logging, "hparams": hparams}


def main(text):
    """Train as `text` says, and print one line of JSON for each training: its test metrics."""
    values = json.loads(text)
    from recipes.shared import distribution

    trained_on = distribution.Distribution(**values["distribution"])
    strategy = trained_on.start()
    from keras.src.utils import naming

    from recipes.commands import catalog
    from recipes.shared.logging_options import LoggingOptions
    from recipes.shared.run import Run

    for each in values["jobs"]:
        naming.reset_uids()  # layers are named as in a process of their own
        pair = catalog.find(each["name"])
        module = importlib.import_module(f"{catalog.SIDES[each['side']]}.{pair.topic}.{pair.name}")
        hparams = module.HParams(**each["hparams"], jit_compile=False)
        run = Run(each["folder"], hparams, logging=LoggingOptions(level=each["logging"]))
        with trained_on.scope(strategy):
            module.train(hparams, run)
        run.close()
        print(json.dumps(run.metrics), flush=True)


def free_ports(count):
    """Return so many ports of this machine that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("localhost", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def environments(count):
    """Return the environment of each of `count` workers on this machine."""
    workers = [f"localhost:{port}" for port in free_ports(count)]
    configs = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(count)]
    return [environment() | {"TF_CONFIG": json.dumps(config)} for config in configs]


def environment():
    """Return this process's environment without what says who the workers are."""
    return {name: value for name, value in os.environ.items() if name != "TF_CONFIG" and not name.startswith("SLURM_")}


def start(command, environment, cwd=ROOT):
    """Start a process of this Python."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *command], env=environment, cwd=cwd, **pipes)


def finish(processes, seconds=MOST_SECONDS):
    """Return (exit code, output, errors) of each process; none outlives this."""
    try:
        outputs = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


if __name__ == "__main__":
    main(sys.argv[1])
