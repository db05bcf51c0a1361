"""Cross-validation: train k times, each time without one of k folds, and judge by the fold that was left out.

    score = mean of the k scores, +- their standard deviation

Every example is held out exactly once, every fold has the same share of each class, and every training starts afresh:
weights, optimizer, dropout seeds, metrics, and a scaling that has not seen the held-out fold.

This side compiles one training step and sets all variables back for each fold; its twin in `recipes` builds and
compiles a new model for each fold and gives it to `model.fit`.

    recipes loop cross_validation

Measured on breast_cancer, seed 0: accuracy 0.979 +- 0.015, AUC 0.995 +- 0.007 over 5 folds; both sides end with the
same bytes; a steady epoch takes 25 ms by fit, 4.3 ms by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD
EPYC, 2026-11-20).
"""

import keras
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.regularization.cross_validation import HParams, build_model, load_data, summarise
from recipes.shared import losses
from recipes.shared.run import Run


def train(hparams: HParams, run: Run) -> None:
    """Train once a fold, each in a child run of its own, and summarise the scores on the held-out folds."""
    folds = load_data(hparams)
    model = build_model(hparams, folds[0])
    optimizer = keras.optimizers.Adam(hparams.learning_rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
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
    # Weights and seed states of the model; slots, iterations and rate of the optimizer. The loop resets the metrics.
    variables = [*model.variables, *optimizer.variables]
    initial_values = [variable.numpy() for variable in variables]
    for number, dataset in enumerate(folds, start=1):
        fold = run.child(f"fold_{number}")
        for variable, value in zip(variables, initial_values, strict=True):
            variable.assign(value)  # fit: a new model and optimizer, and the time to compile them
        batches = dataset.batches(hparams)
        loop.train(batches, epochs=hparams.epochs, callbacks=fold.callbacks(batches), verbose=run.verbose)
        fold.finish(model, dataset, loop.evaluate(batches))
    run.summarise(summarise([fold.metrics for fold in run.children]))


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
