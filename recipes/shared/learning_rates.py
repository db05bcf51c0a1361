"""Which learning rate each update used, found out without slowing the updates down."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from recipes.shared import state
from recipes.shared.hparams import HParams

Rate = float | Callable[[tf.Tensor], tf.Tensor]
BLOCK = 256  # updates whose rates are computed at once, where the length of the epoch is not known


def of_model(
    model: keras.Model, given: Rate | None, hparams: HParams, steps: int | None = None
) -> dict[str, "LearningRates"]:
    """Return the rates of all optimizers that train `model`, once they have made an update, by what they are called.

    That of a single one is "learning_rate"; that of each of several is named after it, "<its name>_learning_rate".
    """
    optimizers = state.optimizers(model)
    used = [optimizers[position] for position in state.used_optimizers(model)]
    if given is not None or len(used) < 2:
        return {"learning_rate": LearningRates(used[0] if used else None, given, hparams, steps)}
    rates: dict[str, LearningRates] = {}
    for optimizer in used:
        name = f"{optimizer.name}_learning_rate"
        rates[name if name not in rates else f"{name}_{len(rates) + 1}"] = LearningRates(
            optimizer, None, hparams, steps
        )
    return rates


class LearningRates:
    """The rates of a model that is being trained.

    A schedule is asked for a whole block of updates in one compiled call: asking for one takes as long as a training
    step of a small model. A rate that callbacks may change is read when the update has been made.

    Args:
        optimizer: has the rate, if there is one.
        given: the rate of a train step that has no optimizer: a number, or a function from the number of updates made
            before (int32) to the rate.
        hparams: have the last word, if neither is given.
        steps: in an epoch, if that is known.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer | None,
        given: Rate | None,
        hparams: HParams,
        steps: int | None = None,
    ) -> None:
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # loss scaling wraps it
        # Keras shows the current value of a schedule, but not the schedule
        schedule: Any = given if callable(given) else getattr(optimizer, "_learning_rate", None)
        known = callable(given) or isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule)
        self._schedule = _compile(schedule) if known else None
        self._read: Callable[[], float]
        if given is None and optimizer is not None:
            self._read = lambda: float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        else:
            rate = hparams.learning_rate if given is None or callable(given) else given
            self._read = lambda: float(rate)
        self._block = steps or BLOCK
        self._known: list[float] = []
        self._first_known = 0

    def of(self, first: int, count: int) -> list[float]:
        """Return the rates of `count` updates, the first of which had `first` updates before it.

        A rate without a schedule is the one that holds now.
        """
        if self._schedule is None:
            return [self._read()] * count
        begin = first - self._first_known
        if begin < 0 or begin + count > len(self._known):
            block = tf.range(first, first + max(count, self._block))
            self._known, self._first_known, begin = self._schedule(block).numpy().tolist(), first, 0
        return self._known[begin : begin + count]


def _compile(schedule: Callable[[Any], Any]) -> Any:
    """Return a function from numbers of updates (n,), int32, to the rates of `schedule` after as many, (n,)."""
    made = keras.Variable(0, dtype="int32", trainable=False)  # as an optimizer asks: arithmetic with floats is allowed

    def rate(updates: tf.Tensor) -> tf.Tensor:
        made.assign(updates)
        return tf.cast(schedule(made), tf.float32)

    def rates(updates: tf.Tensor) -> tf.Tensor:
        # one at a time, because they share the variable
        return tf.map_fn(rate, updates, fn_output_signature=tf.float32, parallel_iterations=1)

    return tf.function(rates, input_signature=[tf.TensorSpec([None], tf.int32)])
