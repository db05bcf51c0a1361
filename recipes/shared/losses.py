"""The sum of a model's losses, in the order in which Keras adds them up."""

import keras
import tensorflow as tf


def total(loss: tf.Tensor, extra_losses: list[tf.Tensor]) -> tf.Tensor:
    """Return `loss` plus every entry of `extra_losses`, the model's `losses` (regularisation and `add_loss`).

    One stacked sum, not a chain of Python additions: that is how `Trainer.compute_loss` does it
    (keras/src/trainers/trainer.py), and another order gives other bits.

    Under a strategy a Keras loss comes divided by the number of replicas, because the optimizer adds their gradients up
    (keras/src/losses/loss.py, `scale_loss_for_distribution`), and Keras' trainer divides the extra losses likewise.
    What is returned has the value of the undivided loss, which metrics want, and the gradient of the divided one.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return _sum(loss, [keras.ops.sum(extra) for extra in extra_losses])
    divided = _sum(loss, [keras.ops.sum(extra) * (1.0 / replicas) for extra in extra_losses])
    if tf.distribute.in_cross_replica_context():  # all examples are here: nobody adds gradients up
        return divided * replicas
    return tf.grad_pass_through(lambda value: value * replicas)(divided)


def _sum(loss: tf.Tensor, extra_losses: list[tf.Tensor]) -> tf.Tensor:
    return keras.ops.sum([loss, *extra_losses]) if extra_losses else loss
