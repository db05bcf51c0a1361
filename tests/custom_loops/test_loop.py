"""The driver against `model.fit`: the same calls of the same hooks, the same stops; and no tracing without need."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops import loop
from recipes.shared import data, losses, streaming
from recipes.shared.errors import UsageError
from tests.trainings import slow

EXAMPLES, BATCH = 100, 8  # 12 full batches and one of 4
HOOKS = {
    f"on_{what}_{when}" for what in ("train", "epoch", "train_batch", "test", "test_batch") for when in ("begin", "end")
}


class Recording(keras.callbacks.Callback):
    """Writes down every call of every hook."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.calls = []
        self.stop_at = stop_at

    def __getattribute__(self, name):
        if name not in HOOKS:
            return super().__getattribute__(name)

        def hook(*args, logs=None):
            index = [value for value in args if isinstance(value, int)]
            logs = next((value for value in args if isinstance(value, dict)), logs)
            self.calls.append((name, *index, dict(logs or {})))
            if (name, *index) == self.stop_at:
                self.model.stop_training = True

        return hook


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)
    x = random.normal(size=(EXAMPLES, 5)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(np.int32)
    split = data.Split(x, y)
    held_out = data.Split(x[:30], y[:30])
    return data.Dataset(split, held_out, held_out, keras.Sequential([keras.Input((5,))]), ("no", "yes"))


def build():
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return model, keras.optimizers.SGD(0.1), loss


def fit(dataset, callbacks, steps_per_execution, epochs=2):
    model, optimizer, loss = build()
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(optimizer, loss, metrics=[accuracy], steps_per_execution=steps_per_execution, jit_compile=False)
    order = data.EpochOrder(dataset.train, 0)
    model.fit(
        order.batches(BATCH),
        validation_data=data.batches(dataset.validation, BATCH),
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[order, *callbacks],
    )
    return model


def run_loop(dataset, callbacks, steps_per_execution, epochs=2, traced=None, **options):
    model, optimizer, loss = build()
    metrics = [keras.metrics.Mean(name="loss"), keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def train_step(x, y):
        if traced is not None:
            traced.append(x.shape)
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            total = losses.total(loss(y, logits), model.losses)
        optimizer.apply(tape.gradient(total, model.trainable_variables), model.trainable_variables)
        metrics[0].update_state(total, sample_weight=tf.shape(x)[0])
        metrics[1].update_state(y, logits)
        return total

    driver = loop.Loop(model, train_step, loss, metrics, optimizer, steps_per_execution=steps_per_execution, **options)
    return model, driver.train(dataset, batch_size=BATCH, epochs=epochs, seed=0, callbacks=callbacks)


def same_bytes(a, b):
    return [v.numpy().tobytes() for v in a.variables] == [v.numpy().tobytes() for v in b.variables]


@pytest.mark.parametrize("steps_per_execution", [slow(1), 5, slow(13), slow(20)])
def test_hooks_are_called_as_fit_calls_them(dataset, steps_per_execution):
    by_fit, by_loop = Recording(), Recording()
    fit(dataset, [by_fit], steps_per_execution)
    run_loop(dataset, [by_loop], steps_per_execution)
    assert by_loop.calls == by_fit.calls
    assert sum(name == "on_train_batch_end" for name, *_ in by_fit.calls) == 2 * -(-13 // steps_per_execution)


@pytest.mark.parametrize("steps_per_execution", [slow(1), 5])
@pytest.mark.parametrize("stop_at", [("on_train_batch_end", 4), ("on_epoch_end", 0), ("on_train_begin",)])
def test_stop_training_stops_where_fit_stops(dataset, steps_per_execution, stop_at):
    by_fit, by_loop = Recording(stop_at), Recording(stop_at)
    a = fit(dataset, [by_fit], steps_per_execution, epochs=3)
    b, _ = run_loop(dataset, [by_loop], steps_per_execution, epochs=3)
    assert by_loop.calls == by_fit.calls
    assert same_bytes(a, b)


@pytest.mark.parametrize(
    "make_callbacks",
    [
        lambda: [keras.callbacks.EarlyStopping("val_loss", patience=0, restore_best_weights=True, min_delta=0.05)],
        lambda: [keras.callbacks.ReduceLROnPlateau("val_loss", patience=0, factor=0.1, min_delta=0.05)],
        lambda: [keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1))],
    ],
    ids=["EarlyStopping", "ReduceLROnPlateau", "LearningRateScheduler"],
)
def test_keras_callbacks_do_on_the_loop_what_they_do_in_fit(dataset, make_callbacks):
    a = fit(dataset, make_callbacks(), 1, epochs=8)
    b, history = run_loop(dataset, make_callbacks(), None, epochs=8)
    assert same_bytes(a, b)
    assert history == a.history.history


def test_a_callback_that_needs_a_compiled_model_is_refused_in_one_line(dataset):
    class Evaluates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.evaluate(np.zeros((2, 5)), np.zeros(2), verbose=0)

    with pytest.raises(UsageError, match="needs a compiled model") as error:
        run_loop(dataset, [Evaluates()], None)
    assert "\n" not in str(error.value)


def test_a_callbacks_own_error_is_not_hidden(dataset):
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run_loop(dataset, [Fails()], None)


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
    dataset, monkeypatch, options, steps_per_execution, batch_size
):
    chunks, traced = [], []  # whether each trace of a chunk is of training, and the batches that steps were traced for
    tensor_array = tf.TensorArray
    monkeypatch.setattr(tf, "TensorArray", lambda *args, **kw: chunks.append(None) or tensor_array(*args, **kw))
    driver = driver_of(dataset, traced=traced, steps_per_execution=steps_per_execution, **options)
    counts = []
    for _ in driver.epochs(dataset, batch_size=batch_size, epochs=3, seed=0):
        counts.append((len(chunks), len(traced)))
    driver.optimizer.learning_rate = 0.5
    driver.train(dataset, batch_size=batch_size, epochs=1, seed=1)

    full_steps, short = divmod(EXAMPLES, batch_size)
    size = steps_per_execution or full_steps
    lengths = {length for length in (min(size, full_steps), full_steps % max(size, 1)) if length}  # full chunk, tail
    programs = {length for length in lengths if length > 1} if options is ONE_PROGRAM else set()
    any_size = lengths != programs or bool(short)  # batches of any size, in chunks of any length, share one
    assert traced == [(None, 5)]  # the step itself only once, as in fit
    assert len(chunks) == len(programs) + any_size + 1  # the last is that of validation
    assert counts == [(len(chunks), len(traced))] * 3


