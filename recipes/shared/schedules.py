"""Learning-rate schedules that several recipes use."""

import math

import keras

from recipes.shared.data import Dataset
from recipes.shared.hparams import HParams


def updates(hparams: HParams, dataset: Dataset) -> int:
    """Return how many updates the whole training makes; the short last batch of an epoch is one."""
    return hparams.epochs * math.ceil(len(dataset.train) / hparams.batch_size)


def to_zero(hparams: HParams, dataset: Dataset) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a rate that falls from `hparams.learning_rate` to 0 over the whole training, as (1 - progress)^2.

    Mini-batches keep the weights moving around a solution as long as the rate is not 0; so they come to rest at it.
    """
    return keras.optimizers.schedules.PolynomialDecay(
        hparams.learning_rate, updates(hparams, dataset), end_learning_rate=0.0, power=2
    )
