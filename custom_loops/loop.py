"""Drives a `train_step` as `model.fit` drives its own: epochs, compiled chunks, validation, callbacks.

What it does is what fit does, with the same bits in the end (docs/why-results-differ.md); how it is faster: fit comes
back to Python after every execution, this compiles a whole chunk of steps and gathers their batches inside.

A chunk takes one of two forms:
- one program: with XLA, the loop over the steps is a part of what XLA compiles. Each turn gathers the batch of the next
  one: what a loop carries is where XLA's fusions end, so a step is compiled as if it stood alone, as fit's are.
- nested: a plain graph loop that calls the (XLA-)compiled step. It is fit's own shape. Without XLA it is the only one;
  with XLA it serves the short last batch, validation, and models of convolutions, which are slow in a loop of XLA's.

Under a `tf.distribute` strategy the loop is nested, without XLA, and each turn runs the step on all replicas.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recipes.shared import distribution, losses
from recipes.shared.data import Dataset, Split, epoch_order
from recipes.shared.errors import UsageError
from recipes.shared.streaming import Block, Streamed

Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # from a batch to its loss, a scalar
Chunk = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, int, int], tf.Tensor]
# A chunk's first step, the data, rows of it (steps, batch), and where among these the chunk begins and ends.
Batches = tuple[int, tf.Tensor, tf.Tensor, tf.Tensor, int, int]
NO_LOSS = "train_step and test_step must return the loss of their batch"
ONE_DEVICE = (
    "a train step without a Keras optimizer trains on one device: under a strategy it would have to add up the"
    " gradients of all replicas itself; leave out --strategy"
)


class Loop:
    """A train step and a test step, each compiled once for batches of any size, and what drives them.

    Its parts mirror those of the fit side: making it is `model.compile`, then come `train` and `evaluate`.

    Args:
        model: the model that the steps train; callbacks see it.
        train_step: makes one update from a batch `(x, y)`, updates `metrics`, and returns the loss that it went down.
        loss: what validation and test measure, from targets and outputs; callbacks get it in their `params`.
        metrics: the mean loss, named "loss", then others; reset before every epoch and every validation, logged under
            their names.
        optimizer: what the train step uses, so that learning-rate callbacks find it as `model.optimizer`.
        learning_rate: for a train step that has no optimizer, the rate that TensorBoard shall show: a number, or a
            function from the number of updates made before (int32) to the rate.
        steps_per_execution: batches between two calls of the batch hooks, as in fit; None is a whole epoch.
        jit_compile: compile the steps with XLA.
        one_program: with `jit_compile`, compile chunks as one XLA program. False is for convolutions.
        test_step: updates `metrics` from a batch without training, and returns its loss; if not given, the mean of
            `loss` and the losses of the model, and the other metrics, as fit measures them.
    """

    def __init__(
        self,
        model: keras.Model,
        train_step: Step,
        loss: keras.losses.Loss,
        metrics: Sequence[keras.metrics.Metric],
        optimizer: keras.optimizers.Optimizer | None = None,
        *,
        learning_rate: float | Callable[[tf.Tensor], tf.Tensor] | None = None,
        steps_per_execution: int | None = None,
        jit_compile: bool = False,
        one_program: bool = True,
        test_step: Step | None = None,
    ) -> None:
        self.model = model
        self.loss = loss
        self.metrics = metrics
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.steps_per_execution = steps_per_execution
        test_step = test_step or _make_test_step(model, loss, metrics)
        self._train_step: Any
        if tf.distribute.has_strategy():
            if optimizer is None:
                raise UsageError(ONE_DEVICE)
            self.jit_compile = False  # XLA cannot add up over devices; Keras' "auto" leaves it off as well
            self._train_step = _with_results(train_step, metrics)
            self._train_chunk = _chunks_of_replicas(self._train_step, 1 + len(metrics))
            self._test_chunk = _chunks_of_replicas(_with_results(test_step, metrics), 1 + len(metrics))
        else:
            self.jit_compile = jit_compile
            self._train_step = tf.function(_with_results(train_step, metrics), jit_compile=jit_compile)
            measure = tf.function(_with_results(test_step, metrics), jit_compile=jit_compile)
            self._train_chunk = _chunks(self._train_step, 1 + len(metrics), fuse=jit_compile and one_program)
            # validation and test share one, nested, so that no short run waits for another compilation
            self._test_chunk = _chunks(measure, 1 + len(metrics), fuse=False)
        if optimizer is not None:
            model.optimizer = optimizer
            optimizer.build(model.trainable_variables)  # before tracing: a graph cannot create variables twice

    @property
    def variables(self) -> list[keras.Variable]:
        """Weights and seed states of the model."""
        variables: list[keras.Variable] = self.model.variables
        return variables

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
            callbacks: Keras callbacks. The drivers of fit hide single steps; here a callback may see them. One that has
                `first_step(epoch)` says at which step an epoch goes on that was cut off. One that has
                `on_train_chunk_begin(first_step)` and `on_train_chunk_end(first_step, logs, losses)` gets the metrics
                after every step of a compiled chunk, and the loss of each, as arrays. One that has
                `steps_to_watch(steps)` names steps of the coming epoch, of so many, that shall be chunks of their own.
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
        distribution.require_a_share_for_each(batch_size)
        blocks = _feed(dataset.train, batch_size, self.steps_per_execution)
        validation = _tensors(dataset.validation)
        steps = -(-len(dataset.train) // batch_size)
        model.stop_training = False
        logs: dict[str, float] = {}
        with _explained():
            hooks = keras.callbacks.CallbackList(
                list(callbacks),
                add_history=True,
                add_progbar=verbose != 0,
                model=model,
                verbose=verbose,
                epochs=epochs,
                steps=steps,
                jit_compile=self.jit_compile,
                learning_rate=self.learning_rate,
                loss=self.loss,
                train_step=self._train_step,
                variables=self._used_variables(dataset.train),
            )
            hooks.on_train_begin()
            # fit: this private attribute says where a run that was cut off goes on
            for epoch in range(getattr(model, "_initial_epoch", None) or 0, epochs):
                _reset(metrics)
                hooks.on_epoch_begin(epoch)
                start = max(_call(hooks, "first_step", epoch), default=0)
                alone = {step for watched in _call(hooks, "steps_to_watch", steps) for step in watched}
                execution = self.steps_per_execution or steps
                for first, last, chunks in _executions(blocks(seed, epoch), batch_size, execution, alone):
                    if first < start:
                        continue  # made before the training was cut off
                    hooks.on_train_batch_begin(first)
                    execution_logs = {}
                    for step, *batches in chunks:
                        _call(hooks, "on_train_chunk_begin", step)
                        step_losses, values = self._run(self._train_chunk, *batches)
                        _call(hooks, "on_train_chunk_end", step, values, step_losses)
                        execution_logs = {name: value[-1] for name, value in values.items()}
                    hooks.on_train_batch_end(last, execution_logs)
                    if model.stop_training:
                        break
                logs = _results(metrics)  # before validation, which uses the same metrics
                if len(dataset.validation):
                    validation_logs = self._evaluate(*validation, batch_size, self.steps_per_execution, hooks)
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
        with _explained():
            return self._evaluate(*_tensors(split), batch_size, None, keras.callbacks.CallbackList())

    def _evaluate(
        self,
        x: tf.Tensor,
        y: tf.Tensor,
        batch_size: int,
        steps_per_execution: int | None,
        hooks: keras.callbacks.CallbackList,
    ) -> dict[str, float]:
        hooks.on_test_begin()
        _reset(self.metrics)
        execution = steps_per_execution or -(-len(x) // batch_size)
        for first, last, chunks in _executions([(x, y, tf.range(len(x)))], batch_size, execution):
            hooks.on_test_batch_begin(first)
            values: dict[str, np.ndarray] = {}
            for _, *batches in chunks:
                _, values = self._run(self._test_chunk, *batches)
            hooks.on_test_batch_end(last, {name: value[-1] for name, value in values.items()})
        logs = _results(self.metrics)
        hooks.on_test_end(logs)
        return logs

    def _used_variables(self, split: Split) -> list[tf.Variable]:
        """Return all that the train step reads or writes, in the order in which it does: its graph knows.

        Under a strategy the graph knows the parts of variables that are on each device; so only the metrics are added
        here to what model and optimizer say themselves.
        """
        if tf.distribute.has_strategy():
            return [variable for metric in self.metrics for variable in metric.variables]
        specs = _any_examples(*_tensors(split.first(1)))
        graph = self._train_step.get_concrete_function(*specs).graph
        by_handle = {id(variable.handle): variable for variable in graph.variables}  # in the order of a set
        return [by_handle[id(capture)] for capture in graph.external_captures if id(capture) in by_handle]

    def _run(
        self, chunk: Chunk, x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor, begin: int, end: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the loss of every step of `chunk`, and the metrics after every step."""
        step_losses, *values = chunk(x, y, rows, begin, end).numpy()[begin:end].T
        return step_losses, {metric.name: value for metric, value in zip(self.metrics, values, strict=True)}


