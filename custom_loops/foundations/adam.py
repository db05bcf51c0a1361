"""Adam: momentum, divided by the root of a moving mean of squared gradients, both corrected for starting at 0.

    m := m + (1 - b1) (gradient - m)             v := v + (1 - b2) (gradient^2 - v)
    w := w - a sqrt(1 - b2^t) / (1 - b1^t)  m / (sqrt(v) + e)                         t = 1, 2, ...

After t steps m has seen gradients with weights that add up to 1 - b1^t, not 1, hence the division; the same for v
(Kingma and Ba 2015, section 3). This is the form at the end of their section 2, which Keras takes. Algorithm 1, and
PyTorch, divide m / (1 - b1^t) by sqrt(v / (1 - b2^t)) + e: the same but for e, which there counts sqrt(1 - b2^t) times
as much, 32 times less in the first step.

This side writes the rule out in the training step; its twin in `recipes` lets the optimizer do that in `model.fit`.

    recipes loop adam

Measured on the test part of digits, seed 0: accuracy 0.956; the weights end with the same bytes; a steady epoch takes
37 ms by fit, 5.2 ms by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-20).
"""

import keras
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.foundations.adam import HParams, build_model, load_data
from recipes.shared import losses
from recipes.shared.run import Run

TOLERANCE = 1e-6  # the rule is written by hand, and its moments are not the optimizer's; measured 0.0


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    iterations = tf.Variable(0, dtype=tf.int64)  # t: how many updates were made
    means = [tf.Variable(tf.zeros(variable.shape)) for variable in model.trainable_variables]  # m
    mean_squares = [tf.Variable(tf.zeros(variable.shape)) for variable in model.trainable_variables]  # v
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    mean_loss = keras.metrics.Mean(name="loss")

    def train_step(x, y):
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            total_loss = losses.total(loss(y, logits), model.losses)
        gradients = tape.gradient(total_loss, model.trainable_variables)
        # fit: Adam(learning_rate, beta_1, beta_2, epsilon)
        t = tf.cast(iterations.assign_add(1), tf.float32)
        rate = hparams.learning_rate * tf.sqrt(1 - hparams.beta_2**t) / (1 - hparams.beta_1**t)
        for variable, mean, mean_square, gradient in zip(
            model.trainable_variables, means, mean_squares, gradients, strict=True
        ):
            mean.assign_add((1 - hparams.beta_1) * (gradient - mean))
            mean_square.assign_add((1 - hparams.beta_2) * (gradient**2 - mean_square))
            variable.assign_sub(rate * mean / (tf.sqrt(mean_square) + hparams.epsilon))
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])  # a short batch counts less
        accuracy.update_state(y, logits)  # of the predictions made before the update
        return {"loss": total_loss}

    def test_step(x, y):
        logits = model(x, training=False)
        total_loss = losses.total(loss(y, logits), model.losses)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])
        accuracy.update_state(y, logits)
        return {"loss": total_loss}

    loop = Loop(model, train_step, test_step, [mean_loss, accuracy], **hparams.execution)
    batches = dataset.batches(hparams)
    callbacks = run.callbacks(batches, learning_rate=hparams.learning_rate)
    loop.train(batches, epochs=hparams.epochs, callbacks=callbacks, verbose=run.verbose)
    run.finish(model, dataset, loop.evaluate(batches))


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
