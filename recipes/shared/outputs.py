"""What a trained model gives for the examples of a part, and whether that is logits or probabilities."""

from typing import Any, Literal, get_args

import keras
import numpy as np

from recipes.shared.errors import TrainingDiverged
from recipes.shared.splits import Split
from recipes.shared.tasks import Kind

Said = Literal["logits", "probabilities"]


def of(model: keras.Model, split: Split, batch_size: int = 1024) -> np.ndarray:
    """Return what `model` makes of `split`, as in inference: (examples, outputs).

    Raises:
        TypeError: that is something else.
        TrainingDiverged: an output is not finite. (The loss may be: a ReLU or a maximum can swallow a NaN.)
    """
    starts = range(0, len(split), batch_size)
    parts = [model(split.x[start : start + batch_size], training=False) for start in starts]
    if isinstance(parts[0], dict | list | tuple):
        raise TypeError(f"the model gives {len(parts[0])} outputs by name or position, not one")
    found = np.concatenate([np.asarray(part) for part in parts])
    if found.ndim != 2 or found.dtype.kind != "f":
        raise TypeError(f"the model gives {found.dtype} of shape {found.shape}, not a row of numbers for each example")
    if not np.isfinite(found).all():
        raise TrainingDiverged("the outputs of the model are not finite")
    return found


def kind(model: keras.Model, said: Said | None = None) -> Kind:
    """Return what the outputs of a model mean: what its pair says or, if it does not, what its last activation says.

    A loss knows as well (`model.loss.from_logits`), but it is not asked: only `compile` tells it to the model, a loop
    has none to compile, and both sides have to report the same scores. Nor are the numbers: an untrained model may
    give logits between 0 and 1.

    Args:
        model: which has been called.
        said: by `run.finish(..., outputs=said)`.

    Raises:
        ValueError: it says something else.
    """
    if said is not None:
        if said not in get_args(Said):
            raise ValueError(f"outputs is {said!r}; it must be one of {', '.join(map(repr, get_args(Said)))}")
        return said
    activation = _last_activation(model)
    if activation in ("sigmoid", "softmax"):
        return "probabilities"
    return "logits" if activation == "linear" else "unknown"


def _last_activation(operation: Any) -> str | None:
    """Return the name of the activation that gives a model's only output; None if it is in no layer."""
    while isinstance(operation, keras.Model):
        tensors = getattr(operation, "outputs", None)
        if not isinstance(tensors, list) or len(tensors) != 1:
            return None
        operation = tensors[0]._keras_history.operation
    activation = getattr(operation, "activation", None)
    if activation is None:
        name = type(operation).__name__.lower()  # the layer Softmax, or keras.ops.sigmoid and softmax
        return name if name in ("sigmoid", "softmax") else None
    return getattr(activation, "__name__", None)
