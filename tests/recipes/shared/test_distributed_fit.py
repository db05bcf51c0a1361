"""What Keras cannot do by itself under a strategy. That it can with the adapter, test_distribution.py shows."""

import contextlib
import inspect

import pytest
from keras.src.backend.tensorflow import trainer

from recipes.shared import distributed_fit
from tests import distributed

ODD_FIRST_BATCH = """
from recipes.shared.distribution import Distribution
strategy = Distribution(strategy="mirrored", devices=2).start()
import contextlib, keras, numpy as np, tensorflow as tf
from recipes.shared import distributed_fit
def fit():
    with strategy.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=False)
        dataset = tf.data.Dataset.from_tensor_slices((np.ones((3, 2), "float32"), np.ones((3, 1), "float32"))).batch(3)
        model.fit(dataset, verbose=0)
try:
    fit()
except tf.errors.InvalidArgumentError as error:
    print(error.message.splitlines()[0])
with distributed_fit.mended():
    fit()
print("mended")
"""


@pytest.mark.process
def test_keras_still_needs_to_be_mended():
    process = distributed.start(["-c", ODD_FIRST_BATCH], distributed.environment())
    ((code, output, error),) = distributed.finish([process])
    assert code == 0, error
    failure, then = output.splitlines()
    assert "must have the same size and shape" in failure  # the shares of 3 examples: 2 and 1
    assert then == "mended"
    assert 'strategy.reduce("MEAN", v, axis=0)' in inspect.getsource(trainer.reduce_per_replica)  # of scalars


def patched():
    return trainer.TensorFlowTrainer._maybe_symbolic_build, trainer.reduce_per_replica


def test_keras_is_mended_meanwhile_only():
    before = patched()
    with contextlib.suppress(KeyError), distributed_fit.mended():
        assert all(ours is not keras for ours, keras in zip(patched(), before, strict=True))
        raise KeyError
    assert patched() == before