def test_callbacks_that_ask_for_it_see_every_single_step(dataset):
    class Steps(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.losses = []

        def on_train_chunk_end(self, first_step, logs, losses):
            assert first_step == len(self.losses)
            self.losses += logs["loss"].tolist()

    steps, batches = Steps(), Recording()
    run_loop(dataset, [steps], None, epochs=1)
    fit(dataset, [batches], 1, epochs=1)
    assert steps.losses == [logs["loss"] for name, *_, logs in batches.calls if name == "on_train_batch_end"]


def test_evaluate_gives_the_metrics_of_keras(dataset):
    model, _, loss = build()
    metrics = [keras.metrics.Mean(name="loss")]
    result = loop.Loop(model, None, loss, metrics).evaluate(dataset.train, batch_size=BATCH)
    model.compile(loss=loss, jit_compile=False)
    batches = data.batches(dataset.train, BATCH)
    assert result == model.evaluate(batches, return_dict=True, verbose=0)
    logits = model(dataset.train.x).numpy().astype(np.float64)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert result["loss"] == pytest.approx(-log_softmax[np.arange(EXAMPLES), dataset.train.y].mean(), rel=1e-6)


class Params(keras.callbacks.Callback):
    """Notes what it is told about the training."""

    def on_train_begin(self, logs=None):
        self.told = dict(self.params)


def driver_of(dataset, penalty=None, traced=None, **options):
    """Return a driver with a model of its own, and what its training step was traced with."""
    model, optimizer, loss = build()
    model.layers[0].kernel.regularizer = penalty
    metrics = [
        keras.metrics.Mean(name="loss"),
        keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        keras.metrics.SparseCategoricalCrossentropy(name="crossentropy", from_logits=True),
        keras.metrics.SparseTopKCategoricalAccuracy(k=1, name="top_1"),
    ]
    traced = [] if traced is None else traced

    def train_step(x, y):
        traced.append(tuple(x.shape))
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            total = losses.total(loss(y, logits), model.losses)
        optimizer.apply(tape.gradient(total, model.trainable_variables), model.trainable_variables)
        metrics[0].update_state(total, sample_weight=tf.shape(x)[0])
        for metric in metrics[1:]:
            metric.update_state(y, logits)
        return total

    return loop.Loop(model, train_step, loss, metrics, optimizer, **options)


def test_epochs_yields_the_logs_of_every_epoch_as_it_ends(dataset):
    callback = Recording()
    epochs = driver_of(dataset).epochs(dataset, batch_size=BATCH, epochs=3, seed=0, callbacks=[callback])
    assert callback.calls == []
    yielded = []
    for logs in epochs:
        yielded.append(dict(logs))
        assert callback.calls[-1] == ("on_epoch_end", len(yielded) - 1, logs)
    assert len(yielded) == 3
    assert callback.calls[-1] == ("on_train_end", yielded[-1])
    history = driver_of(dataset).train(dataset, batch_size=BATCH, epochs=3, seed=0)
    assert {name: [logs[name] for logs in yielded] for name in history} == history
    names = {"loss", "accuracy", "crossentropy", "top_1"}
    assert history.keys() == names | {f"val_{name}" for name in names}


def test_the_callers_loop_stops_the_training_by_the_models_flag(dataset):
    stop_after, driver, callback = 2, driver_of(dataset), Recording()
    for epoch, _ in enumerate(
        driver.epochs(dataset, batch_size=BATCH, epochs=5, seed=0, callbacks=[callback]), start=1
    ):
        driver.model.stop_training = epoch == stop_after
    assert [name for name, *_ in callback.calls].count("on_epoch_end") == stop_after
    assert [name for name, *_ in callback.calls].count("on_train_end") == 1
    assert callback.calls[-1][0] == "on_train_end"
    assert int(driver.optimizer.iterations) == 13 * stop_after
    shorter = driver_of(dataset)
    shorter.train(dataset, batch_size=BATCH, epochs=stop_after, seed=0)
    assert same_bytes(driver.model, shorter.model)
    history = driver.train(dataset, batch_size=BATCH, epochs=2, seed=0)  # a flag that is still set stops nothing
    assert len(history["loss"]) == 2


@pytest.mark.parametrize("options", [{}, slow({"steps_per_execution": 5})])
def test_training_on_other_data_makes_no_new_trace(dataset, options):
    traced = []
    driver = driver_of(dataset, traced=traced, **options)
    driver.train(dataset, batch_size=BATCH, epochs=1, seed=0)
    assert traced == [(None, 5)]
    before = [variable.numpy().copy() for variable in driver.model.variables]
    smaller = data.Split(dataset.train.x[40:], 1 - dataset.train.y[40:])  # 7 full batches and one of 4
    other = data.Dataset(smaller, smaller, smaller, dataset.preprocessing, dataset.class_names)
    driver.train(other, batch_size=BATCH, epochs=2, seed=1)
    assert traced == [(None, 5)]
    assert int(driver.optimizer.iterations) == 13 + 2 * 8

    fresh = driver_of(other, **options)
    for variable, value in zip(fresh.model.variables, before, strict=True):
        variable.assign(value)
    fresh.train(other, batch_size=BATCH, epochs=2, seed=1)
    assert same_bytes(driver.model, fresh.model)  # it was the other data that it saw


def test_a_second_training_gives_the_history_of_a_first_on_the_same_weights(dataset):
    driver = driver_of(dataset)
    initial = [variable.numpy().copy() for variable in driver.model.variables]
    histories = []
    for _ in range(2):
        for variable, value in zip(driver.model.variables, initial, strict=True):
            variable.assign(value)
        histories.append(driver.train(dataset, batch_size=BATCH, epochs=2, seed=0))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("penalty", [None, keras.regularizers.L2(0.5)], ids=["plain", "penalty"])
def test_the_test_step_measures_what_keras_measures(dataset, penalty):
    driver = driver_of(dataset, penalty)
    result = driver.evaluate(dataset.train, batch_size=BATCH)
    model = driver.model
    metrics = [
        keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        keras.metrics.SparseCategoricalCrossentropy(name="crossentropy", from_logits=True),
        keras.metrics.SparseTopKCategoricalAccuracy(k=1, name="top_1"),
    ]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=metrics, jit_compile=False)
    assert result == model.evaluate(data.batches(dataset.train, BATCH), return_dict=True, verbose=0)
    squares = (model.layers[0].get_weights()[0].astype(np.float64) ** 2).sum()
    added = 0.5 * squares if penalty is not None else 0.0
    assert result["loss"] == pytest.approx(result["crossentropy"] + added, rel=1e-5)
    predicted = model.predict(dataset.train.x, verbose=0).argmax(axis=1)
    assert result["accuracy"] == result["top_1"] == pytest.approx((predicted == dataset.train.y).mean())


