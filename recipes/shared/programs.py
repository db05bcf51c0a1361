"""Compiled once, trained often: what a search does with trials that differ in their learning rate or batch size alone.

A short training is mostly tracing and compiling. Nothing of that depends on the values of the variables, so a later
trial can run the program of an earlier one, on that one's variables, once they hold what its own would begin with. It
also keeps a long search small: TensorFlow never gives back what it has compiled (18 MiB a trial of fit's, measured on
the digits MLP with TensorFlow 2.21).
"""

import contextlib
import contextvars
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import keras
import tensorflow as tf

from recipes.shared.hparams import HParams

# What a program does not depend on: the rate is a variable of the optimizer, the seed decides initial values, the order
# of the examples and the batches are arguments, and epochs are counted outside.
NOT_COMPILED = {"learning_rate", "batch_size", "epochs", "seed"}


Made = TypeVar("Made")  # a compiled `keras.Model`, or a `custom_loops.loop.Loop`


@dataclass
class _Programs:
    """What was made meanwhile, and whether TensorFlow's seed is left alone."""

    made: dict[object, Any] = field(default_factory=dict)
    seed: int | None = None


_kept: contextvars.ContextVar[_Programs | None] = contextvars.ContextVar("kept programs", default=None)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Let `reuse` find, as long as this lasts, what it was given before.

    Meanwhile, from the first call of `reuse` on, the seed of TensorFlow's own generator is set only when it changes.
    Setting it empties TensorFlow's cache of kernels, which costs the next trial 0.1 s and the process 0.8 MiB that
    never come back. Keras' layers and initialisers do not draw from it; a recipe that does must not call `reuse`.
    """
    programs = _Programs()
    set_seed = tf.random.set_seed

    def set_new_seed(seed: int) -> None:
        if not programs.made or programs.seed != seed:
            programs.seed = seed
            set_seed(seed)

    token = _kept.set(programs)
    tf.random.set_seed = set_new_seed  # what keras.utils.set_random_seed calls
    try:
        yield
    finally:
        tf.random.set_seed = set_seed
        _kept.reset(token)


def reuse(made: Made, hparams: HParams) -> Made:
    """Return an earlier model or loop with the same program that now begins as `made` would, or `made` itself.

    Outside `kept` it is always `made`. The two end with the same bits: tests/recipes/shared/test_programs.py. For
    optimizers that hold their learning rate as a variable: a schedule is a part of the program.

    Args:
        made: what nothing has run yet.
        hparams: what it was made from; those in `NOT_COMPILED` may differ from the earlier one's.

    Raises:
        ValueError: the learning rate is a part of the program.
    """
    model: Any = getattr(made, "model", made)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not any(each is optimizer.learning_rate for each in optimizer.variables):
        raise ValueError("this learning rate is compiled into the step, so the program cannot be reused")
    programs = _kept.get()
    if programs is None:
        return made
    optimizer.build(model.trainable_variables)  # fit would do that at its first step
    compiled = {name: value for name, value in asdict(hparams).items() if name not in NOT_COMPILED}
    shapes = [tuple(variable.shape) for variable in model.variables]
    key = (type(made).__name__, type(hparams).__module__, repr(compiled), repr(shapes))
    found = programs.made.setdefault(key, made)
    for variable, initial in zip(_state(getattr(found, "model", found)), _state(model), strict=True):
        variable.assign(initial)
    return found


def _state(model: keras.Model) -> list[keras.Variable]:
    """Return all that training changes; the metrics are reset by whoever trains."""
    return [*model.variables, *model.optimizer.variables]
