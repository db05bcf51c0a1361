"""Softmax classifier: the textbook GradientTape example done right, on one-hot labels.

    logits = W2 relu(W1 x + b1) + b2
    loss   = -mean_n sum_k label_nk log softmax(logits_n)_k

Right means: inputs are scaled, examples are shuffled anew every epoch, the short last batch is kept, the loss is
averaged over examples rather than batches, and the result is evaluated on examples that training never saw.

This side gives the model to `model.fit`; its twin in `custom_loops` writes out the training step.

    recipes fit softmax_classifier

Measured on the test part of digits, seed 0: accuracy 0.936; both sides end with the same bytes; a steady epoch takes
40 ms by fit, 6.4 ms by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-20).
"""

from dataclasses import dataclass
from typing import ClassVar

import keras

from recipes.shared import data, hparams, programs
from recipes.shared.constraints import AtLeastOne
from recipes.shared.run import Run
from recipes.shared.search_space import LogRange, SearchSpace


@dataclass(frozen=True, kw_only=True)
class HParams(hparams.HParams):
    search_space: ClassVar[SearchSpace] = hparams.HParams.search_space | {"learning_rate": LogRange(1e-3, 1.0)}

    data: str = "digits"
    hidden_units: AtLeastOne = 10  # width of the hidden layer
    learning_rate: float = 0.01  # step size of plain gradient descent
    epochs: int = 100
    jit_compile: bool = True  # the step is large enough for XLA to pay


def load_data(hparams: HParams) -> data.Dataset:
    """Return the data set, with one-hot rows as targets."""
    return data.one_hot(data.load(hparams, task="classification"))


def build_model(hparams: HParams, dataset: data.Dataset) -> keras.Model:
    """Return an uncompiled model from (batch, *features) to logits (batch, classes)."""
    keras.utils.set_random_seed(hparams.seed)  # right before the build: layers draw their seeds when they are made
    return keras.Sequential(
        [
            keras.Input(dataset.input_shape),
            keras.layers.Flatten(),
            keras.layers.Dense(hparams.hidden_units, activation="relu"),
            keras.layers.Dense(dataset.num_classes),
        ]
    )


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.SGD(hparams.learning_rate)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
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
