"""Momentum as a moving average of gradients: steps that agree add up, steps that zigzag cancel.

    v := g v + (1 - g) gradient
    w := w - a v

Keras' SGD has the other form, m := g m - r gradient, w := w + m. Put m = -a v: then m = g m - a (1 - g) gradient, so
the two are the same for r = a (1 - g), and `SGD(learning_rate=a * (1 - g), momentum=g)` is this rule.

This side writes the rule out in the training step; its twin in `recipes` lets SGD do that in `model.fit`.

    recipes loop momentum

Measured on the test part of diabetes, seed 0: R2 0.339; weights differ by up to 6e-06; a steady epoch takes 21 ms by
fit, 3.3 ms by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-20).
"""

import keras
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.foundations.momentum import HParams, build_model, load_data
from recipes.shared import losses
from recipes.shared.run import Run

TOLERANCE = 1e-5  # the rule is written by hand: a v rounds otherwise than r gradient, a unit in the last place a step


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    velocities = [tf.Variable(tf.zeros(variable.shape)) for variable in model.trainable_variables]  # v
    loss = keras.losses.MeanSquaredError()
    mean_loss = keras.metrics.Mean(name="loss")

    def train_step(x, y):
        with tf.GradientTape() as tape:
            predictions = model(x, training=True)
            total_loss = losses.total(loss(y, predictions), model.losses)
        gradients = tape.gradient(total_loss, model.trainable_variables)
        # fit: SGD(learning_rate=learning_rate * (1 - momentum), momentum=momentum)
        for variable, velocity, gradient in zip(model.trainable_variables, velocities, gradients, strict=True):
            velocity.assign(hparams.momentum * velocity + (1 - hparams.momentum) * gradient)
            variable.assign_sub(hparams.learning_rate * velocity)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])  # a short batch counts less
        return {"loss": total_loss}

    def test_step(x, y):
        predictions = model(x, training=False)
        total_loss = losses.total(loss(y, predictions), model.losses)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])
        return {"loss": total_loss}

    loop = Loop(model, train_step, test_step, [mean_loss], **hparams.execution)
    batches = dataset.batches(hparams)
    rate = hparams.learning_rate * (1 - hparams.momentum)  # of the gradient, as SGD counts it
    callbacks = run.callbacks(batches, learning_rate=rate)
    loop.train(batches, epochs=hparams.epochs, callbacks=callbacks, verbose=run.verbose)
    run.finish(model, dataset, loop.evaluate(batches))


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
