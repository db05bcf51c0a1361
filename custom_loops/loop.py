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

from recipes.shared.data import Dataset, Split, epoch_order
from recipes.shared.errors import UsageError

Step = Callable[[tf.Tensor, tf.Tensor], None]
Chunk = Callable[[tf.Tensor], tf.Tensor]
SHORTEST_PROGRAM = 8  # steps; a chunk of one differed from fit in the last bit, chunks of 8 and more did not


def train(
    model: keras.Model,
    train_step: Step,
    test_step: Step,
    metrics: Sequence[keras.metrics.Metric],
    dataset: Dataset,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    steps_per_execution: int | None = None,
    jit_compile: bool = False,
    one_program: bool = False,
    optimizer: keras.optimizers.Optimizer | None = None,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    verbose: int = 0,
) -> dict[str, list[float]]:
    """Train for `epochs` epochs, validating after each, and return the history as `fit(...).history` has it.

    Args:
        model: the model that the steps train; callbacks see it.
        train_step: makes one update from a batch `(x, y)` and updates `metrics`.
        test_step: updates `metrics` from a batch `(x, y)` without training.
        metrics: reset before every epoch and every validation, logged under their names.
        dataset: its training part is visited in the order of `epoch_order(..., seed, epoch)`.
        batch_size: examples in one update; the last batch of an epoch may be short.
        epochs: passes over the training data, fewer if a callback sets `model.stop_training`.
        seed: of the order of the examples.
        steps_per_execution: batches between two calls of the batch hooks, as in fit; None is a whole epoch.
        jit_compile: compile the steps with XLA.
        one_program: with `jit_compile`, compile chunks as one XLA program.
        optimizer: what the train step uses, so that learning-rate callbacks find it as `model.optimizer`.
        callbacks: Keras callbacks. One that has a method `on_train_chunk_end(first_step, logs)` also gets the metrics
            after every single step, as arrays.
        verbose: 0 silent, 1 progress bar, 2 a line an epoch.

    Raises:
        UsageError: a callback needs a compiled model.
    """
    training, validation = dataset.train, dataset.validation
    if optimizer is not None:
        model.optimizer = optimizer
        optimizer.build(model.trainable_variables)  # before tracing: a graph cannot create variables twice
    fuse = jit_compile and one_program
    train_chunk = _compile(train_step, metrics, training, jit_compile, fuse)
    test_chunk = _compile(test_step, metrics, validation, jit_compile, fuse)

    steps = -(-len(training) // batch_size)
    hooks = keras.callbacks.CallbackList(
        list(callbacks),
        add_history=True,
        add_progbar=verbose != 0,
        model=model,
        verbose=verbose,
        epochs=epochs,
        steps=steps,
        jit_compile=jit_compile,
    )
    model.stop_training = False
    logs: dict[str, float] = {}
    with _explain_missing_compile():
        hooks.on_train_begin()
        # fit: BackupAndRestore says through this private attribute where a run that was cut off goes on
        for epoch in range(getattr(model, "_initial_epoch", None) or 0, epochs):
            _reset(metrics)
            hooks.on_epoch_begin(epoch)
            order = epoch_order(len(training), seed, epoch)
            for first, last, chunks in _executions(order, batch_size, steps_per_execution):
                hooks.on_train_batch_begin(first)
                execution_logs = {}
                for step, batches in chunks:
                    values = _by_name(metrics, train_chunk(batches).numpy())
                    _on_train_chunk_end(hooks, step, values)
                    execution_logs = {name: value[-1] for name, value in values.items()}
                hooks.on_train_batch_end(last, execution_logs)
                if model.stop_training:
                    break
            logs = _results(metrics)  # before validation, which uses the same metrics
            validation_logs = _evaluate(test_chunk, metrics, len(validation), batch_size, steps_per_execution, hooks)
            logs |= {f"val_{name}": value for name, value in validation_logs.items()}
            hooks.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        if optimizer is not None:
            optimizer.finalize_variable_values(model.trainable_variables)  # averaged weights, if it keeps any
        hooks.on_train_end(logs)
    history: dict[str, list[float]] = model.history.history
    return history


def evaluate(
    test_step: Step,
    metrics: Sequence[keras.metrics.Metric],
    split: Split,
    *,
    batch_size: int,
    jit_compile: bool = False,
) -> dict[str, float]:
    """Return the metrics over `split` by name, as `model.evaluate(..., return_dict=True)` does."""
    hooks = keras.callbacks.CallbackList()
    test_chunk = _compile(test_step, metrics, split, jit_compile, fuse=False)
    return _evaluate(test_chunk, metrics, len(split), batch_size, None, hooks)


def _evaluate(
    test_chunk: Chunk,
    metrics: Sequence[keras.metrics.Metric],
    examples: int,
    batch_size: int,
    steps_per_execution: int | None,
    hooks: keras.callbacks.CallbackList,
) -> dict[str, float]:
    hooks.on_test_begin()
    _reset(metrics)
    for first, last, chunks in _executions(tf.range(examples), batch_size, steps_per_execution):
        hooks.on_test_batch_begin(first)
        values: dict[str, np.ndarray] = {}
        for _, batches in chunks:
            values = _by_name(metrics, test_chunk(batches).numpy())
        hooks.on_test_batch_end(last, {name: value[-1] for name, value in values.items()})
    logs = _results(metrics)
    hooks.on_test_end(logs)
    return logs


def _compile(step: Step, metrics: Sequence[keras.metrics.Metric], split: Split, jit_compile: bool, fuse: bool) -> Chunk:
    """Return a function from rows (steps, batch) to the metrics after every step, (steps, metrics).

    `split` is the data that the rows point into. It is traced once per batch size (nested) or per shape of rows (one
    program), each a function of its own: several signatures in one `tf.function` make TensorFlow warn of retracing.
    """
    x, y = tf.constant(split.x), tf.constant(split.y)

    def step_results(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        step(x, y)
        return tf.stack([tf.cast(metric.result(), tf.float32) for metric in metrics])

    def run_steps(step_results: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
        steps = tf.shape(rows)[0]
        results = tf.TensorArray(tf.float32, size=steps, element_shape=[len(metrics)])
        for index in tf.range(steps):
            batch = rows[index]
            results = results.write(index, step_results(tf.gather(x, batch), tf.gather(y, batch)))
        return results.stack()

    compiled_step = tf.function(step_results, jit_compile=jit_compile)

    @functools.cache
    def nested(batch: int) -> Chunk:
        any_steps = tf.TensorSpec((None, batch), tf.int32)
        return tf.function(functools.partial(run_steps, compiled_step), input_signature=[any_steps])

    @functools.cache
    def one_program(steps: int, batch: int) -> Chunk:
        static = tf.TensorSpec((steps, batch), tf.int32)
        return tf.function(functools.partial(run_steps, step_results), input_signature=[static], jit_compile=True)

    def chunk(rows: tf.Tensor) -> tf.Tensor:
        steps, batch = rows.shape
        function = one_program(steps, batch) if fuse and steps >= SHORTEST_PROGRAM else nested(batch)
        return function(rows)

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
