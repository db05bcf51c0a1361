"""Makes `model.fit` work under `MultiWorkerMirroredStrategy`, where Keras 3.15 fails in two places.

Both are in keras/src/backend/tensorflow/trainer.py; the installed package is left as it is. When a release of Keras has
mended them, `test_without_the_adapter_keras_fails` fails, and this module and its one caller can go.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import trainer


@contextlib.contextmanager
def mended() -> Iterator[None]:
    """Let Keras train with several workers meanwhile."""
    build, reduce = trainer.TensorFlowTrainer._maybe_symbolic_build, trainer.reduce_per_replica
    trainer.TensorFlowTrainer._maybe_symbolic_build, trainer.reduce_per_replica = _build, _reduce
    try:
        yield
    finally:
        trainer.TensorFlowTrainer._maybe_symbolic_build, trainer.reduce_per_replica = build, reduce


def _build(model: Any, iterator: Any = None, data_batch: Any = None) -> None:
    """Build metrics and optimizer, as `_maybe_symbolic_build` does, for the shapes of this worker's first share.

    Keras reduces the first batch over all replicas to get at its shapes: the mean of values that differ in shape, and
    belong to several processes.
    """
    strategy = model.distribute_strategy
    for _, _, batches in iterator or ():
        data_batch = keras.tree.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], next(batches)
        )
        break
    with strategy.scope():
        model._symbolic_build(data_batch=data_batch)


def _reduce(values: Any, strategy: tf.distribute.Strategy, reduction: str) -> Any:
    """Return the mean over all replicas of what each has logged.

    Keras asks for the mean over the first axis as well (`axis=0`), and what is logged are scalars.
    """
    if reduction not in ("auto", "mean"):
        raise NotImplementedError(f"the reduction {reduction!r}: only fit and evaluate are mended")
    return keras.tree.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), values)
