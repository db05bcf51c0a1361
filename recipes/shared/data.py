"""From raw examples to training, validation and test parts."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.model_selection import StratifiedKFold

from recipes.shared import distribution, examples, images, pixels, preprocessing, sources, streaming, tasks
from recipes.shared.batches import Batches, Order, Shuffled
from recipes.shared.errors import UsageError
from recipes.shared.files import kind_of
from recipes.shared.hparams import HParams
from recipes.shared.splits import Split as Split
from recipes.shared.tasks import Task


@dataclass(frozen=True)
class Dataset:
    """The three parts of a data set, and what turns raw input into their features."""

    train: Split
    validation: Split
    test: Split
    preprocessing: keras.Model
    task: Task | None = None  # None: no targets, so no scores and no pictures of a task
    notes: tuple[str, ...] = ()  # what was decided about the data, in one line each

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example's features."""
        return self.train.input_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes by index; empty where the task has none."""
        return () if self.task is None else self.task.class_names

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 where the task has none."""
        return len(self.class_names)

    def batches(self, hparams: HParams, order: Order | None = None) -> Batches:
        """Return what feeds both sides: batches of `hparams.batch_size`, shuffled by `hparams.seed` and the epoch.

        Args:
            hparams: of the run.
            order: of the training part, if it is not to be shuffled.

        Raises:
            UsageError: a full batch has fewer examples than there are replicas, or a stream shall have an order.
        """
        batch_size = hparams.batch_size
        distribution.require_a_share_for_each(batch_size)
        streamed = order is None and isinstance(self.train, streaming.Streamed)  # a stream has an order of its own
        return Batches(
            self.train if streamed else self.train.arrays,
            batch_size,
            seed=hparams.seed,
            validation=self.validation.arrays,
            test=self.test.arrays,
            order=order or Shuffled(len(self.train), batch_size, self.train.shards),
        )


def load(hparams: HParams, task: str) -> Dataset:
    """Return the data that `hparams` names, split and preprocessed, for the task of this name (`tasks.NAMES`).

    80 % training and 20 % test, stratified for classes (a source with a test part of its own keeps it), then 20 % of
    the training part for validation; or as a column of the table says. Preprocessing is fitted on what is left for
    training. With `train_on_validation` nothing is taken away from the training part.

    Raises:
        UsageError: the data cannot be used, does not fit `task`, or is smaller than one batch.
    """
    if _is_folder_of_shards(hparams):
        return _load_folder(hparams, task)
    raw, found = examples.read(hparams, task)
    train_rows, validation_rows, test_rows = examples.rows(hparams, raw, found)
    if raw.test_features is None or raw.test_targets is None:
        test = _take(raw.features, test_rows), raw.targets[test_rows]
    else:
        test = raw.test_features, raw.test_targets
    return _prepare(hparams, raw, found, train_rows, validation_rows, test=test)


def folds(hparams: HParams, count: int) -> list[Dataset]:
    """Return `count` data sets for cross-validation: each example is held out by exactly one of them.

    The held-out fold is both the validation and the test part, so nothing may be chosen by it. All folds have the same
    share of every class. Preprocessing is fitted anew for each, on its training part alone. The test part of a source
    that has its own is left alone.

    Raises:
        UsageError: as `load`, or a class has fewer examples than there are folds.
    """
    if hparams.stream or _is_folder_of_shards(hparams):
        raise UsageError("folds are made of data in one piece; name a single file, and leave out --stream")
    if hparams.split_column is not None:
        raise UsageError("folds hold every example out once, whatever --split-column says of it; leave it out")
    raw, task = examples.read(hparams, "classification")
    counts = np.bincount(task.encode(raw.targets, hparams.data))
    if counts.min() < count:
        rarest = task.class_names[counts.argmin()]
        raise UsageError(f"{hparams.data}: the class {rarest} has {counts.min()} examples, too few for {count} folds")
    splitter = StratifiedKFold(count, shuffle=True, random_state=hparams.split_seed)
    return [
        # all folds need the same width, whichever of them has the only example of a category
        _prepare(hparams, raw, task, train_rows, held_out, categories=raw.features)
        for train_rows, held_out in splitter.split(raw.targets, raw.targets)
    ]


def _prepare(
    hparams: HParams,
    raw: sources.Raw,
    task: Task,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    test: tuple[sources.Features, np.ndarray] | None = None,
    categories: sources.Features | None = None,
) -> Dataset:
    """Return the parts, preprocessing fitted on the rows for training; without `test` the validation part is it."""
    examples.check_batch_size(hparams, len(train_rows))
    features = _take(raw.features, train_rows)
    layers = preprocessing.fit(features, categories, hparams.channels_first)
    notes = preprocessing.scaling_notes(layers, features.dtype) if isinstance(features, np.ndarray) else []

    def part(features: sources.Features, values: np.ndarray) -> Split:
        x = preprocessing.apply(layers, features)
        if not np.isfinite(x).all():
            raise UsageError(f"{hparams.data} has NaN or infinite values (or too large for float32)")
        return Split(x, task.encode(values, hparams.data))

    validation = part(_take(raw.features, validation_rows), raw.targets[validation_rows])
    return Dataset(
        train=part(features, raw.targets[train_rows]),
        validation=validation,
        test=validation if test is None else part(*test),
        preprocessing=layers,
        task=task,
        notes=(*raw.notes, *notes),
    )


