"""Gradients taken to be looked at, not to train by. Both sides call this, for their logs and reports."""

import keras
import numpy as np
import tensorflow as tf

from recipes.shared import losses
from recipes.shared.batches import any_examples
from recipes.shared.data import Split


def noise(model: keras.Model, loss: keras.losses.Loss, split: Split, batch_size: int, order: np.ndarray) -> float:
    """Return how far the gradient of a batch is from that of all examples, at the weights that the model has now.

    It is the root of the mean squared distance, over the full batches of one epoch, in the unit of the gradient. For
    batches drawn without replacement it falls as sqrt((n - b) / (n - 1) / b) with the batch size b of n examples.

    Args:
        model: called as in inference, so that a probe draws no dropout masks and moves no averages.
        loss: of a batch.
        split: the examples.
        batch_size: examples in a batch.
        order: which row of `split` comes when, (examples,).
    """

    def gradient(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            total_loss = losses.total(loss(y, model(x, training=False)), model.losses)
        return tf.concat(
            [tf.reshape(each, [-1]) for each in tape.gradient(total_loss, model.trainable_variables)], axis=0
        )

    x, y = tf.constant(split.x), tf.constant(split.y)
    compiled = tf.function(gradient, input_signature=[any_examples(x), any_examples(y)])
    full = len(split) // batch_size * batch_size
    gradients = np.stack(
        [compiled(tf.gather(x, rows), tf.gather(y, rows)) for rows in order[:full].reshape(-1, batch_size)]
    ).astype(np.float64)
    all_examples = compiled(x, y).numpy().astype(np.float64)
    return float(np.sqrt(((gradients - all_examples) ** 2).sum(axis=1).mean()))
