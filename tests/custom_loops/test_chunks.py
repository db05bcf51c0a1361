"""Chunks of steps: the same bits in every form, no tracing without need, and what each step came to."""

import itertools
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.shared.batches import Batches, Misuse, epoch_order
from recipes.shared.callbacks import StepCallback
from tests import loops
from tests.loops import BATCH, EXAMPLES, Recording, Watching, X, Y, classifier, make_batches, make_loop, same_bytes
from tests.trainings import slow

NESTED, ONE_PROGRAM = {"jit_compile": True, "one_program": False}, {"jit_compile": True}


@pytest.mark.parametrize(
    "options",
    [{}, slow(NESTED), slow(ONE_PROGRAM)],
    ids=["graph", "nested", "one program"],
)
@pytest.mark.parametrize(
    ("steps_per_execution", "batch_size"), [(None, BATCH), (5, BATCH), slow(1, 10), slow(None, 200)]
)
def test_steps_are_traced_once_a_shape_and_never_after_the_first_epoch(
    monkeypatch, options, steps_per_execution, batch_size
):
    chunks, traced = [], []  # whether each trace of a chunk is of training, and the batches that steps were traced for
    tensor_array = tf.TensorArray
    monkeypatch.setattr(tf, "TensorArray", lambda *args, **kw: chunks.append(None) or tensor_array(*args, **kw))
    driver = make_loop(classifier(), traced, steps_per_execution=steps_per_execution, **options)
    counts = []
    for _ in driver.epochs(make_batches(batch_size), epochs=3):
        counts.append((len(chunks), len(traced)))
    driver.model.optimizer.learning_rate = 0.5
    driver.train(make_batches(batch_size, seed=1), epochs=1)

    full_steps, short = divmod(EXAMPLES, batch_size)
    size = steps_per_execution or full_steps
    lengths = {length for length in (min(size, full_steps), full_steps % max(size, 1)) if length}  # full chunk, tail
    programs = {length for length in lengths if length > 1} if options is ONE_PROGRAM else set()
    any_size = lengths != programs or bool(short)  # batches of any size, in chunks of any length, share one
    assert traced == [(None, 5)]  # the step itself only once, as in fit
    assert len(chunks) == len(programs) + any_size + 1  # the last is that of validation
    assert counts == [(len(chunks), len(traced))] * 3


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, slow(ONE_PROGRAM)], ids=["graph", "one program"])
def test_tensorflow_does_not_warn_of_shapes_and_loops_that_are_many(caplog, options):
    tensorflow = logging.getLogger("tensorflow")
    tensorflow.addHandler(caplog.handler)  # it passes nothing on to the root
    try:
        driver = make_loop(classifier(), **options)
        for batch_size in range(4, 11):
            driver.train(make_batches(batch_size), epochs=1)
        for _ in range(6):
            loops.loop(classifier(), make_batches(), epochs=1)
    finally:
        tensorflow.removeHandler(caplog.handler)
    assert not caplog.records


def test_callbacks_that_ask_for_it_see_every_single_step():
    steps, batches = Watching(), Recording()
    loops.loop(classifier(), make_batches(), [steps], epochs=1)
    loops.fit(classifier(), make_batches(), [batches], epochs=1)
    logs = [logs for name, *_, logs in batches.calls if name == "on_train_batch_end"]
    assert steps.all_metrics("loss").tolist() == [each["loss"] for each in logs]
    assert steps.all_metrics("accuracy").tolist() == [each["accuracy"] for each in logs]


@pytest.mark.parametrize(
    ("steps_per_execution", "watched", "chunks"),
    [
        (None, [], [(0, 12), (12, 1)]),
        slow(None, [12], [(0, 12), (12, 1)]),  # the short batch is a chunk of its own anyway
        slow(None, [11], [(0, 11), (11, 1), (12, 1)]),
        (None, [0, 5, 6], [(0, 1), (1, 4), (5, 1), (6, 1), (7, 5), (12, 1)]),
        (5, [4, 5, 7], [(0, 4), (4, 1), (5, 1), (6, 1), (7, 1), (8, 2), (10, 2), (12, 1)]),
        slow(1, [3], [(step, 1) for step in range(13)]),
        slow(None, [13, 99], [(0, 12), (12, 1)]),  # steps that do not come
        (20, range(13), [(step, 1) for step in range(13)]),
    ],
)
def test_steps_that_a_callback_watches_are_chunks_of_their_own(steps_per_execution, watched, chunks):
    callback = Watching(watched)
    loops.loop(classifier(), make_batches(), [callback], steps_per_execution=steps_per_execution)
    assert callback.asked == [13, 13]
    assert callback.ended == 2 * chunks
    assert callback.begun == 2 * [first for first, _ in chunks]


