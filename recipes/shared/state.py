"""Everything that training changes in a model, as plain arrays that can be compared to the last bit."""

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from recipes.shared.files import replace_file


def optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Return every optimizer that is an attribute of `model`, or in a list, tuple or dict that is one.

    `model.optimizer` comes first. The order of the others is that of the attributes, the same in every process.
    """
    values = [getattr(model, "optimizer", None)]
    for value in vars(model).values():
        several = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        values.extend(several)
    found = [value for value in values if isinstance(value, keras.optimizers.Optimizer)]
    return list({id(optimizer): optimizer for optimizer in found}.values())


def used_optimizers(model: keras.Model) -> list[int]:
    """Return which of `optimizers(model)` have made an update, by position; all if none has.

    A model with optimizers of its own has one more, that nobody uses: `compile` makes an RMSprop if it is given none.
    """
    found = optimizers(model)
    used = [position for position, each in enumerate(found) if int(keras.ops.convert_to_numpy(each.iterations)) > 0]
    return used or list(range(len(found)))


def variables(model: keras.Model, used: Collection[int] | None = None) -> dict[str, keras.Variable]:
    """Return weights, optimizer variables and seed states by `<kind>/<position> <path>`.

    The position makes names unique and lets two runs be paired variable by variable. Seed states are what
    `save_weights` forgets: they decide which masks a Dropout layer draws next.

    Args:
        model: its own weights and those of all models in it.
        used: positions in `optimizers(model)`; `used_optimizers(model)` if not given.
    """
    weights = {id(variable) for variable in model.weights}
    found = optimizers(model)
    used = used_optimizers(model) if used is None else used
    groups = {
        "weights": model.weights,
        "optimizer": [variable for position in used for variable in found[position].variables],
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


@contextlib.contextmanager
def untouched(model: keras.Model, metrics: Iterable[keras.metrics.Metric] = ()) -> Iterator[None]:
    """Put back what a look changes meanwhile: seed states, statistics, states of recurrent layers, and `metrics`."""
    trainable = {id(variable) for variable in model.trainable_variables}
    others = [variable for variable in model.variables if id(variable) not in trainable]
    others += [variable for metric in metrics for variable in metric.variables]
    before = [keras.ops.convert_to_numpy(variable) for variable in others]  # TensorFlow's numpy() copies
    try:
        yield
    finally:
        for variable, value in zip(others, before, strict=True):
            if keras.ops.convert_to_numpy(variable).tobytes() != value.tobytes():
                variable.assign(value)


def digest(variables: list[keras.Variable]) -> str:
    """Return a hash of the bytes of `variables`."""
    joined = hashlib.sha256()
    for variable in variables:
        joined.update(keras.ops.convert_to_numpy(variable).tobytes())
    return joined.hexdigest()
