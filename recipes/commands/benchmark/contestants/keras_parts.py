"""What all contestants that use Keras share: the model with its initial weights, optimizer, loss, and the turns."""

from typing import Any

import keras
import numpy as np

from recipes.commands.benchmark.cases import Problem, Result
from recipes.commands.benchmark.contestants import keras_models
from recipes.commands.benchmark.turns import Epochs


def build_model(problem: Problem) -> keras.Model:
    """Return the case's model, uncompiled, with the weights that all contestants begin with."""
    keras.utils.set_random_seed(0)  # dropout draws from it
    model = getattr(keras_models, problem.case.builder)()
    model.set_weights(problem.weights)
    return model


def training_parts(problem: Problem) -> tuple[keras.optimizers.Optimizer, keras.losses.Loss, list[Any]]:
    """Return optimizer, loss and metrics."""
    rate = problem.case.learning_rate
    if problem.case.classifies:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return keras.optimizers.Adam(rate), loss, [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    return keras.optimizers.SGD(rate), keras.losses.MeanSquaredError(), []


def result(problem: Problem, model: keras.Model) -> Result:
    """Return what a contestant returns."""
    outputs = np.concatenate([model(part, training=False).numpy() for part in np.array_split(problem.x_test, 20)])
    return outputs, model.get_weights()


class Turns(keras.callbacks.Callback):
    """Lets `fit`, and whatever else calls callbacks, wait for its turn before each epoch."""

    def __init__(self, epochs: Epochs) -> None:
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Wait for the turn, and start the clock."""
        next(self.epochs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop the clock."""
        self.epochs.end_turn()
