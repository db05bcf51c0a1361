"""One epoch after another, cut into batches: the same object feeds `model.fit` and `custom_loops.loop.Loop`.

A batch is a tuple, `(x,)`, `(x, y)` or `(x, y, weights)`; each part is an array, or a dict or tuple of arrays.
"""

import functools
import itertools
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

Nest = Any  # an array, or a dict, list or tuple of nests
Block = tuple[Nest, tf.Tensor]  # arrays, and which of their rows come in which order


class Misuse(ValueError):
    """A mistake in how a pair uses batches or a loop. Its text is one line: what is wrong and what to do."""

    __init__ = Exception.__init__  # for AutoGraph, which raises other errors of a step again as a StagingError


@dataclass(frozen=True)
class Chunk:
    """Steps of an epoch that one call of a compiled function makes.

    Attributes:
        first: its first step, counted from 0.
        arrays: the data.
        rows: of the data, (steps, batch).
        begin: the first of these steps that it makes.
        end: the one after its last.
        gather: from the data and some rows to a batch.
    """

    first: int
    arrays: Nest
    rows: tf.Tensor
    begin: int
    end: int
    gather: Callable[[Nest, tf.Tensor], tuple[Nest, ...]]


@dataclass(frozen=True)
class Execution:
    """The steps between two calls of the batch hooks.

    Attributes:
        first: the first step.
        last: the last one as fit counts: past the end of an epoch if the last execution is shorter than the others.
        chunks: what it is made of.
    """

    first: int
    last: int
    chunks: Iterable[Chunk]


