"""What callbacks of a loop can see beyond those of fit, and their calls in fit's order for a loop written by hand."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recipes.shared.batches import Batches, Misuse

Logs = Mapping[str, Any] | None


class StepCallback(keras.callbacks.Callback):
    """A callback to which `custom_loops.loop.Loop` shows single steps, and itself; `model.fit` shows neither.

    All methods do nothing here.
    """

    @property
    def loop(self) -> Any:
        """The `Loop` or the `Hooks` that train; None if `model.fit` does."""
        return (self.params or {}).get("loop")

    def steps_to_watch(self, steps: int) -> Collection[int]:
        """Return which of the coming epoch's `steps` steps, counted from 0, shall be chunks of their own."""
        return ()

    def on_chunk_begin(self, first_step: int) -> None:
        """Called before the steps of a chunk."""

    def on_chunk_end(self, first_step: int, values: dict[str, np.ndarray], metrics: dict[str, np.ndarray]) -> None:
        """Called after the steps of a chunk.

        Args:
            first_step: of the chunk, counted from 0 in each epoch.
            values: what each step returned, by name: (steps,).
            metrics: the metrics after each step, by name: (steps, ...).
        """

    def steps_done(self, batch: int) -> int:
        """Return how many steps of the epoch are done after an execution whose last batch is `batch`.

        fit counts past the end in a last execution that is shorter than the others; where the number of steps is not
        known beforehand, its count has to be believed.
        """
        steps = (self.params or {}).get("steps")
        return batch + 1 if steps is None else min(batch + 1, int(steps))


class Hooks(keras.callbacks.CallbackList):
    """Calls callbacks when fit would, for a loop that is written by hand:

        hooks = Hooks(model, run.callbacks(batches), epochs=hparams.epochs, steps=batches.steps)
        for epoch in hooks.epochs():
            for x, y in hooks.steps(batches.train):
                hooks.logs = {"loss": train_step(x, y)}
            hooks.logs |= {"val_loss": evaluate()}

    Args:
        model: what callbacks see.
        callbacks: Keras callbacks.
        epochs: passes over the training data.
        steps: in an epoch, if that is known.
        verbose: 0 silent, 1 progress bar, 2 a line an epoch.
        train_step: of which TensorBoard shows the graph, if it is given.
        test_step: of whose "loss" TensorBoard shows the gradients, if it is given.
        loop: what a `StepCallback` finds as its `loop`; this object, if not given.

    Attributes:
        logs: what the callbacks get at the end of a step or an epoch, by name; empty when an epoch begins.
        metrics: what `test_step` updates.
        steps_per_execution: steps between two calls of the batch hooks.
    """

    metrics: Sequence[keras.metrics.Metric] = ()
    steps_per_execution = 1
    jit_compile: bool | None = None  # it is not known

    def __init__(
        self,
        model: keras.Model,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        *,
        epochs: int,
        steps: int | None = None,
        verbose: int = 0,
        train_step: Callable[..., Any] | None = None,
        test_step: Callable[..., Any] | None = None,
        loop: Any = None,
    ) -> None:
        self.train_step, self.test_step = train_step, test_step
        self.logs: dict[str, Any] = {}
        model.stop_training = False
        super().__init__(
            list(callbacks),
            add_history=True,
            add_progbar=verbose != 0,
            model=model,
            verbose=verbose,
            epochs=epochs,
            steps=steps,
            loop=loop or self,  # for a `StepCallback`
        )

    def epochs(self) -> Iterator[int]:
        """Yield the number of every epoch, from where a resumed training goes on, until `model.stop_training`."""
        batches = next((each for each in self.callbacks if isinstance(each, Batches)), None)
        self.on_train_begin()
        for epoch in range(batches.first_epoch if batches else 0, self.params["epochs"]):
            self.logs = {}
            self.on_epoch_begin(epoch)
            yield epoch
            self.on_epoch_end(epoch, self.logs)
            if self.model.stop_training:
                break
        self.on_train_end(self.logs)

    def steps(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield every batch, until `model.stop_training`."""
        for step, batch in enumerate(batches):
            self.on_train_batch_begin(step)
            yield batch
            self.on_train_batch_end(step, self.logs)
            if self.model.stop_training:
                break

    def variables(self) -> list[tf.Variable] | None:
        """Return None: what the loop's own code changes is not known, so it resumes at the beginning of an epoch."""
        return None


@contextlib.contextmanager
def misuse_in_one_line() -> Iterator[None]:
    """Keep to one line what AutoGraph tells of a step's misuse, and what Keras says of a model that is not compiled."""
    try:
        yield
    except Misuse as error:
        raise Misuse(str(error).rpartition("Misuse: ")[2].strip()) from None
    except ValueError as error:
        if "call `compile()`" not in str(error):
            raise
        raise Misuse(
            "a callback needs a compiled model, and a custom loop has none; use it on the fit side,"
            " or let it call the model instead of fit, evaluate or predict"
        ) from error
