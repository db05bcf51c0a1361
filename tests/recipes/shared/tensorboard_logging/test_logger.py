"""What TensorBoard gets while a model trains, read back from the event files by TensorBoard's own reader."""

import functools
import itertools
import math
import resource
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata

from custom_loops.loop import Loop
from recipes.shared import losses, state
from recipes.shared.batches import epoch_order
from recipes.shared.data import Dataset, Split
from recipes.shared.hparams import HParams
from recipes.shared.logging_options import LoggingOptions
from recipes.shared.run import Run
from recipes.shared.tasks.classification import Classification
from recipes.shared.tasks.regression import Regression
from recipes.shared.tensorboard_logging import pictures
from recipes.shared.tensorboard_logging.logger import TensorBoardLogger
from tests.trainings import slow

X = np.linspace(-1, 1, 23, dtype=np.float32)[:, None]  # 12 steps of two; the last is short
STEPS, BATCH, RATE, PENALTY = 12, 2, 0.1, 0.05
SPLIT = Split(X, 2 * X + 0.3)
DATASET = Dataset(SPLIT, Split(X[3:], 3 * X[3:]), SPLIT, preprocessing=None, task=Regression())
HPARAMS = HParams(learning_rate=0.25, batch_size=BATCH)
SCALARS = LoggingOptions(level="scalars")
SCHEDULE = keras.optimizers.schedules.PolynomialDecay(0.1, 24, end_learning_rate=0.0)
SPEED = {"epoch_steps_per_second", "epoch_examples_per_second", "epoch_memory_mib"}  # no two runs have the same


def batches_of(dataset=DATASET, batch_size=BATCH):
    return dataset.batches(HParams(batch_size=batch_size))


def accumulated(folder):
    everything = {"scalars": 0, "tensors": 0, "images": 0}
    return EventAccumulator(str(folder), size_guidance=everything).Reload()