def test_a_measurement_changes_no_variable_of_the_model(dataset):
    driver = driver_of(dataset)
    before = [variable.numpy().tobytes() for variable in (*driver.model.variables, *driver.optimizer.variables)]
    first, second = (driver.evaluate(dataset.train, batch_size=BATCH) for _ in range(2))
    assert first == second
    assert before == [variable.numpy().tobytes() for variable in (*driver.model.variables, *driver.optimizer.variables)]


@pytest.mark.parametrize("rate", [0.25, lambda updates: 0.1], ids=["number", "function"])
def test_callbacks_are_told_the_learning_rate(dataset, rate):
    callback = Params()
    driver_of(dataset, learning_rate=rate).train(dataset, batch_size=BATCH, epochs=1, seed=0, callbacks=[callback])
    assert callback.told["learning_rate"] is rate
    assert (callback.told["steps"], callback.told["epochs"]) == (13, 1)


def test_callbacks_are_told_all_that_fit_tells_them(dataset):
    by_loop, by_fit = Params(), Params()
    driver_of(dataset).train(dataset, batch_size=BATCH, epochs=2, seed=0, callbacks=[by_loop])
    fit(dataset, [by_fit], 1)
    assert by_loop.told.items() >= by_fit.told.items()
    assert by_loop.told["learning_rate"] is None
    assert by_fit.told


