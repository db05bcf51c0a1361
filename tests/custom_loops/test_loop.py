"""The driver against `model.fit`: the same calls of the same hooks, the same stops, the same bits."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.shared import streaming
from recipes.shared.batches import Batches, Misuse, Shuffled
from recipes.shared.callbacks import StepCallback
from tests import loops
from tests.loops import BATCH, EXAMPLES, Recording, X, Y, classifier, make_batches, make_loop, same_bytes
from tests.trainings import slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("steps_per_execution", [slow(1), 5, slow(13), slow(20)])
def test_hooks_are_called_as_fit_calls_them(steps_per_execution):
    by_fit, by_loop = Recording(), Recording()
    loops.fit(classifier(), make_batches(), [by_fit], steps_per_execution=steps_per_execution)
    loops.loop(classifier(), make_batches(), [by_loop], steps_per_execution=steps_per_execution)
    assert by_loop.calls == by_fit.calls
    assert sum(name == "on_train_batch_end" for name, *_ in by_fit.calls) == 2 * -(-13 // steps_per_execution)


@pytest.mark.parametrize("steps_per_execution", [slow(1), 5])
@pytest.mark.parametrize("stop_at", [("on_train_batch_end", 4), ("on_epoch_end", 0), ("on_train_begin",)])
def test_stop_training_stops_where_fit_stops(steps_per_execution, stop_at):
    by_fit, by_loop, a, b = Recording(stop_at), Recording(stop_at), classifier(), classifier()
    loops.fit(a, make_batches(), [by_fit], epochs=3, steps_per_execution=steps_per_execution)
    loops.loop(b, make_batches(), [by_loop], epochs=3, steps_per_execution=steps_per_execution)
    assert by_loop.calls == by_fit.calls
    assert same_bytes(a.model, b.model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make_callbacks",
    [
        lambda: [keras.callbacks.EarlyStopping("val_loss", patience=0, restore_best_weights=True, min_delta=0.05)],
        lambda: [keras.callbacks.ReduceLROnPlateau("val_loss", patience=0, factor=0.1, min_delta=0.05)],
        lambda: [keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1))],
    ],
    ids=["EarlyStopping", "ReduceLROnPlateau", "LearningRateScheduler"],
)
def test_keras_callbacks_do_on_the_loop_what_they_do_in_fit(make_callbacks):
    a, b = classifier(), classifier()
    by_fit = loops.fit(a, make_batches(), make_callbacks(), epochs=8)
    by_loop = loops.loop(b, make_batches(), make_callbacks(), epochs=8)
    assert same_bytes(a.model, b.model)
    assert by_loop == by_fit


def test_a_callback_that_needs_a_compiled_model_is_refused_in_one_line():
    class Evaluates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.evaluate(np.zeros((2, 5)), np.zeros(2), verbose=0)

    with pytest.raises(Misuse, match="needs a compiled model") as error:
        loops.loop(classifier(), make_batches(), [Evaluates()])
    assert "\n" not in str(error.value)


def test_a_callbacks_own_error_is_not_hidden():
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        loops.loop(classifier(), make_batches(), [Fails()])


def test_epochs_yields_the_logs_of_every_epoch_as_it_ends():
    callback, batches = Recording(), make_batches()
    epochs = make_loop(classifier()).epochs(batches, epochs=3, callbacks=[callback])
    assert callback.calls == []
    yielded = []
    for logs in epochs:
        yielded.append(dict(logs))
        assert callback.calls[-1] == ("on_epoch_end", len(yielded) - 1, logs)
    assert len(yielded) == 3
    assert callback.calls[-1] == ("on_train_end", yielded[-1])
    history = loops.loop(classifier(), batches, epochs=3)
    assert {name: [logs[name] for logs in yielded] for name in history} == history
    assert history.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_the_callers_loop_stops_the_training_by_the_models_flag():
    stop_after, parts, callback, batches = 2, classifier(), Recording(), make_batches()
    driver = make_loop(parts)
    for epoch, _ in enumerate(driver.epochs(batches, epochs=5, callbacks=[callback]), start=1):
        driver.model.stop_training = epoch == stop_after
    assert [name for name, *_ in callback.calls].count("on_epoch_end") == stop_after
    assert [name for name, *_ in callback.calls].count("on_train_end") == 1
    assert callback.calls[-1][0] == "on_train_end"
    assert int(parts.optimizer.iterations) == 13 * stop_after
    shorter = classifier()
    loops.loop(shorter, batches, epochs=stop_after)
    assert same_bytes(driver.model, shorter.model)
    history = driver.train(batches, epochs=2)  # a flag that is still set stops nothing
    assert len(history["loss"]) == 2


@pytest.mark.parametrize("options", [{}, slow({"steps_per_execution": 5})])
def test_training_on_other_data_makes_no_new_trace(options):
    traced, parts = [], classifier()
    driver = make_loop(parts, traced, **options)
    driver.train(make_batches(), epochs=1)
    assert traced == [(None, 5)]
    before = [variable.numpy().copy() for variable in driver.model.variables]
    smaller = X[40:], 1 - Y[40:]  # 7 full batches and one of 4
    other = Batches(smaller, BATCH, seed=1, validation=smaller)
    driver.train(other, epochs=2)
    assert traced == [(None, 5)]
    assert int(parts.optimizer.iterations) == 13 + 2 * 8

    fresh = classifier()
    for variable, value in zip(fresh.model.variables, before, strict=True):
        variable.assign(value)
    loops.loop(fresh, other, **options)
    assert same_bytes(driver.model, fresh.model)  # it was the other data that it saw


def test_a_second_training_gives_the_history_of_a_first_on_the_same_weights():
    driver, batches = make_loop(classifier()), make_batches()
    initial = [variable.numpy().copy() for variable in driver.model.variables]
    histories = []
    for _ in range(2):
        for variable, value in zip(driver.model.variables, initial, strict=True):
            variable.assign(value)
        histories.append(driver.train(batches, epochs=2))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("penalty", [None, keras.regularizers.L2(0.5)], ids=["plain", "penalty"])
def test_evaluate_gives_the_metrics_of_keras_and_of_numpy(penalty, part):
    metrics = [
        keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        keras.metrics.SparseCategoricalCrossentropy(name="crossentropy", from_logits=True),
        keras.metrics.SparseTopKCategoricalAccuracy(k=1, name="top_1"),
    ]
    parts, batches = classifier(metrics=metrics), make_batches()
    model = parts.model
    model.layers[0].kernel.regularizer = penalty
    result = make_loop(parts).evaluate(batches, part)
    model.compile(loss=parts.loss, metrics=metrics, jit_compile=False)
    assert result == model.evaluate(batches.in_order(part), return_dict=True, verbose=0)

    x, y = (X, Y) if part == "train" else (X[:30], Y[:30])
    logits = model(x).numpy().astype(np.float64)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert result["crossentropy"] == pytest.approx(-log_softmax[np.arange(len(y)), y].mean(), rel=1e-6)
    squares = (model.layers[0].get_weights()[0].astype(np.float64) ** 2).sum()
    added = 0.5 * squares if penalty is not None else 0.0
    assert result["loss"] == pytest.approx(result["crossentropy"] + added, rel=1e-5)
    assert result["accuracy"] == result["top_1"] == pytest.approx((logits.argmax(axis=1) == y).mean())


def test_the_test_part_is_what_evaluate_takes_if_nothing_is_said():
    batches = make_batches(test=(X[50:], 1 - Y[50:]))
    driver = make_loop(classifier())
    assert driver.evaluate(batches) == driver.evaluate(batches, "test")
    assert driver.evaluate(batches) != driver.evaluate(batches, "validation")


def test_a_measurement_changes_no_variable_of_the_model():
    parts, batches = classifier(), make_batches()
    driver = make_loop(parts)
    before = [variable.numpy().tobytes() for variable in (*parts.model.variables, *parts.optimizer.variables)]
    first, second = (driver.evaluate(batches) for _ in range(2))
    assert first == second
    assert before == [variable.numpy().tobytes() for variable in (*parts.model.variables, *parts.optimizer.variables)]


def test_what_is_not_there_cannot_be_measured_and_is_named():
    driver = make_loop(classifier())
    with pytest.raises(Misuse, match="there is no test part in memory, only train"):
        driver.evaluate(Batches((X, Y), BATCH))
    with pytest.raises(Misuse, match="this loop has no test_step, so it cannot evaluate"):
        Loop(driver.model, driver.test_step).evaluate(make_batches())


def test_without_a_test_step_or_a_validation_part_nothing_is_validated():
    callback, parts = Recording(), classifier()
    optimizer = parts.optimizer

    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = parts.loss(y, parts.model(x, training=True))
        optimizer.apply(tape.gradient(loss, parts.model.trainable_variables), parts.model.trainable_variables)

    mean = keras.metrics.Mean(name="loss")
    assert Loop(parts.model, train_step, None, [mean], optimizer).train(make_batches(), epochs=1).keys() == {"loss"}
    assert loops.loop(classifier(), Batches((X, Y), BATCH), [callback]).keys() == {"loss", "accuracy"}
    assert not {name for name, *_ in callback.calls if "test" in name}


def test_a_test_step_of_ones_own_is_what_validation_and_test_measure():
    parts, calls = classifier(), []
    mean = keras.metrics.Mean(name="loss")

    def train_step(x, y):
        with tf.GradientTape() as tape:
            value = parts.loss(y, parts.model(x, training=True))
        variables = parts.model.trainable_variables
        parts.optimizer.apply(tape.gradient(value, variables), variables)
        mean.update_state(value)

    def test_step(x, y):
        calls.append(tuple(x.shape))
        mean.update_state(tf.reduce_max(tf.abs(x)))

    driver = Loop(parts.model, train_step, test_step, [mean], parts.optimizer)
    history = driver.train(make_batches(), epochs=2)
    largest = [np.abs(X[start : min(start + BATCH, 30)]).max() for start in range(0, 30, BATCH)]
    assert history["val_loss"] == pytest.approx([np.mean(largest)] * 2, rel=1e-6)
    assert history["loss"][1] < history["loss"][0] < 2
    assert driver.evaluate(make_batches(30))["loss"] == pytest.approx(np.abs(X[:30]).max())
    assert calls == [(None, 5)]


class Params(StepCallback):
    """Notes what it is told about the training."""

    def on_train_begin(self, logs=None):
        self.told = dict(self.params)


def test_callbacks_are_told_all_that_fit_tells_them():
    by_loop, by_fit = Params(), Params()
    loops.loop(classifier(), make_batches(), [by_loop])
    loops.fit(classifier(), make_batches(), [by_fit])
    assert by_loop.told.items() >= by_fit.told.items()
    assert (by_loop.told["steps"], by_loop.told["epochs"]) == (13, 2)
    assert by_fit.told
    assert by_fit.loop is None


def test_callbacks_find_the_loop_and_its_compiled_step():
    class Steps(Params):
        def on_train_begin(self, logs=None):
            super().on_train_begin()
            before = [variable.numpy().tobytes() for variable in self.model.variables]
            specs = tf.TensorSpec((None, 5), tf.float32), tf.TensorSpec((None,), tf.int32)
            self.graph = self.loop.train_step.get_concrete_function(*specs).graph
            self.used = self.loop.variables()
            assert before == [variable.numpy().tobytes() for variable in self.model.variables]  # traced, not run

    callback, traced, parts = Steps(), [], classifier()
    driver = make_loop(parts, traced)
    driver.train(make_batches(), epochs=1, callbacks=[callback])
    assert callback.loop is driver
    assert callback.told["loop"] is driver
    assert "MatMul" in {node.type for node in callback.graph.get_operations()}
    assert traced == [(None, 5)]  # the training uses the trace that the callback asked for
    metrics = [variable for metric in driver.metrics for variable in metric.variables]
    mine = [*parts.model.variables, parts.optimizer.iterations, parts.optimizer.learning_rate, *metrics]
    assert {id(variable.value) for variable in mine} == {id(variable) for variable in callback.used}


def frozen():
    """Parts whose first layer is frozen, and whose optimizer knows all variables and has a momentum of each."""
    parts = classifier(keras.optimizers.SGD(0.1, momentum=0.9))
    parts.optimizer.build(parts.model.variables)
    parts.model.layers[0].trainable = False
    return parts


@pytest.mark.parametrize("options", [{}, slow({"jit_compile": True}), {"steps_per_execution": 5}])
def test_a_layer_unfrozen_between_epochs_trains_from_then_on_as_in_fit_compiled_again(options):
    by_fit, by_loop, traced = frozen(), frozen(), []
    first = by_loop.model.layers[0]
    kernels = [first.kernel.numpy()]
    batches = make_batches()
    for epoch, _ in enumerate(make_loop(by_loop, traced, **options).epochs(batches, epochs=4), start=1):
        kernels.append(first.kernel.numpy())
        first.trainable = epoch >= 2
    assert [(kernel != kernels[0]).any() for kernel in kernels] == [False, False, False, True, True]
    assert len(traced) == 2  # once before, once after

    model, optimizer, loss, metrics = by_fit
    for begin, end in ((0, 2), (2, 4)):
        model.layers[0].trainable = begin > 0
        model.compile(optimizer, loss, metrics=metrics, jit_compile=options.get("jit_compile", False))
        model.fit(batches.train, initial_epoch=begin, epochs=end, shuffle=False, callbacks=[batches], verbose=0)
    assert same_bytes(model, by_loop.model)
    assert same_bytes(optimizer, by_loop.optimizer)


def test_a_layer_unfrozen_in_a_second_network_trains_from_then_on():
    parts, optimizer = frozen(), keras.optimizers.SGD(0.1)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])

    def train_step(x, y):
        variables = parts.model.trainable_variables
        with tf.GradientTape() as tape:
            loss = parts.loss(y, parts.model(x, training=True))
        parts.optimizer.apply(tape.gradient(loss, variables), variables)

    driver = Loop(model, train_step, optimizers={optimizer: model, parts.optimizer: parts.model})
    assert model.optimizers == [optimizer, parts.optimizer]
    first = parts.model.layers[0]
    before = first.kernel.numpy()
    for _ in driver.epochs(make_batches(), epochs=2):
        assert (first.kernel.numpy() != before).any() == first.trainable
        first.trainable = True


class Adversaries(keras.Model):
    """A generator and a discriminator of least squares, each with its own optimizer, trained by fit."""

    def __init__(self):
        super().__init__()
        keras.utils.set_random_seed(0)
        layers = keras.layers
        self.generator = keras.Sequential([keras.Input((3,)), layers.Dense(8, activation="relu"), layers.Dense(5)])
        self.discriminator = keras.Sequential([keras.Input((5,)), layers.Dense(8, activation="relu"), layers.Dense(1)])
        self.generators, self.discriminators = keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.05, momentum=0.9)
        self.fooling, self.judging = keras.metrics.Mean(name="fooling"), keras.metrics.Mean(name="judging")

    def compile(self, **options):
        super().compile(**options)
        self.generators.build(self.generator.trainable_variables)
        self.discriminators.build(self.discriminator.trainable_variables)

    @property
    def metrics(self):
        return [self.fooling, self.judging]

    def update(self, noise, real):
        with tf.GradientTape() as tape:
            made = self.generator(noise, training=False)
            judged = self.discriminator(real, training=True) - 1, self.discriminator(made, training=True)
            judging = tf.reduce_mean(tf.square(judged[0])) + tf.reduce_mean(tf.square(judged[1]))
        variables = self.discriminator.trainable_variables
        self.discriminators.apply(tape.gradient(judging, variables), variables)
        with tf.GradientTape() as tape:
            made = self.generator(noise, training=True)
            fooling = tf.reduce_mean(tf.square(self.discriminator(made, training=False) - 1))
        variables = self.generator.trainable_variables
        self.generators.apply(tape.gradient(fooling, variables), variables)
        self.fooling.update_state(fooling)
        self.judging.update_state(judging)
        return {"fooling": fooling, "judging": judging}

    def train_step(self, data):
        self.update(*data)
        return {metric.name: metric.result() for metric in self.metrics}


@pytest.mark.parametrize("options", [{}, slow({"jit_compile": True})])
def test_two_networks_with_an_optimizer_each_end_with_the_bits_of_fit(options):
    noise = np.random.default_rng(1).normal(size=(EXAMPLES, 3)).astype(np.float32)
    batches, a, b = Batches((noise, X), BATCH), Adversaries(), Adversaries()
    a.compile(**{"jit_compile": False} | options)
    by_fit = a.fit(batches.train, epochs=3, shuffle=False, callbacks=[batches], verbose=0).history
    optimizers = {b.generators: b.generator, b.discriminators: b.discriminator}
    driver = Loop(b, b.update, metrics=b.metrics, optimizers=optimizers, **options)
    assert b.optimizers == [b.generators, b.discriminators]
    watching = loops.Watching()
    assert driver.train(batches, epochs=3, callbacks=[watching]) == by_fit
    for one, other in zip((a.generator, a.discriminator), (b.generator, b.discriminator), strict=True):
        assert same_bytes(one, other)
    for one, other in ((a.generators, b.generators), (a.discriminators, b.discriminators)):
        assert int(one.iterations) == 3 * 13
        assert same_bytes(one, other)
    for name in ("fooling", "judging"):
        means = watching.all_values(name).reshape(3, 13).mean(axis=1, dtype=np.float64)
        np.testing.assert_allclose(by_fit[name], means, rtol=1e-6)


@pytest.fixture(
    params=[slow((100,)), (40, 7, 53), slow((9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 10))], ids=["1", "3", "11 shards"]
)
def in_memory_and_streamed(request, monkeypatch):
    """Batches of examples in memory, as shards, and of a stream of them in blocks of at most 3 steps."""
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 3 * BATCH * X[0].nbytes)
    shards = request.param
    held_out = X[:30], Y[:30]
    order = Shuffled(EXAMPLES, BATCH, shards)
    return (
        Batches((X, Y), BATCH, validation=held_out, order=order),
        Batches(loops.stream(shards), BATCH, validation=held_out, order=order),
    )


@pytest.mark.parametrize(
    ("steps_per_execution", "options"),
    [
        (None, {}),
        (5, {}),
        *(slow(steps, {}) for steps in (1, 2, 13, 20)),
        *(slow(steps, {"jit_compile": True}) for steps in (None, 5)),
    ],
)
def test_a_stream_ends_with_the_bytes_and_the_hooks_of_the_part_in_memory(
    in_memory_and_streamed, steps_per_execution, options
):
    hooks, models, histories = [], [], []
    for batches in in_memory_and_streamed:
        hooks.append(Recording())
        parts = classifier()
        histories.append(loops.loop(parts, batches, [hooks[-1]], 3, steps_per_execution=steps_per_execution, **options))
        models.append(parts.model)
    assert same_bytes(*models)
    assert histories[0] == histories[1]
    assert hooks[0].calls == hooks[1].calls


@pytest.mark.parametrize("steps_per_execution", [slow(1), 5])
def test_fit_on_a_stream_is_the_loop_on_it(in_memory_and_streamed, steps_per_execution):
    by_fit, by_loop, a, b = Recording(), Recording(), classifier(), classifier()
    _, streamed = in_memory_and_streamed
    loops.fit(a, streamed, [by_fit], steps_per_execution=steps_per_execution)
    loops.loop(b, streamed, [by_loop], steps_per_execution=steps_per_execution)
    assert by_fit.calls == by_loop.calls
    assert same_bytes(a.model, b.model)


@pytest.mark.slow
@pytest.mark.parametrize("watched", [[0, 3, 11], slow(range(13))])
def test_watched_steps_of_a_stream_are_chunks_of_their_own(in_memory_and_streamed, watched):
    plain, watching, a, b = loops.Watching(), loops.Watching(watched), classifier(), classifier()
    _, streamed = in_memory_and_streamed
    loops.loop(a, streamed, [plain])
    loops.loop(b, streamed, [watching])
    assert same_bytes(a.model, b.model)
    assert plain.ended == 2 * [(0, 3), (3, 3), (6, 3), (9, 3), (12, 1)]
    assert {(step, 1) for step in watched} <= set(watching.ended)
    assert watching.all_values("loss").tolist() == plain.all_values("loss").tolist()


@pytest.mark.slow
def test_stopping_amid_a_stream_stops_it(in_memory_and_streamed):
    stops, both = [], []
    for batches in in_memory_and_streamed:
        stops.append(Recording(("on_train_batch_end", 4)))
        parts = classifier()
        loops.loop(parts, batches, [stops[-1]], steps_per_execution=1)
        both.append(parts.model)
    for stop in stops:
        assert [name for name, *_ in stop.calls].count("on_train_batch_end") == 5
    assert same_bytes(*both)


TAKEN = (
    "custom_loops/loop.py",
    "custom_loops/chunks.py",
    "recipes/shared/batches.py",
    "recipes/shared/callbacks.py",
)
ALONE = """
import importlib, json, sys
sys.path[:0] = [sys.argv[1]]  # after which comes the standard library
sys.path.append(sys.argv[2])  # where TensorFlow is
import keras, numpy as np, tensorflow as tf
from custom_loops.loop import Loop
from recipes.shared.batches import Batches

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x = random.normal(size=(100, 5)).astype(np.float32)
y = (x @ np.arange(1, 6))[:, None].astype(np.float32)
model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
optimizer, mean_loss = keras.optimizers.SGD(0.05), keras.metrics.Mean(name="loss")