def _make_test_step(model: keras.Model, loss: keras.losses.Loss, metrics: Sequence[keras.metrics.Metric]) -> Step:
    """Return the function that measures one batch as fit does it: `metrics` are the mean loss, then others."""
    mean_loss, *others = metrics

    def test_step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        outputs = model(x, training=False)
        total_loss = losses.total(loss(y, outputs), model.losses)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])  # a short batch counts less
        for metric in others:
            metric.update_state(y, outputs)
        return total_loss

    return test_step


def _with_results(step: Step, metrics: Sequence[keras.metrics.Metric]) -> Step:
    """Return the function from a batch to its loss and the metrics after it: (1 + metrics,), float32."""

    def step_results(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        loss = step(x, y)
        if loss is None:
            raise UsageError(NO_LOSS)
        return tf.stack([tf.cast(value, tf.float32) for value in (loss, *(metric.result() for metric in metrics))])

    return step_results


def _chunks(compiled_step: Any, results_of_a_step: int, fuse: bool) -> Chunk:
    """Return a function from data, rows of it (steps, batch), and the first and last step, to (steps, results).

    The last step is not included; the results of the others, not made, are 0.

    The step is traced once, for batches of any size, as fit traces its own: a fixed batch size is another graph, in
    which XLA may add up in another order (one feature, batches of 32: 1e-6 off). Nested, so is the loop. One program,
    where `fuse` asks for it, is traced for each shape of data and rows, but for any number of steps: XLA does not know
    it, and so cannot take the loop apart where there is only one.
    """

    def run_steps(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor, begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        step = compiled_step.get_concrete_function(*_any_examples(x, y))
        steps = tf.shape(rows)[0]
        results = tf.TensorArray(tf.float32, size=steps, element_shape=(results_of_a_step,))
        batch = tf.gather(x, rows[begin]), tf.gather(y, rows[begin])
        for index in tf.range(begin, end):
            results = results.write(index, step(*batch))
            # Gathered for the next turn; in the same turn XLA may make it a part of the step's first matrix product,
            # which then adds up in another order.
            following = rows[tf.minimum(index + 1, steps - 1)]
            batch = tf.gather(x, following), tf.gather(y, following)
        return results.stack()

    @functools.cache
    def compiled(one_program: bool, *shapes: tf.TensorSpec) -> Any:
        # a partial, because TensorFlow warns of retracing by the code of a function, and each shape has its own trace
        bounds = [tf.TensorSpec((), tf.int32)] * 2
        return tf.function(
            functools.partial(run_steps), input_signature=[*shapes, *bounds], jit_compile=one_program or None
        )

    def chunk(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor, begin: int, end: int) -> tf.Tensor:
        if fuse and len(rows) > 1:
            shapes = [tf.TensorSpec(data.shape, data.dtype) for data in (x, y, rows)]
            return compiled(True, *shapes)(x, y, rows, begin, end)
        any_rows = tf.TensorSpec((None, None), rows.dtype)
        return compiled(False, *_any_examples(x, y), any_rows)(x, y, rows, begin, end)

    return chunk


def _chunks_of_replicas(step: Step, results_of_a_step: int) -> Chunk:
    """Return what `_chunks` does, for the strategy in whose scope this is called: `step` runs on all its replicas.

    Each gathers its own share of the batch, ceil(size / replicas) examples as long as there are some, as tf.data
    divides a batch for fit. The results are the mean over the replicas, as fit shows them to callbacks
    (keras/src/backend/tensorflow/trainer.py, `reduce_per_replica`): exact where all have as many examples.
    """
    strategy = tf.distribute.get_strategy()

    def of_replica(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        share = -(-tf.size(rows) // replica.num_replicas_in_sync)
        own = rows[replica.replica_id_in_sync_group * share :][:share]
        with tf.device("CPU:0"):  # where the data is; the share alone goes to the device
            batch = tf.gather(x, own), tf.gather(y, own)
        return step(*batch)

    def on_replicas(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        results = strategy.experimental_local_results(strategy.run(of_replica, args=(x, y, rows)))
        return tf.reduce_mean(results, axis=0)

    def over_workers(results: tf.Tensor) -> tf.Tensor:
        on_device = tf.identity(results)  # TensorFlow asks where it is
        return tf.distribute.get_replica_context().all_reduce("MEAN", on_device)

    compiled_step = tf.function(on_replicas)

    def run_steps(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor, begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        one_batch = compiled_step.get_concrete_function(*_any_examples(x, y), tf.TensorSpec((None,), rows.dtype))
        results = tf.TensorArray(tf.float32, size=tf.shape(rows)[0], element_shape=(results_of_a_step,))
        for index in tf.range(begin, end):
            results = results.write(index, one_batch(x, y, rows[index]))
        stacked = results.stack()
        if distribution.workers() == 1:
            return stacked
        return strategy.experimental_local_results(strategy.run(over_workers, args=(stacked,)))[0]  # once a chunk

    @functools.cache
    def compiled(*shapes: tf.TensorSpec) -> Any:
        return tf.function(functools.partial(run_steps), input_signature=[*shapes, *[tf.TensorSpec((), tf.int32)] * 2])

    def chunk(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor, begin: int, end: int) -> tf.Tensor:
        return compiled(*_any_examples(x, y), tf.TensorSpec((None, None), rows.dtype))(x, y, rows, begin, end)

    return chunk


def _any_examples(*data: tf.Tensor) -> list[tf.TensorSpec]:
    return [tf.TensorSpec((None, *each.shape[1:]), each.dtype) for each in data]


def _feed(split: Split, batch_size: int, steps_per_execution: int | None) -> Callable[[int, int], Iterable[Block]]:
    """Return a function from the seed and an epoch to its examples in blocks: one in memory, or those of a stream."""
    if isinstance(split, Streamed):
        return split.feed(batch_size, steps_per_execution)
    x, y = _tensors(split)
    return lambda seed, epoch: [(x, y, epoch_order(split.examples, seed, epoch))]


def _executions(
    blocks: Iterable[Block], batch_size: int, steps_per_execution: int, alone: Collection[int] = ()
) -> Iterator[tuple[int, int, Iterable[Batches]]]:
    """Cut an epoch as fit does: yield (first batch, last batch, chunks) for every execution.

    A short last batch is a chunk of its own, and so are the steps `alone`; a chunk lies in one block. Its rows are all
    that its execution has in the block. The last batch is `first + steps_per_execution - 1` even where the epoch ends
    before, because fit counts like that.
    """

    def cut() -> Iterator[Batches]:
        end = 0
        for x, y, rows in blocks:
            first, full_steps = end, len(rows) // batch_size
            end = first + full_steps
            full = tf.reshape(rows[: full_steps * batch_size], (full_steps, batch_size))
            for start in range(first - first % steps_per_execution, end, steps_per_execution):
                begin, stop = max(first, start), min(end, start + steps_per_execution)
                batches = full[begin - first : stop - first]
                cuts = {border for step in alone for border in (step, step + 1) if begin < border < stop}
                for step, following in itertools.pairwise(sorted({begin, *cuts, stop})):
                    yield step, x, y, batches, step - begin, following - begin
            if len(rows) % batch_size:
                yield end, x, y, rows[tf.newaxis, full_steps * batch_size :], 0, 1

    for number, chunks in itertools.groupby(cut(), lambda chunk: chunk[0] // steps_per_execution):
        yield number * steps_per_execution, (number + 1) * steps_per_execution - 1, chunks


def _tensors(split: Split) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.device("CPU:0") if tf.distribute.has_strategy() else contextlib.nullcontext():
        return tf.constant(split.x), tf.constant(split.y)


def _reset(metrics: Sequence[keras.metrics.Metric]) -> None:
    for metric in metrics:
        metric.reset_state()


def _results(metrics: Sequence[keras.metrics.Metric]) -> dict[str, float]:
    return {metric.name: float(metric.result()) for metric in metrics}


def _call(hooks: keras.callbacks.CallbackList, method: str, *args: Any) -> list[Any]:
    """Call `method` of every callback that has it, and return what they return."""
    return [getattr(callback, method)(*args) for callback in hooks.callbacks if hasattr(callback, method)]


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn into one line what Keras says of a model that was never compiled, and AutoGraph of what a step raises."""
    try:
        yield
    except UsageError as error:
        raise UsageError(NO_LOSS if NO_LOSS in str(error) else str(error)) from None
    except ValueError as error:
        if "call `compile()`" not in str(error):
            raise
        raise UsageError(
            "a callback needs a compiled model, and a custom loop has none; use it on the fit side,"
            " or let it call the model instead of fit, evaluate or predict"
        ) from error
