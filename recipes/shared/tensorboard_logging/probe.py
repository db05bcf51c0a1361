"""Looks at a model while it trains, and leaves no trace in it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recipes.shared import distribution, state

EXAMPLES = 256  # enough for a steady gradient, few enough to cost less than a short epoch


class Probe:
    """The gradients of the loss on some examples, always the same ones.

    The model runs as in inference, so dropout draws no mask and batch normalisation updates no statistics: a run ends
    with the same bits whether it is watched or not.

    Args:
        model: the model that trains.
        loss: from the parts of a batch to their loss, a scalar.
        batch: the examples.
        metrics: what `loss` updates; they are put back.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Callable[..., tf.Tensor],
        batch: tuple[Any, ...],
        metrics: Sequence[keras.metrics.Metric] = (),
    ) -> None:
        def gradients(trained: tuple[int, ...]) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                value = loss(*batch)
            # not the Keras variables: TensorFlow cannot make zeros for one that the loss does not know
            variables = [distribution.local(variable.value) for variable in model.trainable_variables]
            found = tape.gradient(value, variables, unconnected_gradients="zero")
            return [tf.convert_to_tensor(gradient) for gradient in found]  # an embedding's are sparse

        self._model, self._metrics = model, metrics
        self._gradients = tf.function(gradients)

    def gradients(self) -> list[np.ndarray]:
        """Return the gradient of each trainable variable, in their order."""
        with state.untouched(self._model, self._metrics):  # a layer may draw or count at inference too
            trained = tuple(map(id, self._model.trainable_variables))  # others, after unfreezing, have another trace
            return [gradient.numpy() for gradient in self._gradients(trained)]


def loss_of(model: keras.Model, loop: Any) -> Callable[..., tf.Tensor] | None:
    """Return the function from the parts of a batch to the loss that is trained; None if there is not one such loss.

    Args:
        model: of `model.fit`, which was compiled with a loss, or has a `compute_loss` of its own.
        loop: a `Loop` or `Hooks`, whose test step returns "loss"; None if fit trains, which may have got `Hooks` too.
    """
    test_step = getattr(loop, "test_step", None)
    if test_step is not None:

        def loss_of_test_step(*batch: Any) -> tf.Tensor:
            values = test_step(*batch) or {}
            if "loss" not in values:
                raise ValueError('the test step does not return {"loss": ...}')
            return values["loss"]

        return loss_of_test_step
    has_loss = getattr(model, "loss", None) is not None or type(model).compute_loss is not keras.Model.compute_loss
    if not getattr(model, "compiled", False) or not has_loss:
        return None

    def loss(*batch: Any) -> tf.Tensor:
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        outputs = model(x, training=False)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        # Keras divides it by the replicas, whose gradients are added up; here one replica has all examples
        return model.compute_loss(x, y, outputs, weights, training=False) * replicas

    return loss


def copies(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Return the values of `variables`, which stay as they are when the variables change."""
    return [keras.ops.convert_to_numpy(variable) for variable in variables]  # TensorFlow's numpy() copies


def norm(arrays: Sequence[np.ndarray]) -> float:
    """Return the Euclidean norm of all values in `arrays` together, summed in float64."""
    return float(np.sqrt(sum(np.sum(np.square(array, dtype=np.float64)) for array in arrays)))


def relative_change(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> float:
    """Return |after - before| / |before|; NaN if all values were 0.

    For a single update it is the update-to-weight ratio; about 1e-3 is healthy (A. Karpathy, CS231n notes, "Ratio of
    weights:updates").
    """
    size = norm(before)
    with np.errstate(invalid="ignore"):  # inf - inf, once the weights have diverged
        changes = [new.astype(np.float64) - old for old, new in zip(before, after, strict=True)]
    return norm(changes) / size if size else float("nan")
