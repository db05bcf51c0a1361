"""From raw examples to training, validation and test parts, and the order in which training sees them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.model_selection import StratifiedKFold, train_test_split

from recipes.shared import distribution, images, preprocessing, runtime, shards, sources, streaming
from recipes.shared.errors import UsageError
from recipes.shared.files import kind_of
from recipes.shared.hparams import HParams
from recipes.shared.splits import Split as Split
from recipes.shared.splits import epoch_order as epoch_order

MOST_CLASSES = 100
CHANNELS = (1, 3, 4)  # of grey, RGB, and RGB with transparency
MOST_WHOLE_NUMBERS = 20  # so few distinct integers, ten times each and more, are taken for classes


@dataclass(frozen=True)
class Dataset:
    """The three parts of a data set, and what turns raw input into their features."""

    train: Split
    validation: Split
    test: Split
    preprocessing: keras.Model
    class_names: tuple[str, ...] = ()  # empty for regression
    notes: tuple[str, ...] = ()  # what was decided about the data that a user may want to know

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example's features."""
        return self.train.input_shape

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 for regression."""
        return len(self.class_names)


def load(hparams: HParams, task: sources.Task) -> Dataset:
    """Return the data that `hparams` names, split and preprocessed.

    80 % training and 20 % test, stratified for classes (a source with a test part of its own keeps it), then 20 % of
    the training part for validation. Preprocessing is fitted on what is left for training. With `train_on_validation`
    nothing is taken away from the training part.

    Raises:
        UsageError: the data cannot be used, does not fit `task`, or is smaller than one batch.
    """
    if _is_folder_of_shards(hparams):
        return _load_folder(hparams, task)
    if hparams.stream:
        raise UsageError(f"--stream reads a folder of .npz files, and {hparams.data} is none")
    raw, classes = _read(hparams, task)
    stratify = raw.targets if task == "classification" else None
    rows = np.arange(len(raw.targets))
    if raw.test_features is None or raw.test_targets is None:
        rows, test_rows = _split(rows, stratify, hparams)
        test = _take(raw.features, test_rows), raw.targets[test_rows]
    else:
        test = raw.test_features, raw.test_targets
    train_rows, validation_rows = _split(rows, stratify, hparams)
    if hparams.train_on_validation:
        train_rows = rows
    return _prepare(hparams, raw, classes, train_rows, validation_rows, test=test)


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
    raw, classes = _read(hparams, "classification")
    counts = np.bincount(np.searchsorted(classes, raw.targets))
    if counts.min() < count:
        rarest = _class_name(classes[counts.argmin()])
        raise UsageError(f"{hparams.data}: the class {rarest} has {counts.min()} examples, too few for {count} folds")
    splitter = StratifiedKFold(count, shuffle=True, random_state=hparams.split_seed)
    return [
        # all folds need the same width, whichever of them has the only example of a category
        _prepare(hparams, raw, classes, train_rows, held_out, categories=raw.features)
        for train_rows, held_out in splitter.split(raw.targets, raw.targets)
    ]


def _read(hparams: HParams, task: sources.Task) -> tuple[sources.Raw, np.ndarray]:
    """Return the raw data, checked to suit `task`, and its classes: none for regression."""
    if _is_folder(hparams):
        _refuse_table_flags(hparams)
        raw = images.read(Path(hparams.data), hparams.image_size)
        if hparams.channels_first:
            raise UsageError(
                "--channels-first is for .npz files; Keras reads images of a folder with the channels last"
            )
    else:
        if hparams.image_size is not None:
            raise UsageError(f"--image-size resizes the images of a folder, and {hparams.data} is none")
        raw = sources.read(hparams.data, hparams.target, hparams.header)
        _check_channels(hparams, raw.features)
    if isinstance(raw.features, np.ndarray):  # of bytes, whose float32 is four times as large
        _check_memory(hparams.data, raw.features.size, "make it a folder of several .npz files, and add --stream")
    if raw.task is not None and raw.task != task:
        holds = {"classification": "classes", "regression": "numbers"}
        raise UsageError(f"{hparams.data} holds {holds[raw.task]} to predict; this recipe predicts {holds[task]}")
    if task == "classification":
        return raw, _check_classes(raw.targets, hparams.data)
    _check_quantities(raw.targets, hparams.data)
    return raw, np.array([])


def _prepare(
    hparams: HParams,
    raw: sources.Raw,
    classes: np.ndarray,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    test: tuple[sources.Features, np.ndarray] | None = None,
    categories: sources.Features | None = None,
) -> Dataset:
    """Return the parts, preprocessing fitted on the rows for training; without `test` the validation part is it."""
    if len(classes):
        encode = partial(_class_indices, classes=classes, name=hparams.data)
    else:
        encode = partial(_as_column, name=hparams.data)
    _check_batch_size(hparams, len(train_rows))
    features = _take(raw.features, train_rows)
    layers = preprocessing.fit(features, categories, hparams.channels_first)
    notes = preprocessing.scaling_notes(layers, features.dtype) if isinstance(features, np.ndarray) else []

    def part(features: sources.Features, targets: np.ndarray) -> Split:
        x = preprocessing.apply(layers, features)
        if not np.isfinite(x).all():
            raise UsageError(f"{hparams.data} has NaN or infinite values (or too large for float32)")
        return Split(x, encode(targets))

    validation = part(_take(raw.features, validation_rows), raw.targets[validation_rows])
    return Dataset(
        train=part(features, raw.targets[train_rows]),
        validation=validation,
        test=validation if test is None else part(*test),
        preprocessing=layers,
        class_names=tuple(_class_name(value) for value in classes),
        notes=(*raw.notes, *notes),
    )


def _is_folder(hparams: HParams) -> bool:
    return kind_of(Path(hparams.data)) == "folder"


def _is_folder_of_shards(hparams: HParams) -> bool:
    return _is_folder(hparams) and not images.is_folder_of_images(Path(hparams.data))


def _refuse_table_flags(hparams: HParams) -> None:
    if hparams.target is not None or not hparams.header:
        raise UsageError("--target and --no-header describe a .csv or .tsv file; leave them out for other data")


def _load_folder(hparams: HParams, task: sources.Task) -> Dataset:
    """Return what `load` does, of a folder of .npz files: in memory or, with `stream`, read while it trains.

    A first pass over all files checks them, finds the classes, and fits the preprocessing. Either way it is the same
    order and the same arithmetic, so training ends with the same bits.
    """
    if task != "classification":
        raise UsageError(f"{hparams.data} is a folder; this recipe predicts numbers, and takes a single file")
    _refuse_table_flags(hparams)
    if hparams.image_size is not None:
        raise UsageError("--image-size resizes images in folders by class; those in .npz files have a size already")
    if hparams.split_seed:
        raise UsageError(f"--split-seed has no meaning for {hparams.data}: its files are the parts")
    folder = shards.find(Path(hparams.data), hparams.train_on_validation)
    statistics, classes = preprocessing.Statistics(), np.array([])
    sizes: list[int] = []
    for x, y in folder.read_alike(folder.train):
        if not sizes:
            _check_channels(hparams, x)
        statistics.add(x)
        dtype = x.dtype
        found = np.unique(y)
        classes = np.union1d(classes, found) if sizes else found
        if len(classes) > MOST_CLASSES:
            break  # they are no classes, and might be as many as the examples
        sizes.append(len(x))
    encode = partial(_class_indices, classes=_check_classes(classes, hparams.data), name=hparams.data)
    _check_batch_size(hparams, sum(sizes))
    layers = statistics.layers(hparams.channels_first)

    def held_out(files: tuple[Path, ...]) -> Split:
        x, y = (np.concatenate(arrays) for arrays in zip(*folder.read_alike(files), strict=True))
        return Split(preprocessing.apply(layers, x), encode(y))

    def read(shard: int) -> streaming.Shard:
        x, y = folder.read(folder.train[shard])
        if len(x) != sizes[shard]:
            raise UsageError(f"{folder.train[shard]} has changed since the training began")
        return x, encode(y)

    train: Split = streaming.Streamed(read, sizes, layers)
    if not hparams.stream:
        _check_memory(hparams.data, len(train) * math.prod(train.input_shape), "add --stream")
        train = replace(train.first(len(train)), shards=train.shards)
    return Dataset(
        train=train,
        validation=held_out(folder.validation),
        test=held_out(folder.test),
        preprocessing=layers,
        class_names=tuple(_class_name(value) for value in classes),
        notes=tuple(preprocessing.scaling_notes(layers, dtype)),
    )


def _check_channels(hparams: HParams, features: sources.Features) -> None:
    """Raise a UsageError about images with the channels first, or about --channels-first for anything else."""
    shape = features.shape[1:] if isinstance(features, np.ndarray) else ()
    first = len(shape) == 3 and shape[0] in CHANNELS and min(shape[1:]) > max(CHANNELS)
    last = len(shape) == 3 and shape[2] in CHANNELS and min(shape[:2]) > max(CHANNELS)
    if first and not hparams.channels_first:
        raise UsageError(
            f"{hparams.data} has examples of shape {shape}, which look like images with the channels first, and layers"
            f" here take them last; add --channels-first, and they are turned to {(*shape[1:], shape[0])}"
        )
    if hparams.channels_first and (last or len(shape) != 3):
        what = f"examples of shape {shape}" if shape else "columns"
        raise UsageError(
            f"--channels-first is for images of shape (channels, height, width), and {hparams.data} has {what};"
            " leave it out"
        )


def _check_batch_size(hparams: HParams, examples: int) -> None:
    if hparams.batch_size > examples and "batch_size" not in hparams.unused:
        raise UsageError(
            f"--batch-size is {hparams.batch_size}, more than the {examples} training examples of {hparams.data}"
        )


def _check_memory(name: str, numbers: int, remedy: str) -> None:
    """Raise a UsageError if so many numbers, as the float32 that the model takes, are too much for this machine."""
    runtime.require_memory(name, 4 * numbers, remedy)


def map_targets(dataset: Dataset, function: Callable[[np.ndarray], np.ndarray]) -> Dataset:
    """Return `dataset` with `function` applied to the targets of each part."""
    parts = {name: getattr(dataset, name).map_targets(function) for name in ("train", "validation", "test")}
    return replace(dataset, **parts)


def one_hot(dataset: Dataset) -> Dataset:
    """Return `dataset` with its class indices as float32 one-hot rows of shape (examples, classes)."""
    identity = np.eye(dataset.num_classes, dtype=np.float32)
    return map_targets(dataset, lambda labels: identity[labels])


class EpochOrder(keras.callbacks.Callback):
    """Feeds `model.fit` batches in the order that `epoch_order` gives. Pass it to `fit` as a callback as well.

    Args:
        split: the training data.
        seed: of the order.
    """

    def __init__(self, split: Split, seed: int) -> None:
        super().__init__()
        self.split = split
        self.seed = seed
        self.epoch = 0
        streamed = isinstance(split, streaming.Streamed)  # a stream has an order of its own
        variable = distribution.plain_variable if tf.distribute.has_strategy() else tf.Variable
        self.order: Any = None if streamed else variable(tf.range(len(split)), trainable=False)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Set the order of the epoch whose iterator is about to be made."""
        self.epoch = epoch
        if self.order is not None:
            self.order.assign(epoch_order(self.split.examples, self.seed, epoch))

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """Return one epoch of shuffled batches; the last one may be short.

        It is finite and its cardinality is known, so that `fit` starts it anew each epoch. (An endless dataset with
        `steps_per_epoch` makes too many updates when `steps_per_execution` does not divide the steps.)
        """
        distribution.require_a_share_for_each(batch_size)
        if isinstance(self.split, streaming.Streamed):
            return self.split.batches(batch_size, lambda: (self.seed, self.epoch))
        return _gathered(self.split, self.order, batch_size)


