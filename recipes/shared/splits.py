"""A part of a data set in memory, and the order in which an epoch of training visits it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Split:
    """Preprocessed examples: `x` of shape (examples, *features), float32, and `y`.

    `y` is (examples,) int32 class indices or (examples, 1) float32 numbers. The second axis is there because a model's
    output has it: subtracting (examples,) from (examples, 1) would silently broadcast to a square.

    `shards` says how many examples came from each file of a folder; it is empty for other data.
    """

    x: np.ndarray
    y: np.ndarray
    shards: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example's features."""
        return self.x.shape[1:]

    @property
    def examples(self) -> int | tuple[int, ...]:
        """What `epoch_order` goes by: how many examples there are or, from a folder, how many in each shard."""
        return self.shards or len(self)

    def first(self, count: int) -> "Split":
        """Return the first `count` examples, or all if there are fewer."""
        return Split(self.x[:count], self.y[:count])

    def map_targets(self, function: Callable[[np.ndarray], np.ndarray]) -> "Split":
        """Return the same examples with `function` applied to their targets."""
        return Split(self.x, function(self.y), self.shards)


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
