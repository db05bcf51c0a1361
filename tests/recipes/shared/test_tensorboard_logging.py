"""What TensorBoard gets, read back from the event files by TensorBoard's own reader."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from custom_loops import loop
from recipes.shared.data import Dataset, Split
from recipes.shared.hparams import HParams
from recipes.shared.tensorboard_logging import EventFile, TensorBoardLogger

X = np.linspace(-1, 1, 23, dtype=np.float32)[:, None]  # 12 steps of two; the last is short
STEPS = 12


def read(folder):
    """Return {tag: [(step, value), ...]} of the event files in `folder`."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


class Witness(keras.callbacks.Callback):
    """Notes the logs of every execution and epoch, with the optimizer's own count of updates."""

    def __init__(self):
        super().__init__()
        self.batches, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append((int(self.model.optimizer.iterations), dict(logs)))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((int(self.model.optimizer.iterations), dict(logs)))


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


@pytest.fixture
def logger(tmp_path):
    logger = TensorBoardLogger(tmp_path, HParams(learning_rate=0.25))
    yield logger
    logger.close()


@pytest.fixture
def begun(logger, model):
    """A logger in the first epoch of a training of twelve steps."""
    logger.set_model(model)
    logger.set_params({"steps": STEPS})
    logger.on_train_begin()
    logger.on_epoch_begin(0)
    return logger


def fit(model, callbacks, rate=0.1, epochs=2, **compile_options):
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"], jit_compile=False, **compile_options)
    validation = (X, 3 * X)
    model.fit(X, 2 * X, batch_size=2, epochs=epochs, validation_data=validation, callbacks=callbacks, verbose=0)


def float32(points):
    return [(step, float(np.float32(value))) for step, value in points]


def test_an_event_file_comes_back_as_it_was_written(tmp_path):
    file = EventFile(tmp_path / "new" / "train")
    points = {1: {"a": 0.1, "b": -2.0}, 7: {"a": float("nan")}, 5_000_000_000: {"b": 1e-30}}
    for step, scalars in points.items():
        file.write(step, scalars)
    file.flush()
    written = read(tmp_path / "new" / "train")
    file.close()
    assert written["b"] == float32([(1, -2.0), (5_000_000_000, 1e-30)])
    assert [step for step, _ in written["a"]] == [1, 7]
    assert written["a"][0][1] == float(np.float32(0.1))
    assert np.isnan(written["a"][1][1])


def test_two_event_files_in_one_folder_do_not_overwrite_each_other(tmp_path):
    for step in (1, 2):
        file = EventFile(tmp_path)
        file.write(step, {"a": step})
        file.close()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("steps_per_execution", "steps"), [(1, list(range(1, 25))), (5, [5, 10, 12, 17, 22, 24]), (12, [12, 24])]
)
def test_fit_logs_every_execution_at_the_number_of_updates_made(model, logger, tmp_path, steps_per_execution, steps):
    witness = Witness()
    fit(model, [witness, logger], steps_per_execution=steps_per_execution)
    train = read(tmp_path / "train")
    assert [step for step, _ in train["batch_loss"]] == steps
    for name in ("loss", "mae"):
        assert train[f"batch_{name}"] == float32((step, logs[name]) for step, logs in witness.batches)


def test_every_epoch_is_logged_with_validation_in_a_folder_of_its_own(model, logger, tmp_path):
    witness = Witness()
    fit(model, [witness, logger])
    train, validation = read(tmp_path / "train"), read(tmp_path / "validation")
    assert set(train) == {
        "batch_loss",
        "batch_mae",
        "batch_learning_rate",
        "epoch_loss",
        "epoch_mae",
        "epoch_learning_rate",
        "epoch_steps_per_second",
    }
    assert set(validation) == {"epoch_loss", "epoch_mae"}
    assert [step for step, _ in witness.epochs] == [12, 24]
    for name in ("loss", "mae"):
        assert train[f"epoch_{name}"] == float32((step, logs[name]) for step, logs in witness.epochs)
        assert validation[f"epoch_{name}"] == float32((step, logs[f"val_{name}"]) for step, logs in witness.epochs)
    assert train["epoch_loss"] != validation["epoch_loss"]
    assert train["epoch_learning_rate"] == float32([(12, 0.1), (24, 0.1)])
    assert all(value > 0 for _, value in train["epoch_steps_per_second"])


