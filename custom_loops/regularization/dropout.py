"""Dropout: each step trains a random half of the hidden units, so that none can rely on another.

    mask ~ Bernoulli(1 - p) / (1 - p), drawn anew for each example and step, in training only
    h    = mask * relu(W x + b)

The same network is trained without and with it (Srivastava et al. 2014). What it cures is overfitting: the gap between
validation and training loss, both measured after training with all units. Two hidden layers, squared error, Adam.

This side writes out the training step; its twin in `recipes` gives the model to `model.fit`.

    recipes loop dropout

Measured on diabetes, seed 0: without dropout the gap is 3594 (training loss 840, validation loss 4434, test loss
4180), with it 1427 (1895, 3322, 3159); both sides end with the same bytes; a steady epoch takes 20 ms by fit, 4.1 ms
by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-20).
"""

from dataclasses import replace

import keras
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.regularization.dropout import HParams, build_model, load_data, summarise
from recipes.shared import data, losses, programs
from recipes.shared.run import Run


def train(hparams: HParams, run: Run) -> None:
    """Train without dropout and with it, and leave everything in the folders of two child runs."""
    dataset = load_data(hparams)
    summary: dict[str, float] = {}
    for name, rate in (("without", 0.0), ("with", hparams.dropout)):
        values = replace(hparams, dropout=rate)
        summary |= train_network(values, dataset, run.child(name, values))
    run.summarise(summary)


def train_network(hparams: HParams, dataset: data.Dataset, run: Run) -> dict[str, float]:
    """Train one network, leave everything in the run's folder, and return its losses and the gap."""
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.Adam(hparams.learning_rate)
    loss = keras.losses.MeanSquaredError()
    mean_loss = keras.metrics.Mean(name="loss")

    def train_step(x, y):
        with tf.GradientTape() as tape:
            predictions = model(x, training=True)  # draws the masks that fit draws from the same seed
            total_loss = losses.total(loss(y, predictions), model.losses)
        gradients = tape.gradient(total_loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])  # a short batch counts less
        return {"loss": total_loss}

    def test_step(x, y):
        predictions = model(x, training=False)
        total_loss = losses.total(loss(y, predictions), model.losses)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])
        return {"loss": total_loss}

    loop = Loop(model, train_step, test_step, [mean_loss], optimizer, **hparams.execution)
    loop = programs.reuse(loop, hparams)  # in a search; else it stays as it is
    batches = dataset.batches(hparams)
    loop.train(batches, epochs=hparams.epochs, callbacks=run.callbacks(batches), verbose=run.verbose)
    # not the training loss of the last epoch: that one was measured with units missing, and before the updates
    training, validation, test = (loop.evaluate(batches, part) for part in ("train", "validation", "test"))
    run.finish(loop.model, dataset, test)
    return summarise(run.name, training["loss"], validation["loss"], test["loss"])


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
