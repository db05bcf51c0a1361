"""The examples that hyper-parameters name, checked for a recipe's task. TensorFlow is not imported.

So the command finds mistakes in the data before it waits for TensorFlow; `data.load` then does the same once more.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recipes.shared import images, pixels, runtime, shards, sources, tables, tasks
from recipes.shared.errors import UsageError
from recipes.shared.files import kind_of
from recipes.shared.hparams import HParams
from recipes.shared.tasks import Task

HELD_OUT = 0.2  # the share of the test part, and of what is left that of the validation part


def read(hparams: HParams, task: str) -> tuple[sources.Raw, Task]:
    """Return the raw data, checked to suit the task of this name, and the task, which has seen the targets.

    TensorFlow is imported for a folder of images alone, by Keras' loader.

    Raises:
        UsageError: the data cannot be used, or does not fit `task`.
    """
    check_flags(hparams)
    path = Path(hparams.data)
    if kind_of(path) == "folder":
        raw = images.read(path, hparams.image_size)
    else:
        raw = sources.read(hparams.data, tables.Options.of(hparams), tasks.named(task).one_value)
        pixels.check_channels(hparams, raw.features.shape[1:] if isinstance(raw.features, np.ndarray) else ())
    if isinstance(raw.features, np.ndarray):  # of bytes, whose float32 is four times as large
        check_memory(hparams.data, raw.features.size, "make it a folder of several .npz files, and add --stream")
    return raw, _check_targets(hparams, raw, tasks.named(task))


def check_flags(hparams: HParams) -> None:
    """Raise a UsageError about a flag that the data, other than a folder of .npz files, have no use for."""
    name = hparams.data
    if hparams.stream:
        raise UsageError(f"--stream reads a folder of .npz files, and {name} is none")
    if not tables.is_table(name):
        tables.Options.of(hparams).require_none()
    if kind_of(Path(name)) == "folder":
        if hparams.channels_first:
            raise UsageError(
                "--channels-first is for .npz files; Keras reads images of a folder with the channels last"
            )
        return
    if hparams.image_size is not None:
        raise UsageError(f"--image-size resizes the images of a folder, and {name} is none")
    if hparams.channels_first and name in sources.EMBEDDED | sources.DOWNLOADED:
        raise UsageError(
            f"--channels-first is for images of shape (channels, height, width), and {name} has none; leave it out"
        )


def check(hparams: HParams, task: str) -> tuple[str, ...]:
    """Return what was decided while reading the data, having checked all that needs no TensorFlow.

    Raises:
        UsageError: the data cannot be used, does not fit `task`, or is smaller than one batch.
    """
    path = Path(hparams.data)
    if kind_of(path) == "folder":
        check_folder = _check_images if images.is_folder_of_images(path) else _check_shards
        return check_folder(hparams, tasks.named(task))
    known = sources.EMBEDDED | sources.DOWNLOADED
    if hparams.data in known:  # they are sound, and scikit-learn and Keras load slowly
        check_flags(hparams)
        _check_task(hparams.data, known[hparams.data], tasks.named(task))
        return ()
    raw, found = read(hparams, task)
    _check_sizes(hparams, raw)
    return (*raw.notes, *scaling_notes(hparams, raw, found))


def scaling_notes(hparams: HParams, raw: sources.Raw, task: Task) -> list[str]:
    """Return what is to be said about the scaling of images that came in a file."""
    if isinstance(raw.features, dict) or raw.features.ndim < 3 or raw.features.dtype.kind == "f":
        return []  # which nothing is said of; scikit-learn, for the split, takes half a second to import
    train_rows, *_ = rows(hparams, raw, task)
    return pixels.notes([raw.features[train_rows]])


def _check_images(hparams: HParams, task: Task) -> tuple[str, ...]:
    """Do what `check` does for a folder of images by class, as far as names and headers tell."""
    check_flags(hparams)
    raw = images.survey(Path(hparams.data), hparams.image_size).without_pixels()
    _check_targets(hparams, raw, task)
    _check_sizes(hparams, raw)
    return raw.notes


def _check_shards(hparams: HParams, task: Task) -> tuple[str, ...]:
    """Do what `check` does for a folder of .npz files. It reads the first, and more of images whose scale is open."""
    folder = find_shards(hparams, task)

    def batches() -> Iterator[np.ndarray]:
        for x, _ in folder.read_alike(folder.train):
            pixels.check_channels(hparams, x.shape[1:])
            yield x

    return tuple(pixels.notes(batches()))


def find_shards(hparams: HParams, task: Task) -> shards.Folder:
    """Return the files of a folder of .npz files.

    Raises:
        UsageError: a part is missing, or the recipe or a flag has no use for such a folder.
    """
    if not task.in_files:
        raise UsageError(f"{hparams.data} is a folder; this recipe predicts {task.predicts}, and takes a single file")
    tables.Options.of(hparams).require_none()
    if hparams.image_size is not None:
        raise UsageError("--image-size resizes images in folders by class; those in .npz files have a size already")
    if hparams.split_seed:
        raise UsageError(f"--split-seed has no meaning for {hparams.data}: its files are the parts")
    return shards.find(Path(hparams.data), hparams.train_on_validation, task.one_value)


def _check_targets(hparams: HParams, raw: sources.Raw, task: Task) -> Task:
    """Return `task` as the targets have it, having checked that they suit it."""
    _check_task(hparams.data, raw.task, task)
    known = raw.targets if raw.parts is None else raw.targets[raw.parts != "test"]
    return task.of([known], hparams.data)


def _check_sizes(hparams: HParams, raw: sources.Raw) -> None:
    train, validation, _ = sizes(raw)
    check_batch_size(hparams, train + (validation if hparams.train_on_validation else 0))


def rows(hparams: HParams, raw: sources.Raw, task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which rows are for training, validation and test: none for test if the source has such a part.

    Raises:
        UsageError: there are too few of a class.
    """
    stratify = task.strata(raw.targets)
    kept, test = np.arange(len(raw.targets)), np.array([], dtype=np.int64)
    if raw.parts is not None:
        kept, test = np.flatnonzero(raw.parts != "test"), np.flatnonzero(raw.parts == "test")
    elif raw.test_features is None or raw.test_targets is None:
        kept, test = _split(kept, stratify, hparams)
    if raw.parts is not None and (raw.parts == "validation").any():
        train, validation = kept[raw.parts[kept] == "train"], kept[raw.parts[kept] == "validation"]
    else:
        train, validation = _split(kept, stratify, hparams)
    return kept if hparams.train_on_validation else train, validation, test


def _split(rows: np.ndarray, stratify: np.ndarray | None, hparams: HParams) -> tuple[np.ndarray, np.ndarray]:
    """Return 80 % and 20 % of `rows`, each with the same share of the values in `stratify`."""
    from sklearn.model_selection import train_test_split  # here, because it takes half a second to import

    try:
        first, second = train_test_split(
            rows,
            test_size=HELD_OUT,
            random_state=hparams.split_seed,
            stratify=None if stratify is None else stratify[rows],
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{hparams.data}: {len(rows)} examples cannot be split 80/20: {reason}") from error
    return first, second


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


def _check_task(name: str, holds: str | None, task: Task) -> None:
    if holds is not None and holds != task.name:
        raise UsageError(f"{name} holds {tasks.named(holds).predicts} to predict; this recipe predicts {task.predicts}")
