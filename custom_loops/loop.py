"""Drives a `train_step` as `model.fit` drives its own: epochs, executions, validation, callbacks.

The bits are those of fit (docs/why-results-differ.md); how it is faster is in `chunks.py`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from custom_loops.chunks import Chunks, Step, measured
from recipes.shared.batches import Batches, Execution, Misuse
from recipes.shared.callbacks import Hooks, StepCallback, misuse_in_one_line

ONE_DEVICE = (
    "a train step without a Keras optimizer trains on one device: under a strategy it would have to add up the"
    " gradients of all replicas itself; leave out --strategy"
)


class Loop:
    """A train step and a test step, each compiled once for batches of any size, and what drives them.

    Its parts mirror those of the fit side: making it is `model.compile`, then come `train` and `evaluate`.

    Args:
        model: what callbacks see. The steps have their own references to what they train.
        train_step: makes one update from the parts of a batch, updates `metrics`, and returns what this step alone came
            to, by name, such as `{"loss": loss}`; None if there is nothing to log.
        test_step: updates `metrics` from the parts of a batch, and returns such results too; None if there is nothing
            to validate. TensorBoard shows the gradients of its "loss".
        metrics: reset before every epoch and every validation, logged under their names.
        optimizers: the one of the train step, which trains all of `model`; or each with the model that it trains. They
            are built before tracing; callbacks find a single one as `model.optimizer`, several in `model.optimizers`.
        steps_per_execution: batches between two calls of the batch hooks, as in fit; None is a whole epoch.
        jit_compile: compile the steps with XLA.
        one_program: with `jit_compile`, compile whole chunks as one XLA program. False is for convolutions.
        run_eagerly: compile nothing, so that a debugger can stop in a step.

    Raises:
        Misuse: a train step without a Keras optimizer, under a strategy.
    """

    def __init__(
        self,
        model: keras.Model,
        train_step: Step,
        test_step: Step | None = None,
        metrics: Sequence[keras.metrics.Metric] = (),
        optimizers: keras.optimizers.Optimizer | Mapping[keras.optimizers.Optimizer, keras.Model] | None = None,
        *,
        steps_per_execution: int | None = None,
        jit_compile: bool = False,
        one_program: bool = True,
        run_eagerly: bool = False,
    ) -> None:
        self.model = model
        self.metrics = metrics
        self.steps_per_execution = steps_per_execution
        each = optimizers if isinstance(optimizers, Mapping) else {optimizers: model} if optimizers else {}
        self.optimizers: dict[keras.optimizers.Optimizer, keras.Model] = dict(each)
        for optimizer, trained in self.optimizers.items():
            optimizer.build(trained.trainable_variables)  # before tracing: a graph cannot create variables twice
        if len(self.optimizers) == 1:
            (model.optimizer,) = self.optimizers
        else:
            model.optimizers = list(self.optimizers)
        if tf.distribute.has_strategy():
            if not self.optimizers:
                raise Misuse(ONE_DEVICE)
            jit_compile = False  # XLA cannot add up over devices; Keras' "auto" leaves it off as well
        self.jit_compile = jit_compile
        self._steps = train_step, test_step
        self._options: dict[str, bool] = {"jit_compile": jit_compile, "run_eagerly": run_eagerly}
        self._one_program = one_program
        self._trained: list[int] | None = None  # nothing is compiled
        self._compile()

    def train(
        self, batches: Batches, *, epochs: int, callbacks: Iterable[keras.callbacks.Callback] = (), verbose: int = 0
    ) -> dict[str, list[float]]:
        """Train for `epochs` epochs, validating after each, and return the history as `fit(...).history` has it.

        Args:
            batches: one of the callbacks as well, or not: a loop sets the order of an epoch itself.
            epochs: passes over the training data, fewer if something sets `model.stop_training`.
            callbacks: Keras callbacks; a `StepCallback` is shown every single step.
            verbose: 0 silent, 1 progress bar, 2 a line an epoch.

        Raises:
            Misuse: a step returned something else than results by name, or a callback needs a compiled model.
        """
        for _ in self.epochs(batches, epochs=epochs, callbacks=callbacks, verbose=verbose):
            pass
        history: dict[str, list[float]] = self.model.history.history
        return history

    def epochs(
        self, batches: Batches, *, epochs: int, callbacks: Iterable[keras.callbacks.Callback] = (), verbose: int = 0
    ) -> Iterator[dict[str, Any]]:
        """Train as `train` does, and yield the logs of every epoch.

        To end the training early set `model.stop_training`: a `break` would leave `on_train_end` out.
        """
        model, logs = self.model, dict[str, Any]()
        hooks = Hooks(model, callbacks, epochs=epochs, steps=batches.steps, verbose=verbose, loop=self)
        watching = [callback for callback in hooks.callbacks if isinstance(callback, StepCallback)]
        self.batches = batches
        with misuse_in_one_line():
            hooks.on_train_begin()
            for epoch in range(batches.first_epoch, epochs):
                self._reset()
                hooks.on_epoch_begin(epoch)
                self._compile()
                watched = {step for callback in watching for step in callback.steps_to_watch(batches.steps)}
                for execution in batches.executions(epoch, self.steps_per_execution, watched):
                    hooks.on_train_batch_begin(execution.first)
                    hooks.on_train_batch_end(execution.last, self._run(self._train_chunks, execution, watching))
                    if model.stop_training:
                        break
                logs = self._results()  # before validation, which uses the same metrics
                if self._test_chunks is not None and batches.has("validation"):
                    executions = batches.executions_in_order("validation", self.steps_per_execution)
                    logs |= {f"val_{name}": value for name, value in self._evaluate(executions, hooks).items()}
                hooks.on_epoch_end(epoch, logs)
                yield logs
                if model.stop_training:
                    break
            for optimizer, trained in self.optimizers.items():
                optimizer.finalize_variable_values(trained.trainable_variables)  # averaged weights, if it keeps any
            hooks.on_train_end(logs)

    def evaluate(self, batches: Batches, part: str = "test") -> dict[str, Any]:
        """Return the metrics over a part by name, as `model.evaluate(..., return_dict=True)` does.

        Raises:
            Misuse: there is no such part, or no test step.
        """
        with misuse_in_one_line():
            return self._evaluate(batches.executions_in_order(part), keras.callbacks.CallbackList())

    @property
    def train_step(self) -> Any:
        """The compiled train step: from the parts of a batch to results and metrics in one vector."""
        return self._train_chunks.step

    @property
    def test_step(self) -> Step | None:
        """The test step as it was given."""
        return self._steps[1]

    def variables(self) -> list[tf.Variable]:
        """Return what the train step reads or writes, as far as `Chunks.variables` finds it."""
        return self._train_chunks.variables(self.batches.example(1))

    def _compile(self) -> None:
        """Trace the steps anew if other variables are trained than before, as after unfreezing a layer."""
        models = dict.fromkeys((self.model, *self.optimizers.values()))
        trained = [id(variable) for model in models for variable in model.trainable_variables]
        if trained == self._trained:
            return
        self._trained = trained
        self._train_chunks = Chunks(self._steps[0], self.metrics, one_program=self._one_program, **self._options)
        # validation and test share one, nested, so that no short run waits for another compilation
        self._test_chunks = Chunks(self.test_step, self.metrics, **self._options) if self.test_step else None

    def _evaluate(self, executions: Iterable[Execution], hooks: keras.callbacks.CallbackList) -> dict[str, Any]:
        if self._test_chunks is None:
            raise Misuse("this loop has no test_step, so it cannot evaluate")
        hooks.on_test_begin()
        self._reset()
        for execution in executions:
            hooks.on_test_batch_begin(execution.first)
            hooks.on_test_batch_end(execution.last, self._run(self._test_chunks, execution))
        logs = self._results()
        hooks.on_test_end(logs)
        return logs

    def _run(self, chunks: Chunks, execution: Execution, watching: Sequence[StepCallback] = ()) -> dict[str, Any]:
        """Run an execution, show each of its chunks to those who watch, and return the metrics after it."""
        metrics: dict[str, Any] = {}
        for chunk in execution.chunks:
            for callback in watching:
                callback.on_chunk_begin(chunk.first)
            values, metrics = chunks(chunk)
            for callback in watching:
                callback.on_chunk_end(chunk.first, values, metrics)
        return {name: steps[-1] for name, steps in metrics.items()}

    def _reset(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    def _results(self) -> dict[str, Any]:
        """Return the metrics by name, as fit's logs have them: a number, or an array where there are several."""
        arrays = {name: keras.ops.convert_to_numpy(value) for name, value in measured(self.metrics).items()}
        return {name: float(array) if array.ndim == 0 else array for name, array in arrays.items()}
