"""Looks at a model while it trains, and leaves no trace in it."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from recipes.shared import distribution, losses, state
from recipes.shared.data import Split

EXAMPLES = 256  # enough for a steady gradient, few enough to cost less than a short epoch


class Probe:
    """The gradients of the loss on the first examples of the training part, always the same ones.

    The model runs as in inference, so dropout draws no mask and batch normalisation updates no statistics: a run ends
    with the same bits whether it is watched or not.

    Args:
        model: the model that trains.
        loss: from targets and outputs to a scalar, or to one value an example.
        split: the training part.
    """

    def __init__(self, model: keras.Model, loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], split: Split) -> None:
        first = split.first(EXAMPLES)
        x, y = tf.constant(first.x), tf.constant(first.y)

        def gradients() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                value = tf.reduce_mean(loss(y, model(x, training=False)))
                total = losses.total(value, model.losses)
            # not the Keras variables: TensorFlow cannot make zeros for one that the loss does not know
            variables = [distribution.local(variable.value) for variable in model.trainable_variables]
            found = tape.gradient(total, variables, unconnected_gradients="zero")
            return [tf.convert_to_tensor(gradient) for gradient in found]  # an embedding's are sparse

        self._model = model
        self._gradients = tf.function(gradients)

    def gradients(self) -> list[np.ndarray]:
        """Return the gradient of each trainable variable, in their order."""
        with state.untouched(self._model):  # a layer may draw or count at inference too
            return [gradient.numpy() for gradient in self._gradients()]


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
