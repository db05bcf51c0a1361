"""Scaling, imputation and encoding as Keras layers, fitted on the training part alone.

They run once before training, not in every step, and are bundled with the trained model when it is saved, so that the
saved model takes raw input. Built-in layers and `keras.ops` only: it loads where this project is not installed.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from recipes.shared import pixels
from recipes.shared.errors import UsageError
from recipes.shared.sources import Features


def fit(features: Features, categories: Features | None = None, channels_first: bool = False) -> keras.Model:
    """Return a model from raw features to float32 features, its constants taken from `features`.

    - images (examples of rank 2 and more): divided by 255 if their values look like bytes, else by their largest
      magnitude. The values decide, not their type: a mask of 0 and 1 may come as bytes, and bytes as floats
    - vectors: standardised, (x - mean) / standard deviation of each feature
    - a table (dict of columns): numbers imputed by their median and standardised, text one-hot encoded, concatenated;
      float64 numbers are those whose mean has to be taken off before they become float32

    Args:
        features: what the constants are taken from.
        categories: a larger table whose text columns say which categories there are, so that parts of it that lack
            some are encoded alike; `features` if not given.
        channels_first: whether to turn images of shape (channels, height, width) to (height, width, channels).
    """
    if isinstance(features, dict):
        return _fit_table(features, categories if isinstance(categories, dict) else features)
    statistics = Statistics()
    statistics.add(features)
    return statistics.layers(channels_first)


def scaling_notes(layers: keras.Model, dtype: np.dtype) -> list[str]:
    """Return a line about how images of `dtype` are scaled, where their type would make one expect something else."""
    scaling = layers.layers[-1]
    if not isinstance(scaling, keras.layers.Rescaling):
        return []
    return pixels.scaling_notes(dtype, scaling.scale)


@dataclass
class Statistics:
    """What the constants of images and vectors are taken from, gathered from one batch of examples after the other.

    Batches of the same examples in the same order end in the same bits.
    """

    examples: int = 0
    shape: tuple[int, ...] = ()
    low: Any = np.inf
    high: Any = -np.inf
    mean: Any = 0.0
    variance: Any = 0.0

    def add(self, features: np.ndarray) -> None:
        """Take account of `features`, (examples, *features)."""
        self.shape = features.shape[1:]
        if features.ndim > 2:
            # as floats: the magnitude of -128 is none of int8
            self.low, self.high = min(self.low, float(features.min())), max(self.high, float(features.max()))
            return
        values = features.astype(np.float64)
        self.low, self.high = np.minimum(self.low, values.min(axis=0)), np.maximum(self.high, values.max(axis=0))
        # two means and variances become one (Chan, Golub and LeVeque 1979); the first batch stays as it is
        together = self.examples + len(values)
        old, new = self.examples / together, len(values) / together
        distance = values.mean(axis=0) - self.mean
        self.mean = self.mean + distance * new
        self.variance = self.variance * old + values.var(axis=0) * new + distance**2 * old * new
        self.examples = together

    def layers(self, channels_first: bool = False) -> keras.Model:
        """Return a model from raw features to float32 features, as `fit` describes it."""
        inputs = keras.Input(self.shape)
        turned = keras.layers.Permute((2, 3, 1))(inputs) if channels_first else inputs
        if len(self.shape) > 1:
            layer = keras.layers.Rescaling(1 / pixels.divisor(self.low, self.high))
        else:
            layer = _normalization(self.mean, self.variance, constant=self.low == self.high)
        return keras.Model(inputs, layer(turned), name="preprocessing")


def apply(preprocessing: keras.Model, features: Features) -> np.ndarray:
    """Return `features` after `preprocessing`: float32, one row an example."""
    if isinstance(features, dict):
        tensors = {
            name: keras.ops.convert_to_tensor(column[:, None].tolist() if column.dtype.kind == "U" else column[:, None])
            for name, column in features.items()
        }
    else:
        tensors = keras.ops.convert_to_tensor(features.astype(np.float32))
    return keras.ops.convert_to_numpy(preprocessing(tensors))


def bundle(preprocessing: keras.Model, model: keras.Model) -> keras.Model:
    """Return one model that takes raw input: `preprocessing`, then `model`."""
    inputs = preprocessing.input
    return keras.Model(inputs, model(preprocessing(inputs), training=False), name=f"{model.name}_with_preprocessing")


def _standardise(values: np.ndarray) -> keras.layers.Normalization:
    values = values.astype(np.float64)
    return _normalization(values.mean(axis=0), values.var(axis=0), values.max(axis=0) == values.min(axis=0))


def _normalization(mean: np.ndarray, variance: np.ndarray, constant: np.ndarray) -> keras.layers.Normalization:
    # A feature that is constant in training has no scale: leave it at x - mean instead of dividing by Keras' epsilon,
    # which would blow the first other value up ten million times. (Its variance may not be exactly 0.)
    variance = np.where(constant, 1.0, variance)
    if (variance > np.finfo(np.float32).max).any():
        raise UsageError("the features are too far apart for float32: their variance is infinite; scale them first")
    return keras.layers.Normalization(mean=mean, variance=variance)


def _fit_table(features: dict[str, np.ndarray], categories: dict[str, np.ndarray]) -> keras.Model:
    inputs, encoded = {}, []
    for name, column in features.items():
        text = column.dtype.kind == "U"
        inputs[name] = keras.Input((1,), name=name, dtype="string" if text else column.dtype.name)
        if text:
            vocabulary = sorted(set(categories[name].tolist()))
            encoded.append(keras.layers.StringLookup(vocabulary=vocabulary, output_mode="one_hot")(inputs[name]))
        else:
            if np.isnan(column).all():
                raise UsageError(f"the column {name!r} is empty in the training part; leave it out with --drop {name}")
            numbers = inputs[name]
            if column.dtype == np.float64:  # float32 holds their distances from the mean, not the numbers themselves
                shift = float(np.nanmean(column))
                numbers = keras.ops.cast(keras.ops.subtract(numbers, shift), "float32")
                column = (column - shift).astype(np.float32)
            median = np.float32(np.nanmedian(column))
            missing = keras.ops.isnan(numbers)
            imputed = keras.ops.where(missing, float(median), numbers)
            values = np.where(np.isnan(column), median, column)[:, None]
            encoded.append(_standardise(values)(imputed))
    outputs = encoded[0] if len(encoded) == 1 else keras.ops.concatenate(encoded, axis=-1)
    if all(column.dtype.kind == "U" for column in features.values()):
        # one-hot is int64, whatever Keras says, where no number makes float32 of it; no column may have this name
        outputs = keras.layers.Rescaling(1.0, name="normalization")(outputs)
    return keras.Model(inputs, outputs, name="preprocessing")