class Watching(keras.callbacks.Callback):
    """Asks to see the steps `watched` alone, and notes every call of the hooks of chunks and executions."""

    def __init__(self, watched=()):
        super().__init__()
        self.watched, self.asked = set(watched), []
        self.begun, self.ended, self.calls = [], [], []
        self.losses, self.means = [], []

    def steps_to_watch(self, steps):
        self.asked.append(steps)
        return self.watched

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("batch_begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("batch_end", batch))

    def on_train_chunk_begin(self, first_step):
        self.calls.append(("chunk_begin", first_step))
        self.begun.append(first_step)

    def on_train_chunk_end(self, first_step, logs, losses):
        self.calls.append(("chunk_end", first_step))
        self.ended.append((first_step, len(losses)))
        assert {name: len(values) for name, values in logs.items()} == dict.fromkeys(logs, len(losses))
        self.losses += losses.tolist()
        self.means += logs["loss"].tolist()


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
def test_steps_that_a_callback_watches_are_chunks_of_their_own(dataset, steps_per_execution, watched, chunks):
    callback = Watching(watched)
    run_loop(dataset, [callback], steps_per_execution)
    assert callback.asked == [13, 13]
    assert callback.ended == 2 * chunks
    assert callback.begun == 2 * [first for first, _ in chunks]


def test_the_steps_that_several_callbacks_watch_are_all_watched(dataset):
    several = [Watching([3]), keras.callbacks.Callback(), Watching([3, 7])]
    run_loop(dataset, several, None, epochs=1)
    assert [first for first, _ in several[0].ended] == [0, 3, 4, 7, 8, 12]
    assert several[0].ended == several[2].ended


def test_the_hooks_of_a_chunk_lie_between_those_of_its_execution(dataset):
    callback = Watching([6])
    run_loop(dataset, [callback], 8, epochs=1)
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
def test_watching_changes_no_bit_and_traces_nothing_again(dataset, options, watched):
    traced = []
    plain, plain_history = run_loop(dataset, [], None, **options)
    model, history = run_loop(dataset, [Watching(watched)], None, traced=traced, **options)
    assert same_bytes(plain, model)
    assert history == plain_history
    assert traced == [(None, 5)]


@pytest.mark.parametrize("steps_per_execution", [None, 5])
def test_callbacks_get_the_loss_of_every_step_itself(dataset, steps_per_execution):
    callback, weights = Watching(), []
    run_loop(dataset, [callback], steps_per_execution, epochs=1)

    class Before(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            weights.append([array.astype(np.float64) for array in self.model.get_weights()])

    fit(dataset, [Before()], 1, epochs=1)
    order, expected = data.epoch_order(EXAMPLES, 0, 0).numpy(), []
    for step, (kernel, bias, other_kernel, other_bias) in enumerate(weights):
        rows = order[step * BATCH : (step + 1) * BATCH]
        logits = np.maximum(dataset.train.x[rows] @ kernel + bias, 0) @ other_kernel + other_bias
        log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected.append(-log_softmax[np.arange(len(rows)), dataset.train.y[rows]].mean())
    np.testing.assert_allclose(callback.losses, expected, rtol=1e-5)
    seen = np.minimum(np.arange(1, 14) * BATCH, EXAMPLES)
    np.testing.assert_allclose(callback.means, np.cumsum(expected * np.diff(seen, prepend=0)) / seen, rtol=1e-5)


def test_callbacks_are_told_the_loss_and_the_compiled_step(dataset):
    class Steps(Params):
        def on_train_begin(self, logs=None):
            super().on_train_begin()
            before = [variable.numpy().tobytes() for variable in self.model.variables]
            specs = tf.TensorSpec((None, 5), tf.float32), tf.TensorSpec((None,), tf.int32)
            self.graph = self.params["train_step"].get_concrete_function(*specs).graph
            assert before == [variable.numpy().tobytes() for variable in self.model.variables]  # traced, not run

    callback, traced = Steps(), []
    driver = driver_of(dataset, traced=traced)
    driver.train(dataset, batch_size=BATCH, epochs=1, seed=0, callbacks=[callback])
    assert callback.told["loss"] is driver.loss
    assert isinstance(driver.loss, keras.losses.SparseCategoricalCrossentropy)
    assert "MatMul" in {node.type for node in callback.graph.get_operations()}
    assert traced == [(None, 5)]  # the training uses the trace that the callback asked for


def test_a_test_step_of_ones_own_is_what_validation_and_test_measure(dataset):
    model, optimizer, loss = build()
    metrics, calls = [keras.metrics.Mean(name="loss")], []

    def train_step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        metrics[0].update_state(value)
        return value

    def test_step(x, y):
        calls.append(tuple(x.shape))
        largest = tf.reduce_max(tf.abs(x))
        metrics[0].update_state(largest)
        return largest

    driver = loop.Loop(model, train_step, loss, metrics, optimizer, test_step=test_step)
    history = driver.train(dataset, batch_size=BATCH, epochs=2, seed=0)
    largest = [np.abs(dataset.validation.x[start : start + BATCH]).max() for start in range(0, 30, BATCH)]
    assert history["val_loss"] == pytest.approx([np.mean(largest)] * 2, rel=1e-6)
    assert history["loss"][1] < history["loss"][0] < 2
    assert driver.evaluate(dataset.test, batch_size=30)["loss"] == pytest.approx(np.abs(dataset.test.x).max())
    assert calls == [(None, 5)]


def forgets_to_return(metrics):
    def step(x, y):
        metrics[0].update_state(0.0)

    return step


@pytest.mark.parametrize(
    "use",
    [
        lambda driver, dataset: driver.train(dataset, batch_size=BATCH, epochs=1, seed=0),
        lambda driver, dataset: driver.evaluate(dataset.test, batch_size=BATCH),
    ],
    ids=["train_step", "test_step"],
)
def test_a_step_that_returns_no_loss_is_refused_in_one_line(dataset, use):
    model, _, loss = build()
    metrics = [keras.metrics.Mean(name="loss")]
    driver = loop.Loop(model, forgets_to_return(metrics), loss, metrics, test_step=forgets_to_return(metrics))
    with pytest.raises(UsageError, match="must return the loss of their batch") as error:
        use(driver, dataset)
    assert "\n" not in str(error.value)


@pytest.fixture(
    params=[slow((100,)), (40, 7, 53), slow((9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 10))], ids=["1", "3", "11 shards"]
)
def streamed(request, dataset, monkeypatch):
    """The data set in memory, as shards, and as a stream of them in blocks of at most 3 steps."""
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 3 * BATCH * dataset.train.x[0].nbytes)
    sizes, x, y = request.param, dataset.train.x, dataset.train.y
    ends = np.cumsum(sizes)

    def read(shard):
        rows = slice(ends[shard] - sizes[shard], ends[shard])
        return x[rows], y[rows]

    in_memory = dataclasses.replace(dataset, train=data.Split(x, y, sizes))
    as_it_is = keras.Sequential([keras.Input((5,)), keras.layers.Identity()])
    return in_memory, dataclasses.replace(dataset, train=streaming.Streamed(read, sizes, as_it_is))


@pytest.mark.parametrize(
    ("steps_per_execution", "options"),
    [
        (None, {}),
        (5, {}),
        *(slow(steps, {}) for steps in (1, 2, 13, 20)),
        *(slow(steps, {"jit_compile": True}) for steps in (None, 5)),
    ],
)
def test_a_stream_ends_with_the_bytes_and_the_hooks_of_the_part_in_memory(streamed, steps_per_execution, options):
    hooks, models, histories = [], [], []
    for each in streamed:
        hooks.append(Recording())
        model, history = run_loop(each, [hooks[-1]], steps_per_execution, epochs=3, **options)
        models.append(model)
        histories.append(history)
    assert same_bytes(*models)
    assert histories[0] == histories[1]
    assert hooks[0].calls == hooks[1].calls


@pytest.mark.parametrize("steps_per_execution", [slow(1), 5])
def test_fit_on_a_stream_is_the_loop_on_it(streamed, steps_per_execution):
    by_fit, by_loop = Recording(), Recording()
    a = fit(streamed[1], [by_fit], steps_per_execution)
    b, _ = run_loop(streamed[1], [by_loop], steps_per_execution)
    assert by_fit.calls == by_loop.calls
    assert same_bytes(a, b)


@pytest.mark.parametrize("watched", [[0, 3, 11], slow(range(13))])
def test_watched_steps_of_a_stream_are_chunks_of_their_own(streamed, watched):
    plain, watching = Watching(), Watching(watched)
    a, _ = run_loop(streamed[1], [plain], None)
    b, _ = run_loop(streamed[1], [watching], None)
    assert same_bytes(a, b)
    assert plain.ended == 2 * [(0, 3), (3, 3), (6, 3), (9, 3), (12, 1)]
    assert {(step, 1) for step in watched} <= set(watching.ended)
    assert watching.losses == plain.losses


def test_stopping_amid_a_stream_stops_it(streamed):
    stop = Recording(("on_train_batch_end", 4))
    models = [run_loop(each, [Recording(("on_train_batch_end", 4))], 1)[0] for each in streamed]
    run_loop(streamed[1], [stop], 1)
    assert [name for name, *_ in stop.calls].count("on_train_batch_end") == 5
    assert same_bytes(*models)
