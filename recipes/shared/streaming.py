"""A training part that is read while it trains: stacked chunks through tf.data, with the bits of the part in memory.

At any time there are two shards as they came (one in use, the next being read) and three blocks of examples as the
model takes them (in training, waiting, being made), whatever the size of the whole.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from recipes.shared import preprocessing
from recipes.shared.batches import epoch_order, shard_order
from recipes.shared.errors import UsageError
from recipes.shared.splits import Split

BLOCK_BYTES = 16 * 2**20  # of float32 features: 167 batches of 32 images of MNIST
ALIGNMENT = 64  # bytes

Shard = tuple[np.ndarray, np.ndarray]
Block = tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]  # x and y, and which rows of them come in which order


class Streamed(Split):
    """A training part that is not in memory; whoever asks for its `x` or `y` is refused.

    Args:
        read: from the number of a shard to its features as they came and its targets as the model wants them.
        shards: how many examples each shard has.
        layers: from features as they came to those that the model takes, each example by itself.
    """

    def __init__(self, read: Callable[[int], Shard], shards: Sequence[int], layers: keras.Model) -> None:
        object.__setattr__(self, "shards", tuple(shards))  # the dataclass that it inherits is frozen
        self.read = read
        self.layers = layers
        self.failure: Exception | None = None
        self.example = self.first(1)
        self._raw = [array[:0] for array in read(0)]

    def __len__(self) -> int:
        return sum(self.shards)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example's features."""
        return self.example.x.shape[1:]

    @property
    def x(self) -> np.ndarray:
        """Not there.

        Raises:
            UsageError: always.
        """
        raise UsageError("this recipe needs its whole training part in memory; leave out --stream")

    y = x

    def first(self, count: int) -> Split:
        """Return the first `count` examples in the order of the files, or all if there are fewer."""
        shards = []
        for shard, examples in enumerate(self.shards):
            x, y = self.read(shard)
            shards.append((preprocessing.apply(self.layers, x[:count]), y[:count]))
            count -= examples
            if count <= 0:
                break
        x, y = (np.concatenate(arrays) for arrays in zip(*shards, strict=True))
        return Split(x, y)

    def map_targets(self, function: Callable[[np.ndarray], np.ndarray]) -> "Streamed":
        """Return the same examples with `function` applied to their targets."""

        def read(shard: int) -> Shard:
            x, y = self.read(shard)
            return x, function(y)

        return Streamed(read, self.shards, self.layers)

    def blocks(self, batch_size: int, steps_per_execution: int | None) -> Callable[[int, int], Iterator[Block]]:
        """Return a function from the seed and an epoch to its examples, in the order of `epoch_order`, in blocks.

        Blocks hold whole batches, but for the last, which may end in a short one. They are alike in size wherever they
        can be, because a program is compiled for each: several executions, or a part of one. The function raises a
        UsageError if a shard can no longer be read.
        """
        steps = -(-len(self) // batch_size)
        most = self._most_steps(batch_size)
        unit = steps_per_execution or steps
        unit = max(unit, most // unit * unit)
        starts = [begin for start in range(0, steps, unit) for begin in range(start, min(start + unit, steps), most)]
        borders = [min(step * batch_size, len(self)) for step in (*starts, steps)]
        sizes = [end - begin for begin, end in itertools.pairwise(borders)]
        order = (0, 0)
        dataset = self._dataset(lambda: self._stack(sizes, *order))  # once: to make it takes longer than an iterator

        def blocks(seed: int, epoch: int) -> Iterator[Block]:
            nonlocal order
            order = seed, epoch
            try:
                for x, y in dataset:
                    yield (x, y), tf.range(len(x))
            except tf.errors.OpError:
                raise self.failure or UsageError("the stream of shards ended early") from None

        return blocks

    def batches(self, batch_size: int, order: Callable[[], tuple[int, int]]) -> tf.data.Dataset:
        """Return one epoch of batches for `model.fit`; `order` gives its seed and number when it starts."""
        size = self._most_steps(batch_size) * batch_size

        def stack() -> Iterator[Shard]:
            full, rest = divmod(len(self), size)
            return self._stack([size] * full + [rest] * (rest > 0), *order())

        steps = -(-len(self) // batch_size)
        # fit asks for the number of steps before it starts; a generator does not say
        batches = self._dataset(stack).rebatch(batch_size)
        return batches.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(tf.data.AUTOTUNE)

    def _most_steps(self, batch_size: int) -> int:
        return max(1, BLOCK_BYTES // (batch_size * self.example.x.nbytes))

    def _dataset(self, stack: Callable[[], Iterable[Shard]]) -> tf.data.Dataset:
        """Return what `stack` yields, made and preprocessed in threads of tf.data."""

        def generate() -> Iterator[Shard]:
            try:
                yield from stack()
            except Exception as error:
                self.failure = error  # tf.data passes on no more than its text
                raise

        def prepare(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self.layers(tf.cast(x, tf.float32)), y

        signature = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in self._raw)
        # not until here are they float32: as bytes images are a quarter of it to shuffle and to pass on
        return tf.data.Dataset.from_generator(generate, output_signature=signature).map(prepare).prefetch(1)

    def _stack(self, sizes: Iterable[int], seed: int, epoch: int) -> Iterator[Shard]:
        """Yield blocks of `sizes` examples as they came, in the order of `epoch_order`."""
        pieces = self._pieces(seed, epoch)
        piece = next(pieces)
        for size in sizes:
            x, y = (_aligned((size, *array.shape[1:]), array.dtype) for array in self._raw)
            filled = 0
            while filled < size:
                shard_x, shard_y, rows = piece
                now, later = rows[: size - filled], rows[size - filled :]
                for stacked, array in ((x, shard_x), (y, shard_y)):
                    # "clip" writes straight into `out`; no row is out of bounds
                    np.take(array, now, axis=0, out=stacked[filled : filled + len(now)], mode="clip")
                filled += len(now)
                piece = (shard_x, shard_y, later) if len(later) else next(pieces, piece)
            yield x, y

    def _pieces(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield each shard and the order of its rows, while the next is being read."""
        visits = epoch_order(len(self.shards), seed, epoch).numpy().tolist()
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self.read, visits[0])
            for shard, following in itertools.zip_longest(visits, visits[1:]):
                x, y = coming.result()
                if following is not None:
                    coming = reader.submit(self.read, following)
                yield x, y, shard_order(shard, self.shards[shard], seed, epoch).numpy()


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an empty array that begins where TensorFlow wants its own to, so that it takes this one without a copy."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