def read(folder):
    """Return {tag: [(step, value), ...]} of the scalars in the event files of `folder`."""
    events = accumulated(folder)
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def read_tensors(folder):
    """Return {tag: [(step, array), ...]} of the event files in `folder`: histograms and texts."""
    events = accumulated(folder)
    return {
        tag: [(point.step, tf.make_ndarray(point.tensor_proto)) for point in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def float32(points):
    return [(step, float(np.float32(value))) for step, value in points]


def steps_of(points):
    return [step for step, _ in points]


class Witness(keras.callbacks.Callback):
    """Notes the logs of every epoch and the weights around every update of fit, one update an execution."""

    def __init__(self):
        super().__init__()
        self.epochs, self.before, self.after = [], [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.before.append(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        self.after.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((int(self.model.optimizer.iterations), dict(logs)))


def linear(penalty=None):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_regularizer=penalty)])


@pytest.fixture
def model():
    return linear()


@pytest.fixture
def make_logger(tmp_path):
    """A function that returns a logger into a folder, with data unless told otherwise."""
    made = []

    def make_logger(options=SCALARS, folder=tmp_path, dataset=DATASET, batch_size=BATCH, **others):
        made.append(TensorBoardLogger(folder, HPARAMS, options, **others))
        made[-1].batches = None if dataset is None else batches_of(dataset, batch_size)
        return made[-1]

    yield make_logger
    for logger in made:
        logger.close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that trains `linear` on a side, once a rate: a folder with its scalars, a witness, the seconds."""

    @functools.cache
    def trained(train_side, rate=RATE):
        folder, witness = tmp_path_factory.mktemp("trained"), Witness()
        logger = TensorBoardLogger(folder, HPARAMS, SCALARS)
        logger.batches = batches_of()
        began = time.perf_counter()
        train_side(linear(), witness, logger, rate=rate)
        seconds = time.perf_counter() - began
        logger.close()
        return folder, witness, seconds

    return trained


@pytest.fixture(scope="module")
def witness():
    """The witness of a training by fit that is not logged."""
    witness = Witness()
    fit(linear(), witness)
    return witness


@pytest.fixture
def begun(make_logger, model):
    """A logger in the first epoch of a training of twelve steps."""
    logger = make_logger()
    logger.set_model(model)
    logger.set_params({"steps": STEPS})
    logger.on_train_begin()
    logger.on_epoch_begin(0)
    return logger


def fit(model, *callbacks, rate=RATE, epochs=2, dataset=DATASET, batch_size=BATCH, loss="mse", **compile_options):
    metrics = ["mae"] if loss == "mse" else ["accuracy"]
    model.compile(keras.optimizers.SGD(rate), loss, **{"metrics": metrics, "jit_compile": False} | compile_options)
    batches = batches_of(dataset, batch_size)
    model.fit(
        batches.train,
        epochs=epochs,
        validation_data=batches.validation,
        shuffle=False,
        callbacks=[batches, *callbacks],
        verbose=0,
    )


def fit_by_loop(
    model,
    *callbacks,
    rate=RATE,
    epochs=2,
    dataset=DATASET,
    batch_size=BATCH,
    loss="mse",
    by_hand=False,
    traced=None,
    returned=lambda total, outputs: {"loss": total},
    tested=lambda total: {"loss": total},
    **options,
):
    """Train as `fit` does; `by_hand` stands for an update rule without an optimizer.

    `returned` and `tested` make of a loss what the steps return; without `tested` there is no test step.
    """
    optimizer = None if by_hand else keras.optimizers.SGD(rate)
    measured = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    if loss == "mse":
        loss, measured = keras.losses.MeanSquaredError(), keras.metrics.MeanAbsoluteError(name="mae")
    metrics = [keras.metrics.Mean(name="loss"), measured]

    def train_step(x, y):
        if traced is not None:
            traced.append(tuple(x.shape))
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            total = losses.total(loss(y, outputs), model.losses)
        gradients = tape.gradient(total, model.trainable_variables)
        if optimizer is not None:
            optimizer.apply(gradients, model.trainable_variables)
        metrics[0].update_state(total, sample_weight=tf.shape(x)[0])
        measured.update_state(y, outputs)
        return returned(total, outputs)

    def test_step(x, y):
        outputs = model(x, training=False)
        total = losses.total(loss(y, outputs), model.losses)
        metrics[0].update_state(total, sample_weight=tf.shape(x)[0])
        measured.update_state(y, outputs)
        return tested(total)

    loop = Loop(model, train_step, tested and test_step, metrics, optimizer, **options)
    loop.train(batches_of(dataset, batch_size), epochs=epochs, callbacks=callbacks)


SIDES = pytest.mark.parametrize("train_side", [fit, fit_by_loop], ids=["fit", "loop"])


def replayed(penalty=0.0, epochs=2):
    """Return the loss of every step and its examples: gradient descent on `linear`, in NumPy and float64."""
    kernel, bias = (float(weights.squeeze()) for weights in linear().get_weights())
    x, y = SPLIT.x[:, 0].astype(np.float64), SPLIT.y[:, 0].astype(np.float64)
    found, examples = [], []
    for epoch in range(epochs):
        order = epoch_order(len(x), 0, epoch).numpy()
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            errors = kernel * x[rows] + bias - y[rows]
            found.append(np.mean(errors**2) + penalty * kernel**2)
            examples.append(len(rows))
            slope = 2 * np.mean(errors * x[rows]) + 2 * penalty * kernel
            kernel, bias = kernel - RATE * slope, bias - RATE * 2 * np.mean(errors)
    return np.array(found), np.array(examples)


@pytest.mark.parametrize("steps_per_execution", [None, slow(1), slow(5)])
@pytest.mark.parametrize("penalty", [0.0, PENALTY], ids=["plain", "penalty"])
def test_the_loop_logs_the_loss_that_each_step_went_down(make_logger, tmp_path, steps_per_execution, penalty):
    model = linear(keras.regularizers.L2(penalty) if penalty else None)
    fit_by_loop(model, make_logger(), steps_per_execution=steps_per_execution)
    points = read(tmp_path / "train")["step_loss"]
    assert steps_of(points) == list(range(1, 25))
    np.testing.assert_allclose([value for _, value in points], replayed(penalty)[0], rtol=1e-5)


@pytest.mark.parametrize("steps_per_execution", [None, slow(5)])
def test_the_loop_logs_every_value_that_its_train_step_returns(model, make_logger, tmp_path, steps_per_execution):
    def returned(total, outputs):
        return {
            "critic_loss": total,
            "gap": 2 * total,
            "largest": tf.reduce_max(outputs),
            "both": tf.stack([total] * 2),
        }

    fit_by_loop(model, make_logger(), returned=returned, steps_per_execution=steps_per_execution)
    train = read(tmp_path / "train")
    of_steps = {tag for tag in train if tag.startswith("step_")}  # of several values there is no curve
    assert of_steps == {"step_critic_loss", "step_gap", "step_largest", "step_learning_rate"}
    assert [steps_of(train[tag]) for tag in of_steps] == [list(range(1, 25))] * 4
    values = {tag: np.array([value for _, value in train[tag]]) for tag in of_steps}
    np.testing.assert_allclose(values["step_critic_loss"], replayed()[0], rtol=1e-5)
    np.testing.assert_array_equal(values["step_gap"], 2 * values["step_critic_loss"])
    assert "epoch_loss" in train  # the metric of that name


def test_a_train_step_that_returns_nothing_has_its_metrics_and_rates_logged(model, make_logger, tmp_path):
    fit_by_loop(model, make_logger(), returned=lambda total, outputs: None)
    train = read(tmp_path / "train")
    assert {tag for tag in train if tag.startswith("step_")} == {"step_learning_rate"}
    assert steps_of(train["step_learning_rate"]) == list(range(1, 25))
    assert {"epoch_loss", "epoch_mae"} <= train.keys()


@pytest.mark.parametrize("penalty", [0.0, PENALTY], ids=["plain", "penalty"])
def test_fit_logs_the_loss_of_each_step_but_for_rounding(make_logger, tmp_path, penalty):
    model = linear(keras.regularizers.L2(penalty) if penalty else None)
    fit(model, make_logger())
    train = read(tmp_path / "train")
    assert steps_of(train["step_loss"]) == list(range(1, 25))
    expected, _ = replayed(penalty)
    atol = 2e-7 * STEPS * expected.max()  # that of the running mean, times the number of the step
    np.testing.assert_allclose([value for _, value in train["step_loss"]], expected, rtol=1e-5, atol=atol)
    assert "execution_loss" not in train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps_per_execution", "steps"),
    [(5, [5, 10, 12, 17, 22, 24]), slow(12, [12, 24]), slow(20, [12, 24]), (11, [11, 12, 23, 24])],
)
def test_where_fit_hides_its_steps_it_logs_the_mean_over_each_execution(
    model, make_logger, tmp_path, steps_per_execution, steps
):
    fit(model, make_logger(), steps_per_execution=steps_per_execution)
    train = read(tmp_path / "train")
    assert "step_loss" not in train
    assert steps_of(train["execution_loss"]) == steps
    step_losses, examples = replayed()
    edges = [0, *steps]
    expected = [
        np.average(step_losses[first:last], weights=examples[first:last]) for first, last in itertools.pairwise(edges)
    ]
    np.testing.assert_allclose([value for _, value in train["execution_loss"]], expected, rtol=1e-5)
    assert steps_of(train["step_learning_rate"]) == list(range(1, 25))


@SIDES
def test_every_epoch_is_logged_with_validation_in_a_folder_of_its_own(trained, train_side):
    folder, witness, _ = trained(train_side)
    train, validation = read(folder / "train"), read(folder / "validation")
    assert set(train) == SPEED | {
        "step_loss",
        "step_learning_rate",
        "epoch_loss",
        "epoch_mae",
        "epoch_learning_rate",
    }
    assert set(validation) == {"epoch_loss", "epoch_mae"}
    assert steps_of(witness.epochs) == [12, 24]
    for name in ("loss", "mae"):
        assert train[f"epoch_{name}"] == float32((step, logs[name]) for step, logs in witness.epochs)
        assert validation[f"epoch_{name}"] == float32((step, logs[f"val_{name}"]) for step, logs in witness.epochs)
    assert train["epoch_loss"] != validation["epoch_loss"]
    assert train["epoch_learning_rate"] == float32([(12, 0.1), (24, 0.1)])


@SIDES
def test_speed_and_memory_of_an_epoch(trained, train_side):
    folder, _, seconds = trained(train_side)
    train = read(folder / "train")
    assert [steps_of(train[tag]) for tag in SPEED] == [[12, 24]] * 3
    steps, examples, memory = (
        [value for _, value in train[f"epoch_{name}"]]
        for name in ("steps_per_second", "examples_per_second", "memory_mib")
    )
    assert sum(STEPS / value for value in steps) < seconds
    np.testing.assert_allclose(np.divide(examples, steps), 23 / 12, rtol=1e-5)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    assert all(0.1 * peak < value <= 1.001 * peak for value in memory)


def test_without_data_the_examples_a_second_are_not_known(model, make_logger, tmp_path):
    fit(model, make_logger(LoggingOptions(), dataset=None))
    train = read(tmp_path / "train")
    assert "epoch_examples_per_second" not in train
    assert "probe_gradient_norm" not in train
    assert {"epoch_steps_per_second", "epoch_memory_mib", "step_loss", "update_to_weight"} <= set(train)
    assert not any(tag.startswith("gradients/") for tag in read_tensors(tmp_path / "train"))


def test_a_schedule_is_logged_as_the_rate_after_the_epochs_updates(trained):
    folder, *_ = trained(fit, SCHEDULE)
    (first, half), (second, zero) = read(folder / "train")["epoch_learning_rate"]
    assert (first, second) == (12, 24)
    assert half == pytest.approx(0.05)
    assert zero == pytest.approx(0.0)


def test_without_an_optimizer_the_rate_is_the_hyper_parameter(begun, tmp_path):
    begun.on_train_batch_end(0, {"loss": 1.0})
    begun.on_epoch_end(0, {"loss": 1.0})
    begun.close()
    train = read(tmp_path / "train")
    assert train["epoch_learning_rate"] == train["step_learning_rate"] == [(1, 0.25)]


def test_a_chunk_gets_a_point_for_every_step(begun, tmp_path):
    step_losses = np.float32([4, 3, 2, 1])
    for epoch in range(2):
        begun.on_epoch_begin(epoch)
        for first in (0, 4, 8):
            means = {"loss": np.float32([9, 9, 9, 9])}  # what the loss of a step is not
            begun.on_chunk_end(first, {"loss": step_losses + first}, means)
            begun.on_train_batch_end(first + 3, {"loss": 9.0})
        begun.on_epoch_end(epoch, {"loss": 9.0})
    begun.close()
    train = read(tmp_path / "train")
    expected = [float(loss + first) for first in (0, 4, 8) for loss in step_losses]
    assert train["step_loss"] == list(enumerate(2 * expected, start=1))
    assert train["epoch_loss"] == [(12, 9.0), (24, 9.0)]


def test_a_chunk_that_ends_in_a_short_execution_is_logged_once(begun, tmp_path):
    for first, last, steps in ((0, 7, 8), (8, 15, 4)):  # fit counts past the end, and so does the custom loop
        begun.on_chunk_end(first, {"loss": np.ones(steps, np.float32)}, {"loss": np.ones(steps, np.float32)})
        begun.on_train_batch_end(last, {"loss": 1.0})
    begun.close()
    assert steps_of(read(tmp_path / "train")["step_loss"]) == list(range(1, 13))


def test_points_are_visible_when_an_epoch_ends_and_when_training_does(begun, tmp_path):
    begun.on_train_batch_end(0, {"loss": 1.0})
    begun.on_train_batch_end(1, {"loss": 2.0})
    begun.on_epoch_end(0, {"loss": 2.0})
    begun.on_train_end()
    assert read(tmp_path / "train")["step_loss"] == [(1, 1.0), (2, 3.0)]


def test_closing_twice_is_harmless(begun, tmp_path):
    begun.on_train_batch_end(0, {"loss": 1.0})
    begun.close()
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert written
    begun.close()
    assert written == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("options", [LoggingOptions(), SCALARS])
def test_closing_before_training_writes_nothing(make_logger, tmp_path, options):
    make_logger(options).close()
    assert list(tmp_path.iterdir()) == []


IRIS = {"data": "iris", "epochs": 2, "batch_size": 8, "jit_compile": False}  # 96 examples: 12 steps
IRIS["logging"] = LoggingOptions(every=5)


@pytest.fixture(scope="module")
def fit_side(tmp_path_factory, train_into):
    return train_into(tmp_path_factory.mktemp("iris"), "mlp_classifier", "fit", **IRIS)


@pytest.mark.parametrize("steps_per_execution", [None, 8])
def test_both_sides_log_the_same_tags_and_the_loop_every_step(fit_side, train, steps_per_execution):
    loop_side = train("mlp_classifier", "custom_loop", steps_per_execution=steps_per_execution, **IRIS)
    for part in ("", "train", "validation", "test"):
        for kind, tags in accumulated(fit_side.folder / part).Tags().items():
            assert sorted(np.ravel(tags)) == sorted(np.ravel(accumulated(loop_side.folder / part).Tags()[kind]))
        ours, theirs = read(fit_side.folder / part), read(loop_side.folder / part)
        for tag in set(ours) - SPEED:
            if tag == "step_loss":  # recovered from a running mean on the side of fit
                assert steps_of(ours[tag]) == steps_of(theirs[tag]) == list(range(1, 25))
                np.testing.assert_allclose(ours[tag], theirs[tag], rtol=1e-4)
            else:
                assert ours[tag] == theirs[tag], tag
        ours, theirs = read_tensors(fit_side.folder / part), read_tensors(loop_side.folder / part)
        for tag in (tag for tag in ours if tag.startswith(("weights/", "gradients/", "pr_curve/"))):
            np.testing.assert_equal(ours[tag], theirs[tag])


@pytest.mark.parametrize("rate", [0.0625, SCHEDULE], ids=["constant", "schedule"])
@pytest.mark.parametrize("steps_per_execution", [slow(1), 5, slow(12)])
def test_fit_logs_the_rate_of_every_update(model, make_logger, tmp_path, rate, steps_per_execution):
    fit(model, make_logger(), rate=rate, steps_per_execution=steps_per_execution)
    points = read(tmp_path / "train")["step_learning_rate"]
    assert steps_of(points) == list(range(1, 25))
    expected = [float(rate(step)) if callable(rate) else rate for step in range(24)]
    assert [value for _, value in points] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("rate", "steps_per_execution"), [slow(0.0625, None), (SCHEDULE, None), slow(SCHEDULE, 1), (SCHEDULE, 5)]
)
def test_the_loop_logs_the_rates_that_fit_logs(model, make_logger, trained, tmp_path, rate, steps_per_execution):
    fit_by_loop(model, make_logger(), rate=rate, steps_per_execution=steps_per_execution)
    by_loop = read(tmp_path / "train")
    by_fit = read(trained(fit, rate)[0] / "train")
    assert len(by_fit["step_learning_rate"]) == 24
    for tag in ("step_learning_rate", "epoch_learning_rate"):
        assert by_loop[tag] == by_fit[tag]


@pytest.mark.parametrize(
    ("learning_rate", "expected"),
    [(0.0625, [0.0625] * 24), (lambda updates: 1 / (tf.cast(updates, tf.float32) + 1), 1 / np.arange(1, 25))],
    ids=["number", "function"],
)
def test_a_loop_without_an_optimizer_shows_the_rate_it_was_given(model, make_logger, tmp_path, learning_rate, expected):
    logger = make_logger()
    logger.learning_rate = learning_rate
    fit_by_loop(model, logger, by_hand=True)
    points = read(tmp_path / "train")["step_learning_rate"]
    assert points == [(step, pytest.approx(value)) for step, value in enumerate(expected, start=1)]


def test_a_rate_that_changes_between_epochs_holds_for_the_updates_of_the_next(model, make_logger, tmp_path):
    falling = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1))
    fit(model, falling, make_logger(), steps_per_execution=5)
    points = read(tmp_path / "train")["step_learning_rate"]
    assert points == list(enumerate([0.5] * 12 + [0.25] * 12, start=1))


def test_a_model_that_is_trained_on_shows_the_rates_its_optimizer_takes(model, make_logger, tmp_path):
    fit(model, rate=SCHEDULE, epochs=1)
    model.fit(X, 2 * X, batch_size=2, callbacks=[make_logger()], verbose=0)
    for tag, rates in {"step_learning_rate": range(12, 24), "epoch_learning_rate": [24]}.items():
        values = [value for _, value in read(tmp_path / "train")[tag]]
        assert values == pytest.approx([float(SCHEDULE(step)) for step in rates], abs=1e-9), tag


def ratio(before, after):
    """|change| / |weights| over several arrays; NaN for weights that are 0."""
    changes = np.concatenate([(b.astype(np.float64) - a).ravel() for a, b in zip(before, after, strict=True)])
    size = np.linalg.norm(np.concatenate([array.ravel().astype(np.float64) for array in before]))
    return np.linalg.norm(changes) / size if size else math.nan


@SIDES
@pytest.mark.parametrize(
    ("every", "steps"),
    [
        (None, [12, 24]),
        (5, [5, 10, 12, 15, 20, 24]),  # counted over the run, not from the beginning of each epoch
        slow(3, [3, 6, 9, 12, 15, 18, 21, 24]),
        (1, list(range(1, 25))),
        slow(100, [12, 24]),
    ],
)
def test_updates_are_set_against_the_weights_after_every_so_many_steps(
    model, make_logger, witness, tmp_path, train_side, every, steps
):
    train_side(model, make_logger(LoggingOptions(every=every)))
    train = read(tmp_path / "train")
    assert steps_of(train["update_to_weight"]) == steps
    assert steps_of(train["probe_gradient_norm"]) == [0, *steps]
    assert "execution_update_to_weight" not in train
    around = [(witness.before[step - 1], witness.after[step - 1]) for step in steps]
    expected = {"update_to_weight": [ratio(before, after) for before, after in around]}
    for index, name in enumerate(("kernel", "bias")):
        expected[f"update_to_weight/sequential/dense/{name}"] = [
            ratio(before[index : index + 1], after[index : index + 1]) for before, after in around
        ]
    for tag, values in expected.items():
        known = [(step, value) for step, value in zip(steps, values, strict=True) if not math.isnan(value)]
        assert steps_of(train[tag]) == steps_of(known)
        np.testing.assert_allclose(train[tag], known, rtol=1e-3)
    if every == 1:  # a bias begins at 0, of which nothing is a share
        assert steps_of(train["update_to_weight/sequential/dense/bias"]) == steps[1:]


@pytest.mark.parametrize(
    ("every", "steps_per_execution", "hidden", "single"),
    [
        slow(None, 12, [12, 24], []),
        (3, 5, [5, 10, 12, 17, 22, 24], []),
        (None, 11, [], [12, 24]),
        slow(24, 5, [12, 24], []),
    ],
)
def test_where_fit_hides_its_steps_the_way_that_an_execution_went_is_logged(
    model, make_logger, witness, tmp_path, every, steps_per_execution, hidden, single
):
    fit(model, make_logger(LoggingOptions(every=every)), steps_per_execution=steps_per_execution)
    train = read(tmp_path / "train")
    assert steps_of(train.get("execution_update_to_weight", [])) == hidden
    assert steps_of(train.get("update_to_weight", [])) == single
    for step, value in train.get("execution_update_to_weight", []):
        first = (step - 1) % STEPS // steps_per_execution * steps_per_execution + (step - 1) // STEPS * STEPS
        assert value == pytest.approx(ratio(witness.before[first], witness.after[step - 1]), rel=1e-4)


@SIDES
def test_a_model_that_is_trained_on_is_measured_after_so_many_updates_of_its_own(
    model, make_logger, tmp_path, train_side
):
    fit(model, epochs=1)
    logger = make_logger(LoggingOptions(every=5))
    if train_side is fit:
        batches = batches_of()
        model.fit(batches.train, shuffle=False, callbacks=[batches, logger], verbose=0)
        expected = [15, 20, 24]
    else:  # a new optimizer, which has made none
        fit_by_loop(model, logger, epochs=1)
        expected = [5, 10, 12]
    assert steps_of(read(tmp_path / "train")["update_to_weight"]) == expected


def deep():
    """A model whose training and inference differ, with a penalty, and whose statistics are no gradient's."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="relu", kernel_regularizer=keras.regularizers.L2(0.1)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )


def classes(examples):
    random = np.random.default_rng(0)
    x = random.normal(size=(examples, 4)).astype(np.float32)
    y = (np.abs(x[:, 0]) + x[:, 1] > 1).astype(np.int32) + (x[:, 2] > 0.5).astype(np.int32)
    split, held_out = Split(x, y), Split(x[:30], y[:30])
    raw = keras.Input((4,))
    preprocessing = keras.Model(raw, keras.layers.Rescaling(1.0)(raw))
    return Dataset(split, held_out, held_out, preprocessing, Classification(("low", "middle", "high")))


CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
CLASSES = {"loss": CROSS_ENTROPY, "batch_size": 64, "dataset": classes(300)}  # 5 steps; 44 beyond the first 256


def gradients_by_tape(model):
    """The gradients on the first 256 training examples, in inference mode, the penalty included."""
    x, y = CLASSES["dataset"].train.x[:256], CLASSES["dataset"].train.y[:256]
    with tf.GradientTape() as tape:
        log_probabilities = tf.nn.log_softmax(model(x, training=False))
        loss = -tf.reduce_mean(tf.gather(log_probabilities, y, batch_dims=1))
        loss += 0.1 * tf.reduce_sum(model.layers[0].kernel.value ** 2)
    return [gradient.numpy() for gradient in tape.gradient(loss, [v.value for v in model.trainable_variables])]


def assert_histogram(found, values):
    """`found` has rows of (left edge, right edge, count)."""
    assert found.shape == (30, 3)
    if values.min() == values.max():
        assert found[:, 2].sum() == values.size
        np.testing.assert_allclose(found[:, :2], values.min(), rtol=1e-5)
        return
    counts, edges = np.histogram(values.astype(np.float64), bins=30)
    atol = 1e-5 * np.abs(values).max()
    np.testing.assert_allclose(found[:, 0], edges[:-1], atol=atol)
    np.testing.assert_allclose(found[:, 1], edges[1:], atol=atol)
    assert np.abs(found[:, 2] - counts).sum() <= 2  # a value on an edge may fall either way
    assert found[:, 2].sum() == values.size


class Snapshots(keras.callbacks.Callback):
    """Notes what `measure` returns before training and after every epoch."""

    def __init__(self, measure):
        super().__init__()
        self.measure, self.taken = measure, []

    def on_train_begin(self, logs=None):
        self.taken.append(self.measure(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.taken.append(self.measure(self.model))


@pytest.fixture(scope="module")
def trained_deep(tmp_path_factory):
    """A function that trains `deep` on a side, once with and once without XLA: a folder, the model, its snapshots."""

    @functools.cache
    def trained_deep(train_side, jit_compile):
        folder, model = tmp_path_factory.mktemp("deep"), deep()
        snapshots = Snapshots(lambda model: (gradients_by_tape(model), model.get_weights()))
        logger = TensorBoardLogger(folder, HPARAMS, LoggingOptions(every=2))
        logger.batches = batches_of(CLASSES["dataset"], CLASSES["batch_size"])
        train_side(model, logger, snapshots, **CLASSES, jit_compile=jit_compile)
        logger.close()
        return folder, model, snapshots.taken

    return trained_deep


@SIDES
@pytest.mark.parametrize("jit_compile", [False, slow(True)])
def test_gradients_are_those_of_the_first_examples_in_inference_mode(trained_deep, train_side, jit_compile):
    folder, model, taken = trained_deep(train_side, jit_compile=jit_compile)
    norms = dict(read(folder / "train")["probe_gradient_norm"])
    assert list(norms) == [0, 2, 4, 5, 6, 8, 10]
    tensors = read_tensors(folder / "train")
    assert {tag for tag in tensors if tag.startswith("gradients/")} == {
        f"gradients/{variable.path}" for variable in model.trainable_variables
    }
    for epoch, (gradients, _) in enumerate(taken):
        expected = np.linalg.norm(np.concatenate([gradient.ravel() for gradient in gradients]))
        assert norms[5 * epoch] == pytest.approx(expected, rel=1e-5)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            points = tensors[f"gradients/{variable.path}"]
            assert steps_of(points) == [0, 5, 10]
            assert_histogram(points[epoch][1], gradient)
    assert norms[0] != pytest.approx(norms[10], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, slow(True)])
def test_both_sides_show_the_same_gradients(trained_deep, jit_compile):
    sides = [trained_deep(train_side, jit_compile)[0] / "train" for train_side in (fit, fit_by_loop)]
    ours, theirs = (read(folder)["probe_gradient_norm"] for folder in sides)
    assert ours == theirs
    ours, theirs = (read_tensors(folder) for folder in sides)
    for tag in (tag for tag in ours if tag.startswith("gradients/")):
        np.testing.assert_equal(ours[tag], theirs[tag])


def test_without_a_test_step_there_are_no_gradients_and_that_is_no_note(model, make_logger, tmp_path):
    logger = make_logger(LoggingOptions())
    fit_by_loop(model, logger, tested=None)
    assert "probe_gradient_norm" not in read(tmp_path / "train")
    assert logger.notes == []
    assert "update_to_weight" in read(tmp_path / "train")


def test_a_test_step_that_returns_no_loss_costs_the_gradients_alone(model, make_logger, tmp_path):
    logger = make_logger(LoggingOptions())
    fit_by_loop(model, logger, tested=lambda total: {"error": total})
    assert "probe_gradient_norm" not in read(tmp_path / "train")
    (note,) = logger.notes
    assert note.startswith("TensorBoard gets no gradients: ")
    assert note.endswith('the test step does not return {"loss": ...}')
    assert {"epoch_loss", "update_to_weight"} <= read(tmp_path / "train").keys()


@pytest.mark.slow
def test_gradients_are_those_of_the_variables_that_are_trained_now(make_logger, tmp_path):
    class Unfreeze(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.layers[0].trainable = False

        def on_epoch_begin(self, epoch, logs=None):
            self.model.layers[0].trainable = epoch > 0

    model = deep()
    fit_by_loop(
        model, Unfreeze(), make_logger(LoggingOptions(every=2), dataset=CLASSES["dataset"], batch_size=64), **CLASSES
    )
    tensors = read_tensors(tmp_path / "train")
    unfrozen = {each.path for each in model.layers[0].variables}
    assert {each.path: steps_of(tensors[f"gradients/{each.path}"]) for each in model.trainable_variables} == {
        each.path: [10] if each.path in unfrozen else [0, 5, 10] for each in model.trainable_variables
    }


@SIDES
def test_histograms_of_all_weights_are_logged_before_training_and_after_every_epoch(trained_deep, train_side):
    folder, model, taken = trained_deep(train_side, jit_compile=False)
    tensors = read_tensors(folder / "train")
    found = {tag for tag in tensors if tag.startswith("weights/")}
    assert found == {f"weights/{weight.path}" for weight in model.weights}
    assert "weights/sequential/batch_normalization/moving_mean" in found
    for index, weight in enumerate(model.weights):
        points = tensors[f"weights/{weight.path}"]
        assert steps_of(points) == [0, 5, 10]
        for (_, histogram), (_, weights) in zip(points, taken, strict=True):
            assert_histogram(histogram, weights[index])


LEVELS = {
    "everything": LoggingOptions(),
    "every=3": LoggingOptions(every=3),
    "scalars": SCALARS,
    "nothing": LoggingOptions(level="nothing"),
}


@pytest.mark.parametrize(
    ("train_side", "options", "levels"),
    [
        (fit, {}, ["every=3", "nothing"]),
        slow(fit, {}, list(LEVELS)),
        slow(fit, {"steps_per_execution": 4}, ["every=3", "nothing"]),
        (fit_by_loop, {}, ["every=3", "nothing"]),
        slow(fit_by_loop, {}, list(LEVELS)),
        slow(fit_by_loop, {"steps_per_execution": 4}, ["every=3", "nothing"]),
        slow(fit_by_loop, {"jit_compile": True}, ["every=3", "nothing"]),
    ],
    ids=["fit", "fit-all", "fit-4", "loop", "loop-all", "loop-4", "loop-xla"],
)
def test_a_run_ends_with_the_same_bytes_however_much_is_logged(tmp_path, train_side, options, levels):
    ends, histories = {}, {}
    for level in levels:
        model, run = deep(), Run(tmp_path / level, HParams(batch_size=32), logging=LEVELS[level])
        settings = CLASSES | {"batch_size": 32} | options  # 10 steps, the last of 12 examples
        train_side(model, *run.callbacks(batches_of(CLASSES["dataset"], 32)), **settings)
        run.close()
        ends[level] = {name: array.tobytes() for name, array in state.arrays(model).items()}
        histories[level] = run.recorder.history
    assert {name.partition("/")[0] for name in ends["nothing"]} == {"weights", "optimizer", "seeds"}
    for level in levels:
        assert ends[level] == ends["nothing"]
        assert histories[level] == histories["nothing"]


def test_the_graph_costs_the_loop_no_second_trace_of_the_step(make_logger):
    traced = []
    fit_by_loop(linear(), make_logger(LoggingOptions(every=5)), traced=traced)
    assert traced == [(None, 1)]


@SIDES
def test_everything_shows_the_graph_the_layers_and_the_text_once(make_logger, tmp_path, train_side):
    (tmp_path / "recipe.py").write_text("def train(hparams, run): ...")
    about = {"recipe": "mine", "side": "fit", "command": "recipes fit mine"}
    logger = make_logger(
        LoggingOptions(),
        tmp_path / "run",
        CLASSES["dataset"],
        CLASSES["batch_size"],
        about=about,
        source=tmp_path / "recipe.py",
    )
    train_side(deep(), logger, **CLASSES)
    logger.write_final({"test": {"loss": 0.5}})
    logger.close()
    assert accumulated(tmp_path / "run" / "train").Graph().node
    assert steps_of(read_tensors(tmp_path / "run" / "train")["keras"]) == [0]
    own = read_tensors(tmp_path / "run")
    texts = {"command", "hyper_parameters", "versions", "hardware", "model", "source"}
    sessions = {hparams_metadata.SESSION_START_INFO_TAG, hparams_metadata.SESSION_END_INFO_TAG}
    assert set(own) == texts | sessions | {"custom_scalars__config__"}
    assert all(len(points) == 1 for points in own.values())
    assert b"recipes fit mine" in own["command"][0][1].item()
    assert b"def train(hparams, run)" in own["source"][0][1].item()
    assert session_status(tmp_path / "run") == "STATUS_SUCCESS"


def session_status(folder):
    """Return the status of the session that ended in `folder`, as the tab HParams shows it."""
    from tensorboard.plugins.hparams import api_pb2

    plugin_data = accumulated(folder).SummaryMetadata(hparams_metadata.SESSION_END_INFO_TAG).plugin_data.content
    return api_pb2.Status.Name(hparams_metadata.parse_session_end_info_plugin_data(plugin_data).status)


EVENTS = "events.out.tfevents.*"


def test_scalars_are_all_that_the_level_scalars_writes(train):
    options = {"data": "iris", "epochs": 1, "jit_compile": False}
    run = train("mlp_classifier", "custom_loop", logging=SCALARS, **options)
    run.picture("curve", Figure(figsize=(1, 1)))
    # the file of the run itself holds its session, for HParams
    assert sorted(path.parent.name for path in run.folder.rglob(EVENTS)) == [run.name, "test", "train", "validation"]
    assert set(accumulated(run.folder).PluginTagToContent("hparams")) == {
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    }
    for part in ("train", "validation", "test"):
        tags = accumulated(run.folder / part).Tags()
        assert not tags["tensors"]
        assert not tags["images"]
        assert not tags["graph"]
    assert set(read(run.folder / "train")) == SPEED | {
        "step_loss",
        "step_learning_rate",
        "epoch_loss",
        "epoch_accuracy",
        "epoch_learning_rate",
    }
    for part, metrics in (("test", run.metrics), ("validation", run.validation_metrics)):
        final = {tag: points for tag, points in read(run.folder / part).items() if tag.startswith("final_")}
        assert final == {f"final_{name}": float32([(3, value)]) for name, value in metrics.items()}
    assert not list(run.folder.glob("*.tsv"))


def test_the_level_nothing_writes_nothing(train):
    options = {"data": "iris", "epochs": 1, "jit_compile": False}
    run = train("mlp_classifier", "custom_loop", logging=LoggingOptions(level="nothing"), **options)
    run.picture("curve", Figure(figsize=(1, 1)))
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"config.json", "history.json", "report.json", "state.npz", "model.keras", "curve.png"}


class Interrupt(keras.callbacks.Callback):
    """Presses Ctrl-C after an execution."""

    def __init__(self, update):
        super().__init__()
        self.update = update

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.update:
            raise KeyboardInterrupt


@SIDES
@pytest.mark.parametrize("options", [LoggingOptions(every=2), slow(SCALARS)], ids=["everything", "scalars"])
def test_an_interrupted_training_leaves_files_that_are_readable_up_to_the_last_chunk(tmp_path, train_side, options):
    model, run = linear(), Run(tmp_path / "run", HPARAMS, logging=options)
    with pytest.raises(KeyboardInterrupt):
        train_side(model, *run.callbacks(batches_of()), Interrupt(17), steps_per_execution=5)
    run.close()
    train = read(run.folder / "train")
    losses_logged = train["execution_loss" if train_side is fit else "step_loss"]
    assert steps_of(losses_logged) == ([5, 10, 12, 17] if train_side is fit else list(range(1, 18)))
    assert steps_of(train["step_learning_rate"]) == list(range(1, 18))
    assert steps_of(train["epoch_loss"]) == [12]
    if options is not SCALARS:
        assert session_status(run.folder) == "STATUS_FAILURE"
        assert steps_of(read_tensors(run.folder / "train")["weights/sequential/dense/kernel"]) == [0, 12]


def test_a_training_that_is_still_going_on_can_be_watched(begun, tmp_path):
    begun.on_train_batch_end(0, {"loss": 1.0})
    assert read(tmp_path / "train")["step_loss"] == [(1, 1.0)]
    begun.on_train_batch_end(1, {"loss": 1.0})
    assert len(read(tmp_path / "train")["step_loss"]) == 1  # within a second nothing is flushed: it costs a call
    begun._flushed_at -= 1.0
    begun.on_train_batch_end(2, {"loss": 1.0})
    assert steps_of(read(tmp_path / "train")["step_loss"]) == [1, 2, 3]


def test_a_session_without_a_model_is_that_of_a_run_whose_children_have_trained(make_logger, tmp_path):
    logger = make_logger(LoggingOptions())
    logger.write_final({"test": {"f1_mean": 0.5, "broken": math.nan}})
    logger.close()
    assert read(tmp_path / "test") == {"final_f1_mean": [(0, 0.5)]}
    assert "model" not in read_tensors(tmp_path)
    assert session_status(tmp_path) == "STATUS_SUCCESS"


def test_a_picture_comes_back_as_it_was_written_beside_the_scalars(model, make_logger, tmp_path):
    logger, content = make_logger(LoggingOptions()), []
    for width in (1, 2):
        content.append(pictures.png(Figure(figsize=(width, 1))))
    logger.write_picture("before", content[0])
    fit(model, logger)
    logger.write_picture("after", content[1])
    events = accumulated(tmp_path)
    assert events.Tags()["images"] == ["before", "after"]
    shown = {tag: [(e.step, e.encoded_image_string) for e in events.Images(tag)] for tag in ("before", "after")}
    assert shown == {"before": [(0, content[0])], "after": [(24, content[1])]}
    assert len(read(tmp_path / "train")["epoch_loss"]) == 2


@pytest.mark.parametrize(
    ("options", "steps", "watched"),
    [
        (LoggingOptions(), 20, {19}),
        (LoggingOptions(every=8), 20, {7, 15, 19}),
        (SCALARS, 20, set()),
        (LoggingOptions(level="scalars", profile=True), 20, {1, 2, 3, 4, 5, 6, 7}),
        (LoggingOptions(every=8, profile=True), 5, {1, 2, 3, 4}),
    ],
)
def test_the_steps_that_are_watched(make_logger, options, steps, watched):
    assert make_logger(options).steps_to_watch(steps) == watched


@SIDES
def test_a_diverged_training_is_logged_without_a_warning(model, make_logger, tmp_path, train_side):
    train_side(model, make_logger(LoggingOptions(every=1)), rate=1e30)  # pytest turns warnings into errors
    points = read(tmp_path / "train")["step_loss"]
    assert len(points) == 24
    assert math.isfinite(points[0][1])
    assert not math.isfinite(points[-1][1])
