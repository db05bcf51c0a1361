"""Logistic regression: the log-odds of one of two classes as a linear function, with an L2 penalty.

    logit = w . x + b
    loss  = mean_n [log(1 + exp(logit_n)) - y_n logit_n] + |w|^2 / (2 C n)          y is 0 or 1, n training examples

It is scikit-learn's objective divided by C n, so `LogisticRegression(C=C)` has the same solution. The output is a
logit, not a probability: the loss is told so by `from_logits=True`, the accuracy by a threshold of 0.

This side writes out the training step; its twin in `recipes` gives the model to `model.fit`.

    recipes loop logistic_regression

Measured on the test part of breast_cancer, seed 0: accuracy 0.965, AUC 0.992; every coefficient within 0.6 % of
scikit-learn's on seeds 0 to 2; both sides end with the same bytes; a steady epoch takes 13 ms by fit, 2.1 ms by the
loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-20).
"""

import keras
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.shared import losses, schedules
from recipes.shared.run import Run
from recipes.supervised.logistic_regression import HParams, build_model, load_data


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.SGD(schedules.to_zero(hparams, dataset), momentum=hparams.momentum)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    accuracy = keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)  # of a logit; 0.5 is for probabilities
    mean_loss = keras.metrics.Mean(name="loss")

    def train_step(x, y):
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            total_loss = losses.total(loss(y, logits), model.losses)
        gradients = tape.gradient(total_loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])  # a short batch counts less
        accuracy.update_state(y, logits)  # of the predictions made before the update
        return {"loss": total_loss}

    def test_step(x, y):
        logits = model(x, training=False)
        total_loss = losses.total(loss(y, logits), model.losses)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])
        accuracy.update_state(y, logits)
        return {"loss": total_loss}

    loop = Loop(model, train_step, test_step, [mean_loss, accuracy], optimizer, **hparams.execution)
    batches = dataset.batches(hparams)
    loop.train(batches, epochs=hparams.epochs, callbacks=run.callbacks(batches), verbose=run.verbose)
    run.finish(model, dataset, loop.evaluate(batches))


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
