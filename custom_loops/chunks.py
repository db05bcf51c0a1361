"""Many steps in one call of a compiled function: the fast part of `loop.py`, alone.

fit comes back to Python after every execution; here a whole chunk of steps is one call, which gathers its batches
inside. A chunk takes one of these forms:
- one program: with XLA, the loop over the steps is a part of what XLA compiles. Each turn gathers the batch of the next
  one: what a loop carries is where XLA's fusions end, so a step is compiled as if it stood alone, as fit's are.
- nested: a plain graph loop that calls the (XLA-)compiled step. It is fit's own shape. Without XLA it is the only one;
  with XLA it serves the short last batch, validation, and models of convolutions, which are slow in a loop of XLA's.
- on replicas: under a `tf.distribute` strategy, nested and without XLA; each turn runs the step on all replicas.
- eager: step by step in Python, for a debugger.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recipes.shared.batches import Chunk, Misuse, Nest, any_examples

Step = Callable[..., Mapping[str, Any] | None]  # from the parts of a batch to what this step alone came to, by name
Values = dict[str, np.ndarray]  # by name, of every step of a chunk: (steps,) or (steps, values)


class Chunks:
    """Runs a step on chunks of batches, compiled for batches of any size.

    Args:
        step: takes the parts of a batch.
        metrics: what the step updates.
        jit_compile: compile the step with XLA.
        one_program: with `jit_compile`, compile the loop over the steps too.
        run_eagerly: compile nothing.

    Attributes:
        step: the compiled step, a `tf.function` from the parts of a batch; it is not compiled if `run_eagerly`.
    """

    def __init__(
        self,
        step: Step,
        metrics: Sequence[keras.metrics.Metric],
        jit_compile: bool = False,
        one_program: bool = False,
        run_eagerly: bool = False,
    ) -> None:
        self._metrics = metrics
        self._names: list[tuple[str, tuple[int, ...]]] = []  # and shapes, of what a step gives; known once it is traced
        self._returned = 0  # how many of them the step has returned; the others are metrics
        self._results = self._flat_results(step)
        self._eager = run_eagerly
        self._fuse = jit_compile and one_program
        self._replicas = tf.distribute.has_strategy()
        self.step: Any = self._results if run_eagerly else tf.function(self._results, jit_compile=jit_compile)
        self._on_replicas = tf.function(self._of_replicas)
        self._programs: dict[Any, Any] = {}

    def __call__(self, chunk: Chunk) -> tuple[Values, Values]:
        """Make the steps of `chunk`, and return what each returned, and the metrics after each."""
        if self._eager:
            rows = range(chunk.begin, chunk.end)
            results = np.stack([self._results(*chunk.gather(chunk.arrays, chunk.rows[row])).numpy() for row in rows])
        else:
            program = self._program(chunk)
            leaves = tf.nest.flatten(chunk.arrays)
            results = program(*leaves, chunk.rows, chunk.begin, chunk.end).numpy()[chunk.begin : chunk.end]
        return self._named(results)

    def variables(self, batch: tuple[Nest, ...]) -> list[tf.Variable]:
        """Return all that the step reads or writes, in the order in which it does: its graph says it.

        Under a strategy the graph has the parts of variables that are on each device, and an eager step has none: there
        it is the metrics alone, what callbacks do not find by way of the model.

        Args:
            batch: for the shapes.
        """
        if self._replicas or self._eager:
            return [variable for metric in self._metrics for variable in metric.variables]
        graph = self.step.get_concrete_function(*tf.nest.map_structure(any_examples, batch)).graph
        by_handle = {id(variable.handle): variable for variable in graph.variables}  # in the order of a set
        return [by_handle[id(capture)] for capture in graph.external_captures if id(capture) in by_handle]

    def _flat_results(self, step: Step) -> Callable[..., tf.Tensor]:
        """Return the function from a batch to what `step` returns and the metrics after it: (values,), float32."""

        def results(*batch: Nest) -> tf.Tensor:
            returned = step(*batch)
            if not isinstance(returned, Mapping | None):
                raise Misuse(
                    f"a step returned {type(returned).__name__}; it must return its results by name, as in"
                    ' {"loss": loss}, or None'
                )
            values: dict[str, Any] = dict(returned or {})
            metrics = measured(self._metrics)
            tensors = [tf.cast(value, tf.float32) for value in (*values.values(), *metrics.values())]
            shapes = [tuple(tensor.shape) for tensor in tensors]
            self._names = list(zip([*values, *metrics], shapes, strict=True))
            for name, shape in self._names:
                if None in shape:
                    raise Misuse(f"a step returned {name!r} of shape {shape}; it must have the same at every step")
            self._returned = len(values)
            if not tensors:
                return tf.zeros((0,))
            if not any(shapes):
                return tf.stack(tensors)
            return tf.concat([tf.reshape(tensor, (-1,)) for tensor in tensors], axis=0)

        return results

    def _named(self, results: np.ndarray) -> tuple[Values, Values]:
        named, start = [], 0
        for name, shape in self._names:
            size = int(np.prod(shape))
            named.append((name, results[:, start : start + size].reshape(len(results), *shape)))
            start += size
        return dict(named[: self._returned]), dict(named[self._returned :])

    def _program(self, chunk: Chunk) -> Any:
        """Return a function from data, rows of it (steps, batch), and the first and last step, to (steps, values).

        The last step is not included; the results of the others, not made, are 0.

        The step is traced once, for batches of any size, as fit traces its own: a fixed batch size is another graph, in
        which XLA may add up in another order (one feature, batches of 32: 1e-6 off). Nested, so is the loop. One
        program is traced for each shape of data and rows, but for any number of steps: XLA does not know it, and so
        cannot take the loop apart where there is only one.
        """
        fuse = self._fuse and len(chunk.rows) > 1
        leaves = tf.nest.flatten(chunk.arrays)
        specs = [tf.TensorSpec(each.shape, each.dtype) if fuse else any_examples(each) for each in leaves]
        specs.append(tf.TensorSpec(chunk.rows.shape if fuse else (None, None), chunk.rows.dtype))
        structure, gather = tf.nest.map_structure(lambda _: 0, chunk.arrays), chunk.gather
        key = fuse, *specs, str(structure), gather
        if key not in self._programs:
            run_steps = self._replica_steps if self._replicas else self._steps

            def run(*arguments: tf.Tensor) -> tf.Tensor:
                *leaves, rows, begin, end = arguments
                return run_steps(tf.nest.pack_sequence_as(structure, leaves), rows, begin, end, gather)

            bounds = [tf.TensorSpec((), tf.int32)] * 2
            # a partial, because TensorFlow warns of retracing by the code of a function
            self._programs[key] = tf.function(
                functools.partial(run), input_signature=[*specs, *bounds], jit_compile=fuse or None
            )
        return self._programs[key]

    def _steps(
        self, arrays: Nest, rows: tf.Tensor, begin: tf.Tensor, end: tf.Tensor, gather: Callable[..., Any]
    ) -> tf.Tensor:
        batch = gather(arrays, rows[begin])
        step = self.step.get_concrete_function(*tf.nest.map_structure(any_examples, batch))
        steps = tf.shape(rows)[0]
        results = tf.TensorArray(tf.float32, size=steps, element_shape=step.output_shapes)
        for index in tf.range(begin, end):
            results = results.write(index, step(*batch))
            # Gathered for the next turn; in the same turn XLA may make it a part of the step's first matrix product,
            # which then adds up in another order.
            batch = gather(arrays, rows[tf.minimum(index + 1, steps - 1)])
        return results.stack()

    def _replica_steps(
        self, arrays: Nest, rows: tf.Tensor, begin: tf.Tensor, end: tf.Tensor, gather: Callable[..., Any]
    ) -> tf.Tensor:
        specs = tf.nest.map_structure(any_examples, arrays)
        one_batch = self._on_replicas.get_concrete_function(specs, tf.TensorSpec((None,), rows.dtype), gather)
        results = tf.TensorArray(tf.float32, size=tf.shape(rows)[0], element_shape=one_batch.output_shapes)
        for index in tf.range(begin, end):
            results = results.write(index, one_batch(arrays, rows[index], gather))
        stacked = results.stack()
        strategy = tf.distribute.get_strategy()
        if strategy.num_replicas_in_sync == len(strategy.extended.worker_devices):  # all in this process
            return stacked
        return strategy.experimental_local_results(strategy.run(_over_workers, args=(stacked,)))[0]  # once a chunk

    def _of_replicas(self, arrays: Nest, rows: tf.Tensor, gather: Callable[..., Any]) -> tf.Tensor:
        """Run the step on all replicas of the strategy in whose scope this is.

        Each gathers its own share of the batch, ceil(size / replicas) examples as long as there are some, as tf.data
        divides a batch for fit. The results are the mean over the replicas, as fit shows them to callbacks
        (keras/src/backend/tensorflow/trainer.py, `reduce_per_replica`): exact where all have as many examples.
        """

        def share() -> tf.Tensor:
            replica = tf.distribute.get_replica_context()
            size = -(-tf.size(rows) // replica.num_replicas_in_sync)
            own = rows[replica.replica_id_in_sync_group * size :][:size]
            with tf.device("CPU:0"):  # where the data is; the share alone goes to the device
                batch = gather(arrays, own)
            return self._results(*batch)

        strategy = tf.distribute.get_strategy()
        return tf.reduce_mean(strategy.experimental_local_results(strategy.run(share)), axis=0)


def measured(metrics: Sequence[keras.metrics.Metric]) -> dict[str, Any]:
    """Return the results of `metrics` by name; one that has several by name, such as of each class, gives them all."""
    results: dict[str, Any] = {}
    for metric in metrics:
        result = metric.result()
        results |= result if isinstance(result, Mapping) else {metric.name: result}
    return results


def _over_workers(results: tf.Tensor) -> tf.Tensor:
    on_device = tf.identity(results)  # TensorFlow asks where it is
    return tf.distribute.get_replica_context().all_reduce("MEAN", on_device)
