"""Trains one side of a pair, for tests; a run that is only read is trained once for all of them."""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recipes.commands import catalog
from recipes.shared.logging_options import LoggingOptions

SCALARS = LoggingOptions(level="scalars")  # the rest takes seconds a run


def module_of(name: str, side: str) -> Any:
    """Return the module of a pair's side."""
    return importlib.import_module(f"{catalog.SIDES[side]}.{catalog.find(name).topic}.{name}")


def train(folder: Path, name: str, side: str, logging: Any = None, saving: Any = None, **hparams: Any) -> Any:
    """Train one side in this process, without XLA unless `jit_compile` is given, and return its `Run`."""
    import keras

    from recipes.shared.run import Run

    module = module_of(name, side)
    keras.backend.clear_session()  # so that layers are named alike on both sides
    values = module.HParams(**{"jit_compile": False} | hparams)  # it takes XLA seconds to compile
    run = Run(folder, values, logging=logging or SCALARS, saving=saving)
    try:
        module.train(values, run)
    finally:
        run.close()
    return run


@dataclass(frozen=True)
class Trained:
    """What a finished run has left. Its folder is shared by many tests: look, and do not change anything."""

    folder: Path

    def _read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @property
    def name(self) -> str:
        """That of the folder: the side or the child."""
        return self.folder.name

    @property
    def config(self) -> dict[str, Any]:
        """What config.json says."""
        return self._read("config.json")

    @property
    def report(self) -> dict[str, Any]:
        """What report.json says."""
        return self._read("report.json")

    @property
    def metrics(self) -> dict[str, float]:
        """What was measured on the test part."""
        return self.report["metrics"]

    @property
    def history(self) -> dict[str, list[float]]:
        """The metrics of each epoch."""
        return self._read("history.json")

    @property
    def children(self) -> list["Trained"]:
        """The trainings of a recipe that trains more than once, in their order."""
        return [Trained(self.folder / name) for name in self.report["children"]]


class Cache:
    """Trains each side once for each of its own settings, whichever process asks first.

    Args:
        root: a folder that all processes of pytest-xdist share.
        apart: a function from a name to a context manager around a training, which counts what it costs.
    """

    def __init__(self, root: Path, apart: Callable[[str], contextlib.AbstractContextManager[None]]) -> None:
        self._root = root
        self._apart = apart
        root.mkdir(exist_ok=True)

    def __call__(self, name: str, side: str, logging: LoggingOptions = SCALARS, **hparams: Any) -> Trained:
        """Return the finished run; it is trained if no test has asked for it yet."""
        values = dataclasses.asdict(module_of(name, side).HParams(**{"jit_compile": False} | hparams))
        key = json.dumps([values, dataclasses.asdict(logging)], sort_keys=True)
        folder = self._root / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}" / side
        folder.parent.mkdir(exist_ok=True)
        ended = folder.with_name(f"{side}.ended")
        with self._lock(folder.with_name(f"{side}.lock")):
            if not ended.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a training that failed
                with self._apart(f"training {name} {side}"):
                    train(folder, name, side, logging, **hparams)
                ended.touch()
        return Trained(folder)

    @contextlib.contextmanager
    def _lock(self, path: Path) -> Iterator[None]:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed, or the process ends
            yield


def slow(*values: Any) -> Any:
    """Return values for parameters that only `.ci/run` takes, because `make test` has others for the same code."""
    return pytest.param(*values, marks=pytest.mark.slow)


def seeds(number: int) -> list[Any]:
    """Return values for a parameter `seed`: 0, which `make test` takes, and the others, which `make claims` adds."""
    return [0, *map(slow, range(1, number))]