class Order(Protocol):
    """Which examples make up the batches of an epoch."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    def rows(self, seed: int, epoch: int) -> tf.Tensor:
        """Return rows of the data, int32: (examples,), to be cut into batches, or (steps, batch)."""

    def gather(self, arrays: Nest, rows: tf.Tensor) -> tuple[Nest, ...]:
        """Return the batch that `rows` (batch,) make up."""


@dataclass(frozen=True)
class InOrder:
    """The examples in their own order, for validation and test; the last batch may be short."""

    examples: int
    batch_size: int

    @property
    def steps(self) -> int:
        return -(-self.examples // self.batch_size)

    def rows(self, seed: int, epoch: int) -> tf.Tensor:
        return tf.range(self.examples)

    @staticmethod
    def gather(arrays: Nest, rows: tf.Tensor) -> tuple[Nest, ...]:
        batch: tuple[Nest, ...] = tf.nest.map_structure(lambda array: tf.gather(array, rows), arrays)
        return batch


@dataclass(frozen=True)
class Shuffled(InOrder):
    """All examples once an epoch, in the order of `epoch_order`; the last batch may be short.

    Attributes:
        shards: how many examples came from each file, if they came from several.
    """

    shards: tuple[int, ...] = ()

    def rows(self, seed: int, epoch: int) -> tf.Tensor:
        return epoch_order(self.shards or self.examples, seed, epoch)


@dataclass(frozen=True)
class Contiguous(InOrder):
    """Row j of a batch goes on where row j of the batch before ended, for a state that is carried from step to step.

    Examples that do not fill the last batch are left out: a carried state has one row for each row of a batch.
    """

    @property
    def steps(self) -> int:
        return self.examples // self.batch_size

    def rows(self, seed: int, epoch: int) -> tf.Tensor:
        return tf.transpose(tf.reshape(tf.range(self.steps * self.batch_size), (self.batch_size, self.steps)))


class ClassesOfExamples:
    """Every batch has some classes, drawn anew, and as many examples of each, drawn anew; for metric learning.

    Args:
        labels: the class of each example, (examples,).
        classes: in a batch.
        examples: of each class in a batch.
        steps: in an epoch; as many as see each example once on average, if not given.

    Raises:
        Misuse: there are fewer classes.
    """

    gather = staticmethod(InOrder.gather)

    def __init__(self, labels: np.ndarray, classes: int, examples: int, steps: int | None = None) -> None:
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if classes > len(self._members):
            raise Misuse(f"a batch has {classes} classes, and there are {len(self._members)}")
        self.classes, self.examples = classes, examples
        self.steps = steps or max(1, len(labels) // (classes * examples))

    def rows(self, seed: int, epoch: int) -> tf.Tensor:
        random = np.random.default_rng((seed, epoch))

        def batch() -> np.ndarray:
            drawn = random.choice(len(self._members), self.classes, replace=False)
            members = [self._members[label] for label in drawn]
            few = [random.choice(each, self.examples, replace=len(each) < self.examples) for each in members]
            return np.concatenate(few)

        return tf.constant(np.stack([batch() for _ in range(self.steps)]), tf.int32)


@dataclass(frozen=True)
class SideBySide:
    """Batches of two data sets of different length, joined: `(x, y)` and `(u,)` become `(x, y, u)`.

    An epoch is one of the longer one; the shorter one begins again, in a new order, as often as needed. Batches that
    would be short are left out.

    Attributes:
        sizes: how many examples each has.
        batch_sizes: how many of each are in a batch.

    Raises:
        Misuse: there are fewer.
    """

    sizes: tuple[int, int]
    batch_sizes: tuple[int, int]

    def __post_init__(self) -> None:
        for size, batch_size in zip(self.sizes, self.batch_sizes, strict=True):
            if batch_size > size:
                raise Misuse(f"a batch has {batch_size} examples, and there are {size}")

    @property
    def steps(self) -> int:
        return max(size // batch_size for size, batch_size in zip(self.sizes, self.batch_sizes, strict=True))

    def rows(self, seed: int, epoch: int) -> tf.Tensor:
        return tf.concat([self._rows(stream, seed, epoch) for stream in range(2)], axis=1)

    def _rows(self, stream: int, seed: int, epoch: int) -> tf.Tensor:
        size, batch_size = self.sizes[stream], self.batch_sizes[stream]
        passes = -(-self.steps // (size // batch_size))
        each = size // batch_size * batch_size
        rows = [shard_order(stream, size, seed, epoch * passes + number)[:each] for number in range(passes)]
        return tf.reshape(tf.concat(rows, axis=0), (-1, batch_size))[: self.steps]

    def gather(self, arrays: Nest, rows: tf.Tensor) -> tuple[Nest, ...]:
        parts = rows[: self.batch_sizes[0]], rows[self.batch_sizes[0] :]
        first, second = (InOrder.gather(each, part) for each, part in zip(arrays, parts, strict=True))
        return (*first, *second)


class Stream(Protocol):
    """Training data that is read while it trains, block by block."""

    def __len__(self) -> int: ...

    def blocks(self, batch_size: int, steps_per_execution: int | None) -> Callable[[int, int], Iterable[Block]]:
        """Return a function from seed and epoch to the epoch's examples, in blocks of whole batches."""

    def batches(self, batch_size: int, order: Callable[[], tuple[int, int]]) -> tf.data.Dataset:
        """Return one epoch of batches; `order` gives seed and epoch when it begins."""