def test_the_steps_that_several_callbacks_watch_are_all_watched():
    several = [Watching([3]), keras.callbacks.Callback(), Watching([3, 7])]
    loops.loop(classifier(), make_batches(), several, epochs=1)
    assert [first for first, _ in several[0].ended] == [0, 3, 4, 7, 8, 12]
    assert several[0].ended == several[2].ended


def test_the_hooks_of_a_chunk_lie_between_those_of_its_execution():
    callback = Watching([6])
    loops.loop(classifier(), make_batches(), [callback], epochs=1, steps_per_execution=8)
    assert callback.calls == [
        ("batch_begin", 0),
        *[("chunk_begin", 0), ("chunk_end", 0), ("chunk_begin", 6), ("chunk_end", 6), ("chunk_begin", 7)],
        *[("chunk_end", 7), ("batch_end", 7), ("batch_begin", 8), ("chunk_begin", 8), ("chunk_end", 8)],
        *[("chunk_begin", 12), ("chunk_end", 12), ("batch_end", 15)],
    ]


@pytest.mark.parametrize(
    ("options", "watched"),
    [({}, [0, 3, 11]), slow({}, range(13)), slow({"jit_compile": True}, [2, 3, 11])],
    ids=["few", "all", "xla"],
)
def test_watching_changes_no_bit_and_traces_nothing_again(options, watched):
    traced, plain, watching = [], classifier(), classifier()
    plain_history = loops.loop(plain, make_batches(), **options)
    history = loops.loop(watching, make_batches(), [Watching(watched)], traced=traced, **options)
    assert same_bytes(plain.model, watching.model)
    assert history == plain_history
    assert traced == [(None, 5)]


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_execution", [None, 5])
def test_callbacks_get_the_loss_of_every_step_itself(steps_per_execution):
    callback, weights = Watching(), []
    loops.loop(classifier(), make_batches(), [callback], epochs=1, steps_per_execution=steps_per_execution)

    class Before(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            weights.append([array.astype(np.float64) for array in self.model.get_weights()])

    loops.fit(classifier(), make_batches(), [Before()], epochs=1)
    order, expected = epoch_order(EXAMPLES, 0, 0).numpy(), []
    for step, (kernel, bias, other_kernel, other_bias) in enumerate(weights):
        rows = order[step * BATCH : (step + 1) * BATCH]
        logits = np.maximum(X[rows] @ kernel + bias, 0) @ other_kernel + other_bias
        log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected.append(-log_softmax[np.arange(len(rows)), Y[rows]].mean())
    np.testing.assert_allclose(callback.all_values("loss"), expected, rtol=1e-5)
    seen = np.minimum(np.arange(1, 14) * BATCH, EXAMPLES)
    means = np.cumsum(expected * np.diff(seen, prepend=0)) / seen
    np.testing.assert_allclose(callback.all_metrics("loss"), means, rtol=1e-5)


def measuring(step, metrics=(), batch_size=BATCH, seed=0, **options):
    """Return what a callback sees of one epoch of `step`, which trains nothing; 4 examples are left out."""
    watching = Watching()
    driver = Loop(keras.Sequential([keras.Input((5,))]), step, None, metrics, **options)
    driver.train(Batches((X[:96], Y[:96]), batch_size, seed=seed), epochs=1, callbacks=[watching])
    return watching


FORMS = [{}, {"run_eagerly": True}, slow(NESTED), slow(ONE_PROGRAM), {"steps_per_execution": 5}]


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_all_that_a_step_returns_reaches_callbacks_by_name(options):
    seen = keras.metrics.Sum(name="seen")

    def step(x, y):
        seen.update_state(y)
        return {"most": tf.reduce_max(x), "features": tf.reduce_mean(x, axis=0), "ones": tf.reduce_sum(y)}

    watching = measuring(step, [seen], seed=3, **options)
    order = epoch_order(96, 3, 0).numpy().reshape(12, BATCH)
    assert [list(values) for values in watching.values] == [["most", "features", "ones"]] * len(watching.values)
    assert [list(metrics) for metrics in watching.metrics] == [["seen"]] * len(watching.values)
    np.testing.assert_array_equal(watching.all_values("most"), X[order].max(axis=(1, 2)))
    np.testing.assert_allclose(watching.all_values("features"), X[order].mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(watching.all_values("ones"), Y[order].sum(axis=1))
    np.testing.assert_array_equal(watching.all_metrics("seen"), Y[order].sum(axis=1).cumsum())


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_a_step_that_returns_nothing_leaves_the_metrics_alone(options):
    seen = keras.metrics.Sum(name="seen")
    watching = measuring(lambda x, y: seen.update_state(y) and None, [seen], **options)
    assert {len(values) for values in watching.values} == {0}
    assert watching.all_metrics("seen")[-1] == Y[:96].sum()


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_a_step_without_results_and_metrics_is_run_all_the_same(options):
    steps = tf.Variable(0)

    def step(x, y):
        steps.assign_add(1)

    measuring(step, **options)
    assert int(steps) == 12


@pytest.mark.parametrize("options", FORMS, ids=str)
@pytest.mark.parametrize(
    ("returns", "says"),
    [
        (
            tf.reduce_sum,
            r"a step returned \w*Tensor; it must return its results by name, as in {.loss.: loss}, or None",
        ),
        (lambda x: [1.0], "a step returned list; it must return its results by name"),
        (lambda x: 3.0, "a step returned float; it must return its results by name"),
    ],
    ids=["tensor", "list", "float"],
)
def test_a_step_that_returns_something_else_than_results_by_name_is_refused_in_one_line(returns, says, options):
    with pytest.raises(Misuse, match=f"^{says}") as error:
        measuring(lambda x, y: returns(x), **options)
    assert "\n" not in str(error.value)
    driver = Loop(keras.Sequential([keras.Input((5,))]), lambda x, y: None, lambda x, y: returns(x), **options)
    with pytest.raises(Misuse, match=f"^{says}") as error:
        driver.evaluate(make_batches())
    assert "\n" not in str(error.value)


def test_results_of_as_many_values_as_a_batch_has_examples_are_refused_in_one_line():
    with pytest.raises(Misuse, match=r"^a step returned 'sums' of shape \(None,\); .* same at every step$"):
        measuring(lambda x, y: {"sums": tf.reduce_sum(x, axis=1)})


@keras.saving.register_keras_serializable()
class Extremes(keras.metrics.Metric):
    """Two results by name: the least and the most of what was predicted."""

    def __init__(self, name="extremes", **options):
        super().__init__(name=name, **options)
        self.least = self.add_weight(name="least", initializer=keras.initializers.Constant(np.inf))
        self.most = self.add_weight(name="most", initializer=keras.initializers.Constant(-np.inf))

    def update_state(self, y, outputs, sample_weight=None):
        self.least.assign(keras.ops.minimum(self.least, keras.ops.min(outputs)))
        self.most.assign(keras.ops.maximum(self.most, keras.ops.max(outputs)))

    def reset_state(self):
        self.least.assign(np.inf)
        self.most.assign(-np.inf)

    def result(self):
        return {"least": self.least + 0.0, "most": self.most + 0.0}  # values: logs with variables would change later


def several_results():
    """Parts with metrics of several results: an array of one for each class, and a mapping."""
    metrics = [keras.metrics.F1Score(average=None, name="f1"), Extremes()]
    parts = classifier(metrics=metrics)
    return parts._replace(loss=keras.losses.CategoricalCrossentropy(from_logits=True))


def listed(calls):
    """Return calls of hooks whose logs hold lists in the place of arrays."""
    return [(*call, {name: np.asarray(value).tolist() for name, value in logs.items()}) for *call, logs in calls]


@pytest.mark.parametrize("options", [{}, slow({"jit_compile": True})])
def test_metrics_of_several_results_reach_the_logs_value_by_value_as_in_fit(options):
    one_hot = np.eye(2, dtype=np.float32)[Y]
    batches = Batches((X, one_hot), BATCH, validation=(X[:30], one_hot[:30]))
    by_fit, by_loop, watching, a, b = Recording(), Recording(), Watching(), several_results(), several_results()
    fit_history = loops.fit(a, batches, [by_fit], **options)
    loop_history = loops.loop(b, batches, [by_loop, watching], steps_per_execution=1, **options)
    assert same_bytes(a.model, b.model)
    assert listed(by_loop.calls) == listed(by_fit.calls)
    names = {"loss", "f1", "least", "most"}
    assert loop_history.keys() == fit_history.keys() == names | {f"val_{name}" for name in names}
    for name, values in fit_history.items():
        np.testing.assert_array_equal(loop_history[name], values)
        assert np.shape(values) == ((2, 2) if name.endswith("f1") else (2,))
    assert watching.all_metrics("f1").shape == (26, 2)

    outputs = b.model(X[:30]).numpy()
    predicted = np.eye(2)[outputs.argmax(axis=1)]
    right = (predicted * one_hot[:30]).sum(axis=0)
    f1 = 2 * right / (predicted.sum(axis=0) + one_hot[:30].sum(axis=0))
    np.testing.assert_allclose(loop_history["val_f1"][-1], f1, rtol=1e-5)
    np.testing.assert_allclose(loop_history["val_least"][-1], outputs.min(), rtol=1e-5)
    np.testing.assert_allclose(loop_history["val_most"][-1], outputs.max(), rtol=1e-5)


@pytest.mark.parametrize("steps_per_execution", [None, slow(1), slow(5)])
def test_run_eagerly_steps_through_python_and_ends_with_the_bits_of_the_graph_and_of_eager_fit(steps_per_execution):
    traced, eager, graph, by_fit = [], classifier(), classifier(), classifier()
    watching, plain = Watching([3]), Watching([3])
    options = {"steps_per_execution": steps_per_execution}
    history = loops.loop(eager, make_batches(), [watching], traced=traced, run_eagerly=True, **options)
    assert traced == 2 * ([(BATCH, 5)] * 12 + [(4, 5)])  # in Python at every step, with batches that have a size
    loops.loop(graph, make_batches(), [plain], **options)
    fit_history = loops.fit(by_fit, make_batches(), run_eagerly=True)
    assert same_bytes(eager.model, graph.model)
    assert same_bytes(eager.model, by_fit.model)
    assert history == fit_history
    assert watching.calls == plain.calls
    assert watching.all_values("loss").tolist() == plain.all_values("loss").tolist()


@pytest.mark.parametrize("options", [slow(NESTED), slow(ONE_PROGRAM), slow(ONE_PROGRAM | {"steps_per_execution": 5})])
def test_a_loop_of_steps_compiled_with_xla_ends_with_the_bits_of_fit_with_xla(options):
    a, b = classifier(), classifier()
    fit_history = loops.fit(a, make_batches(), jit_compile=True)
    loop_history = loops.loop(b, make_batches(), **options)
    assert same_bytes(a.model, b.model)
    assert loop_history == fit_history


def test_a_chunk_is_seen_before_it_is_run():
    parts, weights = classifier(), []

    class Looks(StepCallback):
        def steps_to_watch(self, steps):
            return [4]

        def on_chunk_begin(self, first_step):
            weights.append((first_step, parts.model.get_weights()))

        def on_chunk_end(self, first_step, values, metrics):
            weights.append((first_step, parts.model.get_weights()))

    loops.loop(parts, make_batches(), [Looks()], epochs=1)
    assert [step for step, _ in weights] == [0, 0, 4, 4, 5, 5, 12, 12]
    changed = [
        any((one != other).any() for one, other in zip(before, after, strict=True))
        for (_, before), (_, after) in itertools.pairwise(weights)
    ]
    assert changed == [True, False, True, False, True, False, True]