def _is_folder_of_shards(hparams: HParams) -> bool:
    path = Path(hparams.data)
    return kind_of(path) == "folder" and not images.is_folder_of_images(path)


def _load_folder(hparams: HParams, task: str) -> Dataset:
    """Return what `load` does, of a folder of .npz files: in memory or, with `stream`, read while it trains.

    A first pass over all files checks them, shows the task its targets, and fits the preprocessing. Either way it is
    the same order and the same arithmetic, so training ends with the same bits.
    """
    folder = examples.find_shards(hparams, tasks.named(task))
    statistics = preprocessing.Statistics()
    sizes: list[int] = []
    dtype = np.dtype(np.float32)

    def targets() -> Iterator[np.ndarray]:
        nonlocal dtype
        for x, y in folder.read_alike(folder.train):
            if not sizes:
                pixels.check_channels(hparams, x.shape[1:])
            statistics.add(x)
            dtype = x.dtype
            sizes.append(len(x))
            yield y

    found = tasks.named(task).of(targets(), hparams.data)
    examples.check_batch_size(hparams, sum(sizes))
    layers = statistics.layers(hparams.channels_first)

    def held_out(files: tuple[Path, ...]) -> Split:
        x, y = (np.concatenate(arrays) for arrays in zip(*folder.read_alike(files), strict=True))
        return Split(preprocessing.apply(layers, x), found.encode(y, hparams.data))

    def read(shard: int) -> streaming.Shard:
        x, y = folder.read(folder.train[shard])
        if len(x) != sizes[shard]:
            raise UsageError(f"{folder.train[shard]} has changed since the training began")
        return x, found.encode(y, hparams.data)

    train: Split = streaming.Streamed(read, sizes, layers)
    if not hparams.stream:
        examples.check_memory(hparams.data, len(train) * math.prod(train.input_shape), "add --stream")
        train = replace(train.first(len(train)), shards=train.shards)
    return Dataset(
        train=train,
        validation=held_out(folder.validation),
        test=held_out(folder.test),
        preprocessing=layers,
        task=found,
        notes=tuple(preprocessing.scaling_notes(layers, dtype)),
    )


def of_arrays(hparams: HParams, x: np.ndarray, y: Any = None, task: Task | None = None) -> Dataset:
    """Return examples that a pair makes itself, as they are, in three parts: 64 % training, 16 % validation, 20 % test.

    With `train_on_validation` nothing is taken away from the training part.

    Args:
        hparams: `split_seed` decides which example comes into which part.
        x: (examples, *features).
        y: targets (examples, ...), a dict of such for several outputs, or None.
        task: what scores and pictures there are; none if it is not given.

    Raises:
        UsageError: a flag is for files, or the training part is smaller than one batch.
    """
    examples.check_flags(hparams)
    if hparams.channels_first:
        raise UsageError(f"--channels-first is for the images of .npz files, and {hparams.data} is none; leave it out")
    shuffled = np.random.default_rng(hparams.split_seed).permutation(len(x))
    train, validation, test = np.split(shuffled, [round(0.64 * len(x)), round(0.8 * len(x))])
    if hparams.train_on_validation:
        train = np.concatenate([train, validation])
    examples.check_batch_size(hparams, len(train))
    whole = Split(x, y)
    inputs = keras.Input(x.shape[1:])
    as_they_are = keras.Model(inputs, keras.layers.Identity()(inputs), name="preprocessing")
    return Dataset(whole.take(train), whole.take(validation), whole.take(test), as_they_are, task)


def without_targets(dataset: Dataset) -> Dataset:
    """Return `dataset` for a model that learns from features alone: its batches are `(x,)`."""
    return replace(map_targets(dataset, lambda _: None), task=None)


def map_targets(dataset: Dataset, function: Callable[[Any], Any]) -> Dataset:
    """Return `dataset` with `function` applied to the targets of each part."""
    parts = {name: getattr(dataset, name).map_targets(function) for name in ("train", "validation", "test")}
    return replace(dataset, **parts)


def one_hot(dataset: Dataset) -> Dataset:
    """Return `dataset` with its class indices as float32 one-hot rows of shape (examples, classes)."""
    identity = np.eye(dataset.num_classes, dtype=np.float32)
    return map_targets(dataset, lambda labels: identity[labels])


def _take(features: sources.Features, rows: np.ndarray) -> sources.Features:
    if isinstance(features, dict):
        return {name: column[rows] for name, column in features.items()}
    return features[rows]
