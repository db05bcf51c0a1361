"""Class weights: each example of a rare class counts for more, so that the classifier does not pass the class over.

    w_c  = n / (classes * n_c)                    n_c of the n training examples are of class c
    loss = sum_i w_(y_i) l_i / batch size         l_i = -log softmax(W x_i + b)[y_i]

A weight of k is k copies of the example, but the loss is divided by the number of examples and not by the sum of their
weights. So the copies would have to be trained with the learning rate times sum(w) / n, which is 1 for these weights.

The same linear classifier is trained without and with them. Weights move the border between the classes, and so the
recall of the rare one (with a loss in precision); the order in which the examples come by their logits, which the AUC
measures, hardly changes. The probabilities are those of a data set in which all classes are equally frequent.

This side looks the weights up inside the loss; its twin in `recipes` gives `class_weight` to `model.fit`.

    recipes loop class_weights
"""

from dataclasses import replace

import keras
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.shared import programs
from recipes.shared.data import Dataset
from recipes.shared.run import Run
from recipes.supervised.class_weights import HParams, build_model, class_weights, load_data, make_metrics, summarise


def make_loop(hparams: HParams, dataset: Dataset) -> Loop:
    """Return a new model and its steps."""
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.Adam(hparams.learning_rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)  # of each example
    mean_loss, *metrics = [keras.metrics.Mean(name="loss"), *make_metrics(dataset)]
    weights = tf.constant(class_weights(hparams, dataset))

    def train_step(x, y):
        examples = tf.cast(tf.shape(x)[0], tf.float32)
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            weighted_loss = tf.reduce_sum(tf.gather(weights, y) * loss(y, logits)) / examples  # fit: not / sum(weights)
        gradients = tape.gradient(weighted_loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        mean_loss.update_state(weighted_loss, sample_weight=examples)  # a short batch counts less, a light one does not
        for metric in metrics:
            metric.update_state(y, logits)  # of the predictions made before the update, without weights
        return {"loss": weighted_loss}

    def test_step(x, y):
        examples = tf.cast(tf.shape(x)[0], tf.float32)
        logits = model(x, training=False)
        plain_loss = tf.reduce_sum(loss(y, logits)) / examples  # fit: class_weight is for training alone
        mean_loss.update_state(plain_loss, sample_weight=examples)
        for metric in metrics:
            metric.update_state(y, logits)
        return {"loss": plain_loss}

    return Loop(model, train_step, test_step, [mean_loss, *metrics], optimizer, **hparams.execution)


def train(hparams: HParams, run: Run) -> None:
    """Train without weights and with them, and leave everything in the folders of two child runs."""
    dataset = load_data(hparams)
    summary: dict[str, float] = {}
    for name, balance in (("unweighted", 0.0), ("weighted", hparams.balance)):
        values = replace(hparams, balance=balance)
        child = run.child(name, values)
        loop = programs.reuse(make_loop(values, dataset), values)  # in a search; else it is the new one
        batches = dataset.batches(hparams)
        loop.train(batches, epochs=hparams.epochs, callbacks=child.callbacks(batches), verbose=run.verbose)
        child.finish(loop.model, dataset, loop.evaluate(batches))
        summary |= summarise(child)
    run.summarise(summary)


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