def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
    optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    mean_loss.update_state(loss)
    return {"loss": loss}

history = Loop(model, train_step, None, [mean_loss], optimizer).train(Batches((x, y), 8), epochs=20)
missing = []
for name in ("recipes.shared.data", "recipes.shared.run", "recipes.commands", "custom_loops.supervised"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        missing.append(name)
files = {module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in ("recipes", "custom_loops")}
kernel = model.layers[0].kernel.numpy()
print(json.dumps([history["loss"], kernel.ravel().tolist(), missing, sorted(files)]))
"""


@pytest.mark.process
def test_four_files_and_a_train_step_are_all_it_takes(tmp_path):
    for name in TAKEN:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    packages = ("custom_loops", "recipes", "recipes/shared")
    for package in packages:
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "train.py").write_text(ALONE, encoding="utf-8")
    # -S: no .pth file in site-packages leads back to this project
    command = [sys.executable, "-I", "-S", tmp_path / "train.py", tmp_path, Path(keras.__file__).parents[1]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    losses, kernel, missing, files = json.loads(done.stdout)
    assert losses[-1] < 1e-3 < losses[0]
    np.testing.assert_allclose(kernel, np.arange(1, 6), atol=0.05)
    assert missing == ["recipes.shared.data", "recipes.shared.run", "recipes.commands", "custom_loops.supervised"]
    assert files == sorted(str(tmp_path / name) for name in (*TAKEN, *(f"{each}/__init__.py" for each in packages)))