def batches(split: Split, batch_size: int) -> tf.data.Dataset:
    """Return the examples of `split` in their own order, for validation and test; the last batch may be short."""
    if tf.distribute.has_strategy():  # for the same shares of a short batch as in training
        return _gathered(split, tf.range(len(split)), batch_size)
    return tf.data.Dataset.from_tensor_slices((split.x, split.y)).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _gathered(split: Split, order: tf.Variable | tf.Tensor, batch_size: int) -> tf.data.Dataset:
    """Return one epoch of the examples in `order`, which is read when they are made; the last batch may be short.

    A strategy cannot know the size of these batches, so it cuts each as it comes: ceil(size / replicas) examples for
    every replica as long as there are some. A dataset that was made by `batch` would be cut by its full batches, and
    of a short one the last replicas got nothing (tensorflow/python/distribute/input_lib.py, `_make_rebatch_fn`).
    """
    x, y = tf.constant(split.x), tf.constant(split.y)
    steps = -(-len(split) // batch_size)

    def gather(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = order[step * batch_size : (step + 1) * batch_size]
        return tf.gather(x, rows), tf.gather(y, rows)

    return tf.data.Dataset.range(steps).map(gather).prefetch(tf.data.AUTOTUNE)


def _check_classes(targets: np.ndarray, name: str) -> np.ndarray:
    """Return the distinct targets, sorted, checked to be classes rather than quantities."""
    if targets.dtype.kind == "f":
        if not np.isfinite(targets).all():
            raise UsageError(f"{name}: the target has NaN or infinite values")
        if (targets != np.round(targets)).any():
            raise UsageError(f"{name}: the target holds fractions; this recipe predicts classes")
    classes = np.unique(targets)
    if len(classes) > MOST_CLASSES:
        raise UsageError(f"{name}: the target has {len(classes)} distinct values; this recipe predicts classes")
    if len(classes) < 2:
        raise UsageError(f"{name}: every example has the target {classes[0]}; there is nothing to tell apart")
    return classes


def _class_name(value: np.generic) -> str:
    return str(int(value)) if isinstance(value, np.floating) else str(value)


def _class_indices(targets: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    unseen = np.setdiff1d(targets, classes)
    if len(unseen):
        raise UsageError(f"{name}: the test part has the class {unseen[0]!s}, which the training part has not")
    return np.searchsorted(classes, targets).astype(np.int32)


def _check_quantities(targets: np.ndarray, name: str) -> None:
    """Raise a UsageError if the targets of all examples are classes rather than quantities."""
    if targets.dtype.kind not in "iuf":
        kind = "true and false" if targets.dtype.kind == "b" else "text"
        raise UsageError(f"{name}: the target holds {kind}; this recipe predicts numbers")
    distinct = len(np.unique(targets))
    if targets.dtype.kind != "f" and distinct <= MOST_WHOLE_NUMBERS and distinct * 10 <= len(targets):
        raise UsageError(
            f"{name}: the target looks like {distinct} classes, and this recipe predicts numbers;"
            " if they are quantities, write them with a decimal point"
        )


def _as_column(targets: np.ndarray, name: str) -> np.ndarray:
    """Return the targets as float32 of shape (examples, 1)."""
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as such
        column = targets.astype(np.float32)[:, None]
    if not np.isfinite(column).all():
        raise UsageError(f"{name}: the target has NaN or infinite values (or too large for float32)")
    return column


def _take(features: sources.Features, rows: np.ndarray) -> sources.Features:
    if isinstance(features, dict):
        return {name: column[rows] for name, column in features.items()}
    return features[rows]


def _split(rows: np.ndarray, stratify: np.ndarray | None, hparams: HParams) -> tuple[np.ndarray, np.ndarray]:
    """Return 80 % and 20 % of `rows`, each with the same share of the values in `stratify`."""
    try:
        first, second = train_test_split(
            rows, test_size=0.2, random_state=hparams.split_seed, stratify=None if stratify is None else stratify[rows]
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{hparams.data}: {len(rows)} examples cannot be split 80/20: {reason}") from error
    return first, second
