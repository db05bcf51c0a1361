"""Adam: momentum, divided by the root of a moving mean of squared gradients, both corrected for starting at 0.

    m := m + (1 - b1) (gradient - m)             v := v + (1 - b2) (gradient^2 - v)
    w := w - a sqrt(1 - b2^t) / (1 - b1^t)  m / (sqrt(v) + e)                         t = 1, 2, ...

After t steps m has seen gradients with weights that add up to 1 - b1^t, not 1, hence the division; the same for v
(Kingma and Ba 2015, section 3). This is the form at the end of their section 2, which Keras takes. Algorithm 1, and
PyTorch, divide m / (1 - b1^t) by sqrt(v / (1 - b2^t)) + e: the same but for e, which there counts sqrt(1 - b2^t) times
as much, 32 times less in the first step.

This side lets the optimizer do that in `model.fit`; its twin in `custom_loops` writes the rule out in the training
step.

    recipes fit adam

Measured on the test part of digits, seed 0: accuracy 0.956; the weights end with the same bytes; a steady epoch takes
37 ms by fit, 5.2 ms by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-20).
"""

from dataclasses import dataclass

import keras

from recipes.shared import data, hparams
from recipes.shared.constraints import Epsilon, Share
from recipes.shared.run import Run


@dataclass(frozen=True, kw_only=True)
class HParams(hparams.HParams):
    data: str = "digits"
    learning_rate: float = 0.01  # a: at most about how far a weight moves in a step
    beta_1: Share = 0.9  # b1: share of the old mean gradient in the new one
    beta_2: Share = 0.999  # b2: share of the old mean squared gradient in the new one
    epsilon: Epsilon = 1e-7  # e: keeps a step small where the gradient has always been next to 0


def load_data(hparams: HParams) -> data.Dataset:
    """Return the data set, with class indices as targets."""
    return data.load(hparams, task="classification")


def build_model(hparams: HParams, dataset: data.Dataset) -> keras.Model:
    """Return an uncompiled model from (batch, *features) to logits (batch, classes)."""
    keras.utils.set_random_seed(hparams.seed)
    return keras.Sequential(
        [keras.Input(dataset.input_shape), keras.layers.Flatten(), keras.layers.Dense(dataset.num_classes)]
    )


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.Adam(
        hparams.learning_rate, beta_1=hparams.beta_1, beta_2=hparams.beta_2, epsilon=hparams.epsilon
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(optimizer, loss, metrics=[accuracy], **hparams.execution)

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