class Batches(keras.callbacks.Callback):
    """Three parts of a data set in batches; the training part comes in a new order every epoch.

    As a callback it sets that order, so `fit` must get it as one, before all others: `run.callbacks(batches)` sees to
    it. `fit` makes two iterators an epoch, which gives a shuffled `tf.data.Dataset` another order than in a plain loop.

    Args:
        train: the arrays of a batch, with all examples: `(x,)`, `(x, y)`, `(x, y, weights)`; a variable among them is
            read when an epoch begins, so that a callback may fill it until then. Or a `Stream`.
        batch_size: examples in a batch.
        seed: of the order.
        validation: as `train`; None if nothing is validated.
        test: as `train`.
        order: of the training part; `Shuffled` if not given.
        held_out: makes the order of the other two from their number of examples and the batch size.

    Attributes:
        rows: which examples the present epoch visits, as `order` gives them: a variable; None for a stream.
        first_epoch: where a resumed training goes on, counted from 0.
        first_step: the step of that epoch at which a loop goes on.
    """

    def __init__(
        self,
        train: Nest | Stream,
        batch_size: int,
        *,
        seed: int = 0,
        validation: Nest | None = None,
        test: Nest | None = None,
        order: Order | None = None,
        held_out: Callable[[int, int], Order] = InOrder,
    ) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        self.first_epoch = self.first_step = 0
        self._stream: Any = None if isinstance(train, tuple | list) else train
        if not hasattr(train, "blocks") and self._stream is not None:
            raise Misuse("the training part must be a tuple, (x,), (x, y) or (x, y, weights), or a stream")
        self._parts = {
            name: _tensors(part)
            for name, part in (("train", train), ("validation", validation), ("test", test))
            if isinstance(part, tuple | list) and _length(part)
        }
        self.examples = len(train) if self._stream is not None else _length(train)
        self.order: Order = order or Shuffled(self.examples, batch_size)
        self._held_out = held_out
        self._epoch = 0
        # a stream has an order of its own
        self.rows = _variable(self.order.rows(seed, 0)) if self._stream is None else None
        self._blocks: dict[int | None, Callable[[int, int], Iterable[Block]]] = {}

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.order.steps

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the order of the epoch whose iterator is about to be made."""
        if self.rows is not None and epoch != self._epoch:
            self.rows.assign(self.order.rows(self.seed, epoch))
        self._epoch = epoch

    def examples_in(self, steps: int) -> int:
        """Return how many examples the first `steps` steps of an epoch see."""
        if self.rows is None or self.rows.shape.rank == 1:
            return min(steps * self.batch_size, self.examples)
        return steps * int(self.rows.shape[1])

    @functools.cached_property
    def train(self) -> tf.data.Dataset:
        """One epoch of the training part, for `fit`; each part is made once, because a loop by hand asks every epoch.

        It is finite and its cardinality is known, so that `fit` starts it anew each epoch. (An endless dataset with
        `steps_per_epoch` makes too many updates when `steps_per_execution` does not divide the steps.)
        """
        if self._stream is not None:
            dataset: tf.data.Dataset = self._stream.batches(self.batch_size, lambda: (self.seed, self._epoch))
            return dataset
        return _dataset(self._parts["train"], self.order, self.rows, self.batch_size)

    @functools.cached_property
    def validation(self) -> tf.data.Dataset | None:
        """The validation part, for `fit`; None if there is none."""
        return self.in_order("validation") if self.has("validation") else None

    @functools.cached_property
    def test(self) -> tf.data.Dataset:
        """The test part, for `evaluate`."""
        return self.in_order("test")

    def has(self, part: str) -> bool:
        """Return whether there are examples in memory of `part`: "train", "validation" or "test"."""
        return part in self._parts

    def in_order(self, part: str) -> tf.data.Dataset:
        """Return "train", "validation" or "test" for `evaluate`: batch by batch, in the order of its examples.

        Raises:
            Misuse: there is no such part in memory.
        """
        arrays, order = self._part(part)
        return _dataset(arrays, order, order.rows(0, 0), self.batch_size)

    def example(self, count: int) -> tuple[Nest, ...]:
        """Return the first `count` examples of the training part as a batch, or all if there are fewer.

        Where batches have a form of their own, such as so many examples of each class, it is the first batch.
        """
        if self.rows is None:
            first: tuple[Nest, ...] = self._stream.first(count).arrays
            return tf.nest.map_structure(tf.constant, first)
        own_form = self.rows.shape.rank == 2
        rows = self.order.rows(self.seed, 0)[0] if own_form else tf.range(min(count, self.examples))
        return self.order.gather(self._parts["train"], rows)

    def executions(
        self, epoch: int, steps_per_execution: int | None = None, watched: Collection[int] = ()
    ) -> Iterator[Execution]:
        """Return the executions of an epoch of the training part, for `Loop`, from `first_step` on.

        Args:
            epoch: counted from 0.
            steps_per_execution: batches in each; None is all.
            watched: steps that shall be chunks of their own.
        """
        self.on_epoch_begin(epoch)  # of which nobody may have told it
        if self.rows is not None:
            blocks: Iterable[Block] = [(_read(self._parts["train"]), tf.convert_to_tensor(self.rows))]
        else:
            if steps_per_execution not in self._blocks:  # to make them takes longer than an epoch may
                self._blocks[steps_per_execution] = self._stream.blocks(self.batch_size, steps_per_execution)
            blocks = self._blocks[steps_per_execution](self.seed, epoch)
        first_step = self.first_step if epoch == self.first_epoch else 0
        executions = _executions(blocks, self.order, self.batch_size, steps_per_execution or self.steps, watched)
        return (execution for execution in executions if execution.first >= first_step)

    def executions_in_order(self, part: str, steps_per_execution: int | None = None) -> Iterator[Execution]:
        """Return the executions of "train", "validation" or "test", in the order of its examples, for `Loop`.

        Raises:
            Misuse: there is no such part in memory.
        """
        arrays, order = self._part(part)
        blocks = [(_read(arrays), order.rows(0, 0))]
        return _executions(blocks, order, self.batch_size, steps_per_execution or order.steps)

    def fingerprint(self) -> list[int]:
        """Return what shows that training data have changed: sizes, and sums of the bytes where they are in memory."""
        if isinstance(self.order, Shuffled) and self.order.shards:
            return [*self.order.shards]
        arrays = [each for each in tf.nest.flatten(self._parts["train"]) if not isinstance(each, tf.Variable)]
        return [self.examples, *(zlib.adler32(np.ascontiguousarray(array.numpy()).data) for array in arrays)]

    def _part(self, name: str) -> tuple[Nest, Order]:
        if name not in self._parts:
            raise Misuse(f"there is no {name} part in memory, only {', '.join(self._parts) or 'a stream'}")
        return self._parts[name], self._held_out(_length(self._parts[name]), self.batch_size)


def epoch_order(examples: int | Sequence[int], seed: int | tf.Tensor, epoch: int | tf.Tensor) -> tf.Tensor:
    """Return the order in which epoch `epoch` visits the examples: a permutation, int32 of shape (examples,).

    It depends on the seed and the epoch alone. `Dataset.shuffle(seed=...)` depends on how many iterators were made
    before, and `model.fit` makes two an epoch: from epoch 2 on it sees another order than a plain loop over the same
    dataset (keras/src/trainers/epoch_iterator.py, `_enumerate_iterator`).

    Shards are visited one after the other, so that a stream need not hold more than one: in an order of their own, each
    in the order of `shard_order`.

    Args:
        examples: how many there are or, for examples that came in shards, how many in each.
        seed: of the run.
        epoch: counted from 0.
    """
    if isinstance(examples, int):
        return _shuffled(examples, _seeds(seed, epoch))
    starts = np.cumsum([0, *examples[:-1]]).astype(np.int32)
    visits = epoch_order(len(examples), seed, epoch).numpy()
    return tf.concat([starts[shard] + shard_order(shard, examples[shard], seed, epoch) for shard in visits], axis=0)


def shard_order(shard: int, examples: int, seed: int | tf.Tensor, epoch: int | tf.Tensor) -> tf.Tensor:
    """Return the order in which epoch `epoch` visits the `examples` of the shard with the number `shard`."""
    return _shuffled(examples, tf.random.experimental.stateless_fold_in(_seeds(seed, epoch), shard))


def _seeds(seed: int | tf.Tensor, epoch: int | tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])


def _shuffled(examples: int, seeds: tf.Tensor) -> tf.Tensor:
    return tf.random.experimental.stateless_shuffle(tf.range(examples), seed=seeds)


def any_examples(array: Any) -> tf.TensorSpec:
    """Return the form of `array` with any number of examples."""
    return tf.TensorSpec((None, *array.shape[1:]), array.dtype)


def _length(arrays: Nest) -> int:
    return int(tf.nest.flatten(arrays)[0].shape[0])


def _tensors(arrays: Nest) -> Nest:
    """Return `arrays` as tensors on the host, where every device gets its share from; variables stay variables."""

    def tensor(array: Any) -> Any:
        return array if isinstance(array, tf.Variable) else tf.constant(array)

    if not tf.distribute.has_strategy():
        return tf.nest.map_structure(tensor, tuple(arrays))
    with tf.device("CPU:0"):
        return tf.nest.map_structure(tensor, tuple(arrays))


def _read(arrays: Nest) -> Nest:
    return tf.nest.map_structure(tf.convert_to_tensor, arrays)


def _variable(value: tf.Tensor) -> tf.Variable:
    """Return a variable that tf.data can read under a strategy too: on the host, and not copied to every device.

    A strategy makes the variables of the thread that entered its scope; another thread makes plain ones.
    """
    if not tf.distribute.has_strategy():
        return tf.Variable(value, trainable=False)

    def make() -> tf.Variable:
        with tf.device("CPU:0"):
            return tf.Variable(value, trainable=False)

    with ThreadPoolExecutor(1) as outside:
        return outside.submit(make).result()


def _dataset(arrays: Nest, order: Order, rows: tf.Variable | tf.Tensor, batch_size: int) -> tf.data.Dataset:
    """Return one epoch of batches; `rows` is read when they are made.

    A strategy cannot tell the size of these batches, so it cuts each as it comes: ceil(size / replicas) examples for
    every replica as long as there are some. A dataset that was made by `batch` would be cut by its full batches, and
    of a short one the last replicas got nothing (tensorflow/python/distribute/input_lib.py, `_make_rebatch_fn`).
    """
    matrix = rows.shape.rank == 2

    def batch(step: tf.Tensor) -> tuple[Nest, ...]:
        return order.gather(arrays, rows[step] if matrix else rows[step * batch_size : (step + 1) * batch_size])

    return tf.data.Dataset.range(order.steps).map(batch).prefetch(tf.data.AUTOTUNE)


def _executions(
    blocks: Iterable[Block], order: Order, batch_size: int, steps_per_execution: int, watched: Collection[int] = ()
) -> Iterator[Execution]:
    """Cut an epoch as fit does.

    A short last batch is a chunk of its own, and so are the steps `watched`; a chunk lies in one block. Its rows are
    all that its execution has in the block.
    """

    def cut() -> Iterator[Chunk]:
        end = 0
        for arrays, rows in blocks:
            rest = rows[:0]
            if rows.shape.rank == 1:
                full = len(rows) // batch_size * batch_size
                rows, rest = tf.reshape(rows[:full], (-1, batch_size)), rows[full:]
            first, end = end, end + len(rows)
            for start in range(first - first % steps_per_execution, end, steps_per_execution):
                begin, stop = max(first, start), min(end, start + steps_per_execution)
                own = rows[begin - first : stop - first]
                cuts = {border for step in watched for border in (step, step + 1) if begin < border < stop}
                for step, following in itertools.pairwise(sorted({begin, *cuts, stop})):
                    yield Chunk(step, arrays, own, step - begin, following - begin, order.gather)
            if len(rest):
                yield Chunk(end, arrays, rest[tf.newaxis], 0, 1, order.gather)

    for number, chunks in itertools.groupby(cut(), lambda chunk: chunk.first // steps_per_execution):
        yield Execution(number * steps_per_execution, (number + 1) * steps_per_execution - 1, chunks)
