"""Drives a `train_step` as `model.fit` drives its own: epochs, compiled chunks, validation, callbacks.

What it does is what fit does, with the same bits in the end (docs/why-results-differ.md); how it is faster: fit comes
back to Python after every execution, this compiles a whole chunk of steps and gathers their batches inside.

A chunk takes one of two forms:
- nested: a plain graph loop that calls one (XLA-)compiled step. It is fit's own shape, and gave fit's bits wherever it
  was tried.
- one program: the loop itself inside XLA, up to twice as fast. XLA fuses across the step's border, so the bits are
  fit's for some models and not for others (convolutions, linear models, one hidden unit before a softmax); a pair asks
  for it only where the parity tests prove it. Chunks of fewer than 8 steps and the short last batch stay nested.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from recipes.shared import losses
from recipes.shared.data import Dataset, Split, epoch_order
from recipes.shared.errors import UsageError

Step = Callable[[tf.Tensor, tf.Tensor], None]
Chunk = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
SHORTEST_PROGRAM = 8  # steps; a chunk of one differed from fit in the last bit, chunks of 8 and more did not


class Loop:
    """A train step and a test step, each compiled once for batches of any size, and what drives them.

    Its parts mirror those of the fit side: making it is `model.compile`, then come `train` and `evaluate`.

    Args:
        model: the model that the steps train; callbacks see it.
        train_step: makes one update from a batch `(x, y)` and updates `metrics`.
        test_step: updates `metrics` from a batch `(x, y)` without training.
        metrics: reset before every epoch and every validation, logged under their names.
        optimizer: what the train step uses, so that learning-rate callbacks find it as `model.optimizer`.
        learning_rate: for a train step that has no optimizer, the rate that TensorBoard shall show: a number, or a
            function from the number of updates made before (int32) to the rate.
        steps_per_execution: batches between two calls of the batch hooks, as in fit; None is a whole epoch.
        jit_compile: compile the steps with XLA.
        one_program: with `jit_compile`, compile chunks as one XLA program.
    """

    def __init__(
        self,
        model: keras.Model,
        train_step: Step,
        test_step: Step,
        metrics: Sequence[keras.metrics.Metric],
        optimizer: keras.optimizers.Optimizer | None = None,
        *,
        learning_rate: float | Callable[[tf.Tensor], tf.Tensor] | None = None,
        steps_per_execution: int | None = None,
        jit_compile: bool = False,
        one_program: bool = False,
    ) -> None:
        self.model = model
        self.metrics = metrics
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.steps_per_execution = steps_per_execution
        self.jit_compile = jit_compile
        fuse = jit_compile and one_program
        self._train_chunk = _compile(train_step, metrics, jit_compile, fuse)
        self._validate_chunk = _compile(test_step, metrics, jit_compile, fuse)
        self._test_chunk = _compile(test_step, metrics, jit_compile, False) if fuse else self._validate_chunk
        if optimizer is not None:
            model.optimizer = optimizer
            optimizer.build(model.trainable_variables)  # before tracing: a graph cannot create variables twice

    def train(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        verbose: int = 0,
    ) -> dict[str, list[float]]:
        """Train for `epochs` epochs, validating after each, and return the history as `fit(...).history` has it.

        Args:
            dataset: its training part is visited in the order of `epoch_order(..., seed, epoch)`.
            batch_size: examples in one update; the last batch of an epoch may be short.
            epochs: passes over the training data, fewer if something sets `model.stop_training`.
            seed: of the order of the examples.
            callbacks: Keras callbacks. One that has a method `on_train_chunk_end(first_step, logs)` also gets the
                metrics after every single step, as arrays.
            verbose: 0 silent, 1 progress bar, 2 a line an epoch.

        Raises:
            UsageError: a callback needs a compiled model.
        """
        for _ in self.epochs(
            dataset, batch_size=batch_size, epochs=epochs, seed=seed, callbacks=callbacks, verbose=verbose
        ):
            pass
        history: dict[str, list[float]] = self.model.history.history
        return history

    def epochs(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        verbose: int = 0,
    ) -> Iterator[dict[str, float]]:
        """Train as `train` does, and yield the logs of every epoch.

        To end the training early set `model.stop_training`: a `break` would leave `on_train_end` out.
        """
        model, metrics = self.model, self.metrics
        x, y = tf.constant(dataset.train.x), tf.constant(dataset.train.y)
        hooks = keras.callbacks.CallbackList(
            list(callbacks),
            add_history=True,
            add_progbar=verbose != 0,
            model=model,
            verbose=verbose,
            epochs=epochs,
            steps=-(-len(x) // batch_size),
            jit_compile=self.jit_compile,
            learning_rate=self.learning_rate,
        )
        model.stop_training = False
        logs: dict[str, float] = {}
        with _explain_missing_compile():
            hooks.on_train_begin()
            # fit: BackupAndRestore says through this private attribute where a run that was cut off goes on
            for epoch in range(getattr(model, "_initial_epoch", None) or 0, epochs):
                _reset(metrics)
                hooks.on_epoch_begin(epoch)
                order = epoch_order(len(x), seed, epoch)
                for first, last, chunks in _executions(order, batch_size, self.steps_per_execution):
                    hooks.on_train_batch_begin(first)
                    execution_logs = {}
                    for step, rows in chunks:
                        values = _by_name(metrics, self._train_chunk(x, y, rows).numpy())
                        _on_train_chunk_end(hooks, step, values)
                        execution_logs = {name: value[-1] for name, value in values.items()}
                    hooks.on_train_batch_end(last, execution_logs)
                    if model.stop_training:
                        break
                logs = _results(metrics)  # before validation, which uses the same metrics
                validation_logs = self._evaluate(
                    self._validate_chunk, dataset.validation, batch_size, self.steps_per_execution, hooks
                )
                logs |= {f"val_{name}": value for name, value in validation_logs.items()}
                hooks.on_epoch_end(epoch, logs)
                yield logs
                if model.stop_training:
                    break
            if self.optimizer is not None:
                self.optimizer.finalize_variable_values(model.trainable_variables)  # averaged weights, if it keeps any
            hooks.on_train_end(logs)

    def evaluate(self, split: Split, *, batch_size: int) -> dict[str, float]:
        """Return the metrics over `split` by name, as `model.evaluate(..., return_dict=True)` does."""
        return self._evaluate(self._test_chunk, split, batch_size, None, keras.callbacks.CallbackList())

    def _evaluate(
        self,
        chunk: Chunk,
        split: Split,
        batch_size: int,
        steps_per_execution: int | None,
        hooks: keras.callbacks.CallbackList,
    ) -> dict[str, float]:
        hooks.on_test_begin()
        _reset(self.metrics)
        x, y = tf.constant(split.x), tf.constant(split.y)
        for first, last, chunks in _executions(tf.range(len(x)), batch_size, steps_per_execution):
            hooks.on_test_batch_begin(first)
            values: dict[str, np.ndarray] = {}
            for _, rows in chunks:
                values = _by_name(self.metrics, chunk(x, y, rows).numpy())
            hooks.on_test_batch_end(last, {name: value[-1] for name, value in values.items()})
        logs = _results(self.metrics)
        hooks.on_test_end(logs)
        return logs


def make_test_step(model: keras.Model, loss: keras.losses.Loss, metrics: Sequence[keras.metrics.Metric]) -> Step:
    """Return the function that measures one batch as fit does it: `metrics` are the mean loss, then others."""
    mean_loss, *others = metrics

    def test_step(x: tf.Tensor, y: tf.Tensor) -> None:
        outputs = model(x, training=False)
        total_loss = losses.total(loss(y, outputs), model.losses)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])  # a short batch counts less
        for metric in others:
            metric.update_state(y, outputs)

    return test_step


def _compile(step: Step, metrics: Sequence[keras.metrics.Metric], jit_compile: bool, fuse: bool) -> Chunk:
    """Return a function from data and rows of it, (steps, batch), to the metrics after every step, (steps, metrics).

    Nested, the step is traced once for batches of any size and any data of the same features, as fit traces its own: a
    fixed batch size is another graph, in which XLA may add up in another order (one feature, batches of 32: 1e-6 off).
    One program is traced for each shape of data and rows.
    """

    def step_results(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        step(x, y)
        return tf.stack([tf.cast(metric.result(), tf.float32) for metric in metrics])

    def run_steps(
        step_results: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor
    ) -> tf.Tensor:
        steps = tf.shape(rows)[0]
        results = tf.TensorArray(tf.float32, size=steps, element_shape=[len(metrics)])
        for index in tf.range(steps):
            batch = rows[index]
            results = results.write(index, step_results(tf.gather(x, batch), tf.gather(y, batch)))
        return results.stack()

    compiled_step = tf.function(step_results, jit_compile=jit_compile)

    @functools.cache
    def nested(*shapes: tf.TensorSpec) -> Chunk:
        return tf.function(functools.partial(run_steps, compiled_step), input_signature=shapes)

    @functools.cache
    def one_program(*shapes: tf.TensorSpec) -> Chunk:
        return tf.function(functools.partial(run_steps, step_results), input_signature=shapes, jit_compile=True)

    def chunk(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        if fuse and len(rows) >= SHORTEST_PROGRAM:
            return one_program(*(tf.TensorSpec(data.shape, data.dtype) for data in (x, y, rows)))(x, y, rows)
        any_examples = [tf.TensorSpec((None, *data.shape[1:]), data.dtype) for data in (x, y)]
        return nested(*any_examples, tf.TensorSpec((None, None), rows.dtype))(x, y, rows)

    return chunk


def _executions(
    order: tf.Tensor, batch_size: int, steps_per_execution: int | None
) -> Iterable[tuple[int, int, list[tuple[int, tf.Tensor]]]]:
    """Cut an epoch as fit does: yield (first batch, last batch, chunks) for every execution.

    A chunk is (its first step, rows of shape (steps, batch)); a short last batch is a chunk of its own. The last
    batch is `first + steps_per_execution - 1` even where the epoch ends before, because fit counts like that.
    """
    examples = len(order)
    full_steps = examples // batch_size
    full = tf.reshape(order[: full_steps * batch_size], (full_steps, batch_size))
    steps = -(-examples // batch_size)
    steps_per_execution = steps_per_execution or steps
    for first in range(0, steps, steps_per_execution):
        chunks = []
        if first < full_steps:
            chunks.append((first, full[first : first + steps_per_execution]))
        if first + steps_per_execution >= steps and examples % batch_size:
            chunks.append((full_steps, order[tf.newaxis, full_steps * batch_size :]))
        yield first, first + steps_per_execution - 1, chunks


def _reset(metrics: Sequence[keras.metrics.Metric]) -> None:
    for metric in metrics:
        metric.reset_state()


def _results(metrics: Sequence[keras.metrics.Metric]) -> dict[str, float]:
    return {metric.name: float(metric.result()) for metric in metrics}


def _by_name(metrics: Sequence[keras.metrics.Metric], values: np.ndarray) -> dict[str, np.ndarray]:
    return {metric.name: values[:, column] for column, metric in enumerate(metrics)}


def _on_train_chunk_end(hooks: keras.callbacks.CallbackList, first_step: int, logs: Mapping[str, np.ndarray]) -> None:
    for callback in hooks.callbacks:
        if hasattr(callback, "on_train_chunk_end"):
            callback.on_train_chunk_end(first_step, logs)


@contextlib.contextmanager
def _explain_missing_compile() -> Iterator[None]:
    """Turn Keras' complaint about a model that was never compiled into one line."""
    try:
        yield
    except ValueError as error:
        if "call `compile()`" not in str(error):
            raise
        raise UsageError(
            "a callback needs a compiled model, and a custom loop has none; use it on the fit side,"
            " or let it call the model instead of fit, evaluate or predict"
        ) from error
