"""The examples that hyper-parameters name, checked for a recipe's task. TensorFlow is not imported.

So the command finds mistakes in the data before it waits for TensorFlow; `data.load` then does the same once more.
"""

import math
from pathlib import Path

import numpy as np

from recipes.shared import runtime, shards, sources, tables, targets
from recipes.shared.errors import UsageError
from recipes.shared.files import kind_of
from recipes.shared.hparams import HParams

HELD_OUT = 0.2  # the share of the test part, and of what is left that of the validation part


def read(hparams: HParams, task: sources.Task) -> tuple[sources.Raw, np.ndarray]:
    """Return the raw data, checked to suit `task`, and its classes: none for regression.

    Raises:
        UsageError: the data cannot be used, or does not fit `task`.
    """
    if hparams.stream:
        raise UsageError(f"--stream reads a folder of .npz files, and {hparams.data} is none")
    raw = sources.read(hparams.data, tables.Options.of(hparams))
    if isinstance(raw.features, np.ndarray):  # of bytes, whose float32 is four times as large
        check_memory(hparams.data, raw.features.size, "make it a folder of several .npz files, and add --stream")
    _check_task(hparams.data, raw.task, task)
    if task == "classification":
        known = raw.targets if raw.parts is None else raw.targets[raw.parts != "test"]
        return raw, targets.check_classes(known, hparams.data)
    targets.check_quantities(raw.targets, hparams.data)
    return raw, np.array([])


def check(hparams: HParams, task: sources.Task) -> tuple[str, ...]:
    """Return what was decided while reading the data, having checked all that needs no TensorFlow.

    Raises:
        UsageError: the data cannot be used, does not fit `task`, or is smaller than one batch.
    """
    path = Path(hparams.data)
    if kind_of(path) == "folder":
        if any(path.glob("*.npz")):
            shards.find(path, hparams.train_on_validation)
        return ()
    if hparams.data in sources.EMBEDDED | sources.DOWNLOADED:  # they are sound, and scikit-learn and Keras load slowly
        tables.Options.of(hparams).require_none()
        if hparams.stream:
            raise UsageError(f"--stream reads a folder of .npz files, and {hparams.data} is none")
        _check_task(hparams.data, (sources.EMBEDDED | sources.DOWNLOADED)[hparams.data], task)
        return ()
    raw, _ = read(hparams, task)
    train, validation, _ = sizes(raw)
    check_batch_size(hparams, train + (validation if hparams.train_on_validation else 0))
    return raw.notes


def sizes(raw: sources.Raw) -> tuple[int, int, int]:
    """Return how many examples are for training, validation and test, as `data.load` splits them."""
    if raw.parts is not None:
        train, validation, test = (int((raw.parts == part).sum()) for part in tables.PARTS)
        if validation:
            return train, validation, test
    elif raw.test_targets is not None:
        train, test = len(raw.targets), len(raw.test_targets)
    else:
        test = math.ceil(HELD_OUT * len(raw.targets))
        train = len(raw.targets) - test
    validation = math.ceil(HELD_OUT * train)
    return train - validation, validation, test


def check_batch_size(hparams: HParams, examples: int) -> None:
    """Raise a UsageError if there are fewer `examples` for training than one batch takes."""
    if hparams.batch_size > examples and "batch_size" not in hparams.unused:
        raise UsageError(
            f"--batch-size is {hparams.batch_size}, more than the {examples} training examples of {hparams.data}"
        )


def check_memory(name: str, numbers: int, remedy: str) -> None:
    """Raise a UsageError if so many numbers, as the float32 that the model takes, are too much for this machine."""
    runtime.require_memory(name, 4 * numbers, remedy)


def _check_task(name: str, holds: sources.Task | None, task: sources.Task) -> None:
    if holds is not None and holds != task:
        words = {"classification": "classes", "regression": "numbers"}
        raise UsageError(f"{name} holds {words[holds]} to predict; this recipe predicts {words[task]}")
