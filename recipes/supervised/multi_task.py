"""Two tasks in one network, each weighted by the noise that is learned for it.

    h    = tanh(W2 tanh(W1 x + b1) + b2)          features that both tasks share
    y_i  = v_i . h + c_i                          i = 1, 2
    loss = sum_i [exp(-s_i) mean (y_i - target_i)^2 + s_i] / 2            s_i = log sigma_i^2, learned as well

It is the negative log-likelihood of Gaussian noise (Kendall, Gal and Cipolla 2018), but for a constant. At its minimum
sigma_i^2 is the mean squared error of task i, so the task with the larger noise counts the less, and nobody has to
choose the weights of the sum. The data are made with noise of sigma 0.1 and 1.

This side puts the sum into the `compute_loss` of the model that `model.fit` trains; its twin in `custom_loops` writes
it into the training step.

    recipes fit multi_task

Measured on its data, seed 0: it learns sigmas of 0.103 and 0.998; both sides end with the same bytes; a steady epoch
takes 1120 ms by fit, 57 ms by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-25, while other
work ran).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from recipes.shared import data, hparams, schedules
from recipes.shared.constraints import AtLeastOne
from recipes.shared.run import Run

EXAMPLES = 10_000
FEATURES = 8
NOISE = {"task_1": 0.1, "task_2": 1.0}  # the sigma of each task's targets


@dataclass(frozen=True, kw_only=True)
class HParams(hparams.HParams):
    unused: ClassVar[dict[str, str]] = {
        "data": "its two tasks are generated",
        "strategy": "its loss is not divided among replicas",
    }

    data: str = "two_tasks"
    hidden_units: AtLeastOne = 32  # width of each of the two shared layers
    learning_rate: float = 0.01  # step size at the start
    batch_size: int = 64
    epochs: int = 30
    jit_compile: bool = True  # the step is large enough for XLA to pay


def load_data(hparams: HParams) -> data.Dataset:
    """Return the data set, with a dict of numbers of shape (examples, 1) as targets."""
    random = np.random.default_rng(0)
    x = random.normal(size=(EXAMPLES, FEATURES))
    shared = np.tanh(x @ random.normal(size=(FEATURES, 4)) / np.sqrt(FEATURES))
    y = {
        task: shared @ random.normal(size=(4, 1)) + random.normal(scale=sigma, size=(EXAMPLES, 1))
        for task, sigma in NOISE.items()
    }
    return data.of_arrays(hparams, x.astype(np.float32), {task: each.astype(np.float32) for task, each in y.items()})


class MultiTask(keras.Model):
    """A network with an output for each task and, as a weight of its own, the log variance of each task's noise."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Keras can load it by these names alone
        super().__init__(*args, **kwargs)
        self.log_variances = {task: self.add_weight(name=f"log_variance_{task}", initializer="zeros") for task in NOISE}


def build_model(hparams: HParams, dataset: data.Dataset, kind: type[MultiTask] = MultiTask) -> MultiTask:
    """Return an uncompiled model of `kind` from (batch, features) to a dict of predictions (batch, 1)."""
    keras.utils.set_random_seed(hparams.seed)  # right before the build, which draws the initial weights
    x = features = keras.Input(dataset.input_shape)
    for _ in range(2):
        features = keras.layers.Dense(hparams.hidden_units, activation="tanh")(features)
    return kind(x, {task: keras.layers.Dense(1, name=task)(features) for task in NOISE})


def learned_noise(model: MultiTask) -> dict[str, float]:
    """Return the sigma that the model has learned for each task."""
    return {f"sigma_{task}": float(keras.ops.exp(s / 2)) for task, s in model.log_variances.items()}


class TrainedByFit(MultiTask):
    """A `MultiTask` that weighs the errors of its tasks itself: `loss_weights` of `compile` are constants."""

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the loss of a batch."""
        errors = {task: keras.ops.mean(keras.ops.square(y[task] - y_pred[task])) for task in NOISE}
        return sum((keras.ops.exp(-s) * errors[task] + s) / 2 for task, s in self.log_variances.items())


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset, TrainedByFit)
    optimizer = keras.optimizers.Adam(schedules.to_zero(hparams, dataset))
    mean_errors = {task: keras.metrics.MeanSquaredError("mse") for task in NOISE}  # "task_1_mse" and "task_2_mse"
    model.compile(optimizer, metrics=mean_errors, **hparams.execution)

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
    run.finish(model, None, model.evaluate(batches.test, return_dict=True, verbose=0) | learned_noise(model))


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