def test_a_schedule_is_logged_as_the_rate_after_the_epochs_updates(model, logger, tmp_path):
    fit(model, [logger], rate=keras.optimizers.schedules.PolynomialDecay(0.1, 24, end_learning_rate=0.0))
    (first, half), (second, zero) = read(tmp_path / "train")["epoch_learning_rate"]
    assert (first, second) == (12, 24)
    assert half == pytest.approx(0.05)
    assert zero == pytest.approx(0.0)


def test_without_an_optimizer_the_rate_is_the_hyper_parameter(begun, tmp_path):
    begun.on_train_batch_end(0, {"loss": 1.0})
    begun.on_epoch_end(0, {"loss": 1.0})
    begun.close()
    assert read(tmp_path / "train")["epoch_learning_rate"] == [(1, 0.25)]


def test_a_chunk_gets_a_point_for_every_step(begun, tmp_path):
    losses, accuracies = np.float32([4, 3, 2, 1]), np.float32([0.1, 0.2, 0.3, 0.4])
    for epoch in range(2):
        begun.on_epoch_begin(epoch)
        for first in (0, 4, 8):
            begun.on_train_chunk_end(first, {"loss": losses + first, "accuracy": accuracies})
            begun.on_train_batch_end(first + 3, {"loss": losses[-1] + first, "accuracy": accuracies[-1]})
        begun.on_epoch_end(epoch, {"loss": 9.0})
    begun.close()
    train = read(tmp_path / "train")
    expected = [float(loss + first) for first in (0, 4, 8) for loss in losses]
    assert train["batch_loss"] == list(enumerate(2 * expected, start=1))
    assert train["batch_accuracy"] == float32(enumerate(6 * accuracies.tolist(), start=1))
    assert train["epoch_loss"] == [(12, 9.0), (24, 9.0)]


def test_a_chunk_that_ends_in_a_short_execution_is_logged_once(begun, tmp_path):
    for first, last, steps in ((0, 7, 8), (8, 15, 4)):  # fit counts past the end, and so does the custom loop
        begun.on_train_chunk_end(first, {"loss": np.ones(steps, np.float32)})
        begun.on_train_batch_end(last, {"loss": 1.0})
    begun.close()
    assert [step for step, _ in read(tmp_path / "train")["batch_loss"]] == list(range(1, 13))


def test_points_are_visible_when_training_ends(begun, tmp_path):
    begun.on_train_batch_end(0, {"loss": 1.0})
    begun.on_train_end()
    assert read(tmp_path / "train")["batch_loss"] == [(1, 1.0)]


def test_closing_twice_is_harmless(begun):
    begun.close()
    begun.close()
    assert begun.files == {}


def test_closing_before_training_writes_nothing(logger, tmp_path):
    logger.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("steps_per_execution", [None, 8])
def test_both_sides_log_the_same_tags_and_the_loop_every_step(train, steps_per_execution):
    options = {"data": "iris", "epochs": 2, "batch_size": 8, "jit_compile": False}  # 96 examples: 12 steps
    fit_side = train("mlp_classifier", "fit", **options)
    loop_side = train("mlp_classifier", "custom_loop", steps_per_execution=steps_per_execution, **options)
    for part in ("train", "validation"):
        ours, theirs = read(fit_side.folder / part), read(loop_side.folder / part)
        assert set(ours) == set(theirs)
        for tag in set(ours) - {"epoch_steps_per_second"}:
            assert ours[tag] == theirs[tag]


SCHEDULE = keras.optimizers.schedules.PolynomialDecay(0.1, 24, end_learning_rate=0.0)


def fit_by_loop(model, logger, rate, learning_rate=None, steps_per_execution=None):
    """Train as `fit` does; a `learning_rate` stands for an update rule written by hand, without an optimizer."""
    optimizer = None if learning_rate is not None else keras.optimizers.SGD(rate)
    loss, metrics = keras.losses.MeanSquaredError(), [keras.metrics.Mean(name="loss")]

    def train_step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        if optimizer is not None:
            optimizer.apply(gradients, model.trainable_variables)
        metrics[0].update_state(value, sample_weight=tf.shape(x)[0])

    driver = loop.Loop(
        model,
        train_step,
        loop.make_test_step(model, loss, metrics),
        metrics,
        optimizer,
        learning_rate=learning_rate,
        steps_per_execution=steps_per_execution,
    )
    split = Split(X, 2 * X)
    dataset = Dataset(split, split, split, preprocessing=None)
    driver.train(dataset, batch_size=2, epochs=2, seed=0, callbacks=[logger])


