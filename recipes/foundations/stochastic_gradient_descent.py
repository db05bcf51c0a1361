"""Stochastic gradient descent: step along the gradient of a few examples, down to a single one.

    gradient = 2 mean_{n in batch} (prediction_n - y_n) x_n          w := w - a_t gradient

The gradient of b examples is that of all n plus noise, whose size falls as sqrt((n - b) / (n - 1) / b). With a rate
that decays to 0 the noise dies out, so single examples and mini-batches come to the same solution. What differs is how
noisy the way there is and, as hardware computes a batch almost as fast as an example, how long it takes.

This side gives the model to `model.fit`; its twin in `custom_loops` writes out the training step.

    recipes fit stochastic_gradient_descent

Measured on make_regression, seed 0: the slopes of both end within 4e-6 of least squares'; at the end a step of the
first rate would still miss by 0.030 on single examples and by 0.0063 on batches of 16 (root mean square); both sides
end with the same bytes; a steady epoch takes 31 ms by fit, 2.6 ms by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores
of an AMD EPYC, 2026-11-20).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import keras

from recipes.shared import data, gradients, hparams, schedules
from recipes.shared.batches import epoch_order
from recipes.shared.run import Run
from recipes.shared.search_space import Choices, LogRange, SearchSpace


@dataclass(frozen=True, kw_only=True)
class HParams(hparams.HParams):
    unused: ClassVar[dict[str, str]] = {"strategy": "a single example cannot be divided among them"}
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": LogRange(1e-3, 0.3),
        "batch_size": Choices(4, 8, 16, 32),
    }

    data: str = "make_regression"
    batch_size: int = 16  # examples in one update of the second training; the first one takes single examples
    learning_rate: float = 0.1  # step size at the start
    epochs: int = 50


def load_data(hparams: HParams) -> data.Dataset:
    """Return the data set, with numbers of shape (examples, 1) as targets."""
    hparams.require(hparams.batch_size >= 2, "batch_size", "at least 2, to hold against single examples")
    return data.load(hparams, task="regression")


def build_model(hparams: HParams, dataset: data.Dataset) -> keras.Model:
    """Return an uncompiled model from (batch, *features) to predictions (batch, 1)."""
    keras.utils.set_random_seed(hparams.seed)
    return keras.Sequential([keras.Input(dataset.input_shape), keras.layers.Flatten(), keras.layers.Dense(1)])


def step_noise(hparams: HParams, model: keras.Model, loss: keras.losses.Loss, dataset: data.Dataset) -> float:
    """Return how far a step of the first rate misses the step that all examples together would make.

    It is measured at the weights that `model` has now, as the root of a mean of squares, in the unit of the weights.
    """
    order = epoch_order(len(dataset.train), hparams.seed, 0).numpy()
    return hparams.learning_rate * gradients.noise(model, loss, dataset.train, hparams.batch_size, order)


def train(hparams: HParams, run: Run) -> None:
    """Train on single examples, then on mini-batches, and leave everything in the folders of two child runs."""
    dataset = load_data(hparams)
    summary: dict[str, float] = {}
    for values in (replace(hparams, batch_size=1), hparams):
        summary |= train_child(values, dataset, run.child(f"batch_{values.batch_size}", values))
    run.summarise(summary)


def train_child(hparams: HParams, dataset: data.Dataset, child: Run) -> dict[str, float]:
    """Train and evaluate one of the two, and return what it came to."""
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.SGD(schedules.to_zero(hparams, dataset))
    loss = keras.losses.MeanSquaredError()
    model.compile(optimizer, loss, **hparams.execution)

    batches = dataset.batches(hparams)
    model.fit(
        batches.train,
        validation_data=batches.validation,
        shuffle=False,  # `batches` has shuffled
        initial_epoch=child.first_epoch,
        epochs=hparams.epochs,
        callbacks=child.callbacks(batches),
        verbose=child.verbose,
    )
    training = model.evaluate(batches.in_order("train"), return_dict=True, verbose=0)
    test = model.evaluate(batches.test, return_dict=True, verbose=0)
    child.finish(model, dataset, test)
    return {
        f"training_loss_{child.name}": training["loss"],
        f"test_loss_{child.name}": test["loss"],
        f"step_noise_{child.name}": step_noise(hparams, model, loss, dataset),
    }


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
