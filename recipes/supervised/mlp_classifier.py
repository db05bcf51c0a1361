"""Multi-layer perceptron: two hidden layers, Adam, sparse cross-entropy.

    logits = W3 relu(W2 relu(W1 x + b1) + b2) + b3
    loss   = -mean_n log softmax(logits_n)[label_n]

This side gives the model to `model.fit`; its twin in `custom_loops` writes out the training step.

    recipes fit mlp_classifier

Measured on the test part of digits, seed 0: accuracy 0.956; both sides end with the same bytes; a steady epoch takes
47 ms by fit, 4.3 ms by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-20).
"""

from dataclasses import dataclass

import keras

from recipes.shared import data, hparams, programs
from recipes.shared.constraints import AtLeastOne
from recipes.shared.run import Run


@dataclass(frozen=True, kw_only=True)
class HParams(hparams.HParams):
    data: str = "digits"
    hidden_units: AtLeastOne = 64  # width of each of the two hidden layers
    jit_compile: bool = True  # the step is large enough for XLA to pay


def load_data(hparams: HParams) -> data.Dataset:
    """Return the data set, with class indices as targets."""
    return data.load(hparams, task="classification")


def build_model(hparams: HParams, dataset: data.Dataset) -> keras.Model:
    """Return an uncompiled model from (batch, *features) to logits (batch, classes)."""
    keras.utils.set_random_seed(hparams.seed)  # right before the build: layers draw their seeds when they are made
    return keras.Sequential(
        [
            keras.Input(dataset.input_shape),
            keras.layers.Flatten(),
            keras.layers.Dense(hparams.hidden_units, activation="relu"),
            keras.layers.Dense(hparams.hidden_units, activation="relu"),
            keras.layers.Dense(dataset.num_classes),
        ]
    )


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.Adam(hparams.learning_rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(optimizer, loss, metrics=[accuracy], **hparams.execution)

    model = programs.reuse(model, hparams)  # in a search; else it stays as it is
    batches = dataset.batches(hparams)
    model.fit(
        batches.train,
        validation_data=batches.validation,
        shuffle=False,  # `batches` has shuffled
        initial_epoch=run.first_epoch,
        epochs=hparams.epochs,
        callbacks=run.callbacks(batches),
        verbose=run.verbose,
    )
    run.finish(model, dataset, model.evaluate(batches.test, return_dict=True, verbose=0))


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