@pytest.mark.parametrize("rate", [0.0625, SCHEDULE], ids=["constant", "schedule"])
@pytest.mark.parametrize("steps_per_execution", [1, 5, 12])
def test_fit_logs_the_rate_of_every_update(model, logger, tmp_path, rate, steps_per_execution):
    fit(model, [logger], rate=rate, steps_per_execution=steps_per_execution)
    points = read(tmp_path / "train")["batch_learning_rate"]
    assert [step for step, _ in points] == list(range(1, 25))
    expected = [float(rate(step)) if callable(rate) else rate for step in range(24)]
    assert [value for _, value in points] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("rate", "steps_per_execution"), [(0.0625, None), (SCHEDULE, None), (SCHEDULE, 1), (SCHEDULE, 5)]
)
def test_the_loop_logs_the_rates_that_fit_logs(model, logger, tmp_path, rate, steps_per_execution):
    fit_by_loop(model, logger, rate, steps_per_execution=steps_per_execution)
    by_loop = read(tmp_path / "train")
    other = TensorBoardLogger(tmp_path / "fit", HParams())
    fit(model, [other], rate=rate)
    other.close()
    by_fit = read(tmp_path / "fit" / "train")
    assert len(by_fit["batch_learning_rate"]) == 24
    for tag in ("batch_learning_rate", "epoch_learning_rate"):
        assert by_loop[tag] == by_fit[tag]


@pytest.mark.parametrize(
    ("learning_rate", "expected"),
    [(0.0625, [0.0625] * 24), (lambda updates: 1 / (tf.cast(updates, tf.float32) + 1), 1 / np.arange(1, 25))],
    ids=["number", "function"],
)
def test_a_loop_without_an_optimizer_shows_the_rate_it_was_given(model, logger, tmp_path, learning_rate, expected):
    fit_by_loop(model, logger, None, learning_rate)
    points = read(tmp_path / "train")["batch_learning_rate"]
    assert points == [(step, pytest.approx(value)) for step, value in enumerate(expected, start=1)]


def test_a_rate_that_changes_between_epochs_holds_for_the_updates_of_the_next(model, logger, tmp_path):
    fit(model, [keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1)), logger], steps_per_execution=5)
    points = read(tmp_path / "train")["batch_learning_rate"]
    assert points == list(enumerate([0.5] * 12 + [0.25] * 12, start=1))


@pytest.mark.parametrize("tag", ["batch_learning_rate", "epoch_learning_rate"])
def test_a_model_that_is_trained_on_shows_the_rates_its_optimizer_takes(model, logger, tmp_path, tag):
    fit(model, [], rate=SCHEDULE, epochs=1)
    model.fit(X, 2 * X, batch_size=2, callbacks=[logger], verbose=0)
    rates = {"batch_learning_rate": range(12, 24), "epoch_learning_rate": [24]}[tag]
    values = [value for _, value in read(tmp_path / "train")[tag]]
    assert values == pytest.approx([float(SCHEDULE(step)) for step in rates], abs=1e-9)


def test_a_picture_comes_back_as_it_was_written_beside_the_scalars(tmp_path):
    pictures = [bytes(keras.ops.convert_to_numpy(tf.io.encode_png(np.full((3, 5, 3), v, np.uint8)))) for v in (0, 200)]
    file = EventFile(tmp_path)
    file.write(2, {"loss": 0.5})
    file.write_picture(7, "curve", pictures[0])
    file.write_picture(9, "other/curve", pictures[1])
    file.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["images"] == ["curve", "other/curve"]
    shown = [(each.step, each.encoded_image_string) for tag in ("curve", "other/curve") for each in events.Images(tag)]
    assert shown == [(7, pictures[0]), (9, pictures[1])]
    assert read(tmp_path) == {"loss": [(2, 0.5)]}
