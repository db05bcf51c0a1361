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

if __name__ == "__main__":  # before the imports below, so that --help does not wait for TensorFlow
    from recipes.__main__ import script

    script(__file__)

from collections.abc import Sequence

import keras
import tensorflow as tf

from custom_loops import loop
from recipes.regularization.cross_validation import HParams, build_model, load_data, summarise
from recipes.shared import losses
from recipes.shared.run import Run


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss,
    metrics: Sequence[keras.metrics.Metric],
) -> loop.Step:
    """Return the function that makes one update from a batch."""
    mean_loss, accuracy = metrics

    def train_step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            total_loss = losses.total(loss(y, logits), model.losses)
        gradients = tape.gradient(total_loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])  # a short batch counts less
        accuracy.update_state(y, logits)  # of the predictions made before the update
        return total_loss

    return train_step


def train(hparams: HParams, run: Run) -> None:
    """Train once a fold, each in a child run of its own, and summarise the scores on the held-out folds."""
    folds = load_data(hparams)
    model = build_model(hparams, folds[0])
    optimizer = keras.optimizers.Adam(hparams.learning_rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = [keras.metrics.Mean(name="loss"), keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    driver = loop.Loop(
        model,
        make_train_step(model, optimizer, loss, metrics),
        loss,
        metrics,
        optimizer,
        steps_per_execution=hparams.steps_per_execution,
        jit_compile=hparams.jit_compile,
    )
    # Weights and seed states of the model; slots, iterations and rate of the optimizer. The driver resets the metrics.
    variables = [*model.variables, *optimizer.variables]
    initial_values = [variable.numpy() for variable in variables]
    for number, dataset in enumerate(folds, start=1):
        fold = run.child(f"fold_{number}")
        for variable, value in zip(variables, initial_values, strict=True):
            variable.assign(value)  # fit: a new model and optimizer, and the time to compile them
        driver.train(
            dataset,
            batch_size=hparams.batch_size,
            epochs=hparams.epochs,
            seed=hparams.seed,
            callbacks=fold.callbacks(dataset),
            verbose=run.verbose,
        )
        fold.finish(model, dataset, driver.evaluate(dataset.test, batch_size=hparams.batch_size))
    run.summarise(summarise([fold.metrics for fold in run.children]))
