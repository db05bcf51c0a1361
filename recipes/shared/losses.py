"""The sum of a model's losses, in the order in which Keras adds them up."""

import keras
import tensorflow as tf


def total(loss: tf.Tensor, extra_losses: list[tf.Tensor]) -> tf.Tensor:
    """Return `loss` plus every entry of `extra_losses`, the model's `losses` (regularisation and `add_loss`).

    One stacked sum, not a chain of Python additions: that is how `Trainer.compute_loss` does it
    (keras/src/trainers/trainer.py), and another order gives other bits.
    """
    if not extra_losses:
        return loss
    return keras.ops.sum([loss, *[keras.ops.sum(extra) for extra in extra_losses]])
