"""Softmax classifier: the textbook GradientTape example done right, on one-hot labels.

    logits = W2 relu(W1 x + b1) + b2
    loss   = -mean_n sum_k label_nk log softmax(logits_n)_k

Right means: inputs are scaled, examples are shuffled anew every epoch, the short last batch is kept, the loss is
averaged over examples rather than batches, and the result is evaluated on examples that training never saw.

This side writes out the training step; its twin in `recipes` gives the model to `model.fit`.

    recipes loop softmax_classifier

Measured on the test part of digits, seed 0: accuracy 0.936; both sides end with the same bytes; a steady epoch takes
40 ms by fit, 6.4 ms by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-20).
"""

import keras
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.shared import losses, programs
from recipes.shared.run import Run
from recipes.supervised.softmax_classifier import HParams, build_model, load_data


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.SGD(hparams.learning_rate)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
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
    loop = programs.reuse(loop, hparams)  # in a search; else it stays as it is
    batches = dataset.batches(hparams)
    loop.train(batches, epochs=hparams.epochs, callbacks=run.callbacks(batches), verbose=run.verbose)
    run.finish(loop.model, dataset, loop.evaluate(batches))


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
