"""Linear regression by mini-batches, with a learning rate that decays to the exact solution.

    prediction = w . x + b
    loss       = mean_n (prediction_n - y_n)^2

The rate must decay, or the noise of the mini-batches would keep the weights moving around the solution; with it they
come to rest at the least-squares solution, which scikit-learn's `LinearRegression` computes in closed form.

This side gives the model to `model.fit`; its twin in `custom_loops` writes out the training step.

    recipes fit linear_regression

Measured on the test part of diabetes, seed 0: R2 0.346, coefficient vector within 7e-4 of scikit-learn's least squares
on seeds 0 to 2; both sides end with the same bytes; a steady epoch takes 16 ms by fit, 2.2 ms by the loop
(TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-20).
"""

from dataclasses import dataclass
from typing import ClassVar

import keras

from recipes.shared import data, hparams, schedules
from recipes.shared.constraints import Share
from recipes.shared.run import Run
from recipes.shared.search_space import Choices, LogRange, Range, SearchSpace


@dataclass(frozen=True, kw_only=True)
class HParams(hparams.HParams):
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": LogRange(1e-3, 0.1),
        "batch_size": Choices(16, 32, 47, 94),
        "momentum": Range(0.8, 0.99),
    }

    data: str = "diabetes"
    learning_rate: float = 0.01  # step size at the start
    momentum: Share = 0.98  # share of the last step that is kept in the next
    batch_size: int = 47  # a sixth of the 282 training rows: no batch is short, and so none of its examples weighs more
    epochs: int = 500  # passes over the training data: many, because some of the ten features are nearly collinear


def load_data(hparams: HParams) -> data.Dataset:
    """Return the data set, with numbers of shape (examples, 1) as targets."""
    return data.load(hparams, task="regression")


def build_model(hparams: HParams, dataset: data.Dataset) -> keras.Model:
    """Return an uncompiled model from (batch, *features) to predictions (batch, 1)."""
    keras.utils.set_random_seed(hparams.seed)
    return keras.Sequential([keras.Input(dataset.input_shape), keras.layers.Flatten(), keras.layers.Dense(1)])


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.SGD(schedules.to_zero(hparams, dataset), momentum=hparams.momentum)
    loss = keras.losses.MeanSquaredError()
    model.compile(optimizer, loss, **hparams.execution)

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
