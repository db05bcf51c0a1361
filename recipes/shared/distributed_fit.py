"""Makes `model.fit` work under strategies in two places where Keras 3.15 fails.

- Under any strategy, if the replicas' shares of the first batch differ in size, and with several workers always.
- With several workers, when the logs of the replicas are brought together.

Both are in keras/src/backend/tensorflow/trainer.py; the installed package stays as it is. When a release of Keras has
mended them, `test_keras_still_needs_to_be_mended` fails, and this module and its one caller can go.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import trainer

_reduce_as_keras = trainer.reduce_per_replica


@contextlib.contextmanager
def mended() -> Iterator[None]:
    """Let `model.fit` and `model.evaluate` train and measure under any strategy meanwhile."""
    build = trainer.TensorFlowTrainer._maybe_symbolic_build
    trainer.TensorFlowTrainer._maybe_symbolic_build, trainer.reduce_per_replica = _build, _reduce
    try:
        yield
    finally:
        trainer.TensorFlowTrainer._maybe_symbolic_build, trainer.reduce_per_replica = build, _reduce_as_keras


def _build(model: Any, iterator: Any = None, data_batch: Any = None) -> None:
    """Build metrics and optimizer, as `_maybe_symbolic_build` does, for the shapes of this worker's first share.

    Keras reduces the first batch over all replicas to get at its shapes: the mean of values that differ in shape, and
    belong to several processes.
    """
    if model._distribute_strategy is None:  # made outside of a strategy's scope: Keras builds it later
        return
    strategy = model.distribute_strategy
    for _, _, batches in iterator or ():
        data_batch = keras.tree.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], next(batches)
        )
        break
    with strategy.scope():
        model._symbolic_build(data_batch=data_batch)


def _reduce(values: Any, strategy: tf.distribute.Strategy, reduction: str) -> Any:
    """Return what the replicas have logged as one: with several workers, the mean over the replicas of all.

    Keras asks for the mean over the first axis as well there (`axis=0`), and what is logged are scalars.
    """
    if reduction != "auto" or not trainer._collective_all_reduce_multi_worker(strategy):
        return _reduce_as_keras(values, strategy, reduction)
    return keras.tree.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), values)
