"""Everything that training changes in a model, as plain arrays that can be compared to the last bit."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from recipes.shared.files import replace_file


def variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Return weights, optimizer variables and seed states by `<kind>/<position> <path>`.

    The position makes names unique and lets two runs be paired variable by variable. Seed states are what
    `save_weights` forgets: they decide which masks a Dropout layer draws next.
    """
    weights = {id(variable) for variable in model.weights}
    optimizer = getattr(model, "optimizer", None)
    groups = {
        "weights": model.weights,
        "optimizer": optimizer.variables if optimizer is not None else [],
        "seeds": [variable for variable in model.variables if id(variable) not in weights],
    }
    return {
        f"{kind}/{position:03d} {variable.path}": variable
        for kind, group in groups.items()
        for position, variable in enumerate(group)
    }


def arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """Return the values of `variables(model)`."""
    return values(variables(model))


def values(named: Mapping[str, keras.Variable | tf.Variable]) -> dict[str, np.ndarray]:
    """Return the values of variables, by the same names."""
    return {name: _plain(keras.ops.convert_to_numpy(variable)) for name, variable in named.items()}


def _plain(array: np.ndarray) -> np.ndarray:
    """Return `array` in a type that .npz keeps: bfloat16 and the like become float32, which holds all their values."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def save(path: Path, model: keras.Model) -> None:
    """Write the model's arrays to `path`, an .npz that needs no pickle."""

    def write(temporary: Path) -> None:
        np.savez(temporary, allow_pickle=False, **arrays(model))

    replace_file(path, write)


def digest(variables: list[keras.Variable]) -> str:
    """Return a hash of the bytes of `variables`."""
    joined = hashlib.sha256()
    for variable in variables:
        joined.update(keras.ops.convert_to_numpy(variable).tobytes())
    return joined.hexdigest()
