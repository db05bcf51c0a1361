"""What the recorder writes, counts and stops."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.shared import recording
from recipes.shared.batches import Batches, epoch_order
from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams
from recipes.shared.recording import Recorder

STEPS = 12  # of two examples each
X = np.linspace(-1, 1, 2 * STEPS, dtype=np.float32)[:, None]


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


@pytest.fixture
def recorder(tmp_path):
    return Recorder(tmp_path / "logs" / "fit", HParams(learning_rate=0.01), {"recipe": "mine"})


@pytest.fixture
def begun(recorder, model):
    """A recorder in the first epoch of a training of twelve steps."""
    recorder.set_model(model)
    recorder.set_params({"steps": STEPS})
    model.stop_training = False
    recorder.on_train_begin()
    recorder.on_epoch_begin(0)
    return recorder


def targets(bad_step=None, value=np.nan):
    y = 2 * X
    if bad_step is not None:
        y[2 * bad_step - 1] = value
    return y


def fit(model, recorder, y, steps_per_execution=1, epochs=2, **options):
    model.compile(keras.optimizers.SGD(0.01), "mse", steps_per_execution=steps_per_execution, jit_compile=False)
    return model.fit(
        X, y, batch_size=2, epochs=epochs, shuffle=False, callbacks=[recorder], verbose=0, **options
    ).history


def run_loop(model, recorder, y, steps_per_execution=None, name="loss"):
    """Train by the custom loop, whose order is shuffled; return the first step that sees a target not finite.

    Its step returns its loss under `name`; if that is None, it returns nothing, and the running mean says it.
    """
    optimizer, mean = keras.optimizers.SGD(0.01), keras.metrics.Mean(name=name or "loss")

    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        mean.update_state(loss)
        return None if name is None else {name: loss}

    def test_step(x, y):
        mean.update_state(0.0)

    batches = Batches((X, y), 2, validation=(X, targets()))
    loop = Loop(model, train_step, test_step, [mean], optimizer, steps_per_execution=steps_per_execution)
    loop.train(batches, epochs=2, callbacks=[recorder])
    order = epoch_order(len(X), 0, 0).numpy()
    return int(np.flatnonzero(~np.isfinite(y[order, 0]))[0]) // 2 + 1


@pytest.mark.parametrize("steps_per_execution", [1, 5, 8, STEPS])
def test_the_history_is_that_of_fit_and_the_counts_are_right(model, recorder, steps_per_execution, tmp_path):
    history = fit(model, recorder, targets(), steps_per_execution, validation_data=(X, targets()))
    assert list(history) == ["loss", "val_loss"]
    assert recorder.history == history
    assert json.loads((tmp_path / "logs" / "fit" / "history.json").read_text()) == history
    assert recorder.updates == 2 * STEPS == int(model.optimizer.iterations)
    assert recorder.steps_per_execution == steps_per_execution
    assert len(recorder.epoch_seconds) == 2
    assert min(recorder.epoch_seconds) > 0
    assert recorder.diverged is None
    assert recorder.weights_moved()


@pytest.mark.parametrize(("given", "noted"), [(1, 1), (8, 8), (None, STEPS)])
def test_the_custom_loop_is_recorded_alike(model, recorder, given, noted):
    y = targets()
    with pytest.raises(IndexError):  # no target is bad
        run_loop(model, recorder, y, given)
    assert recorder.updates == 2 * STEPS == int(model.optimizer.iterations)
    assert recorder.steps_per_execution == noted
    assert recorder.history == model.history.history
    assert recorder.diverged is None


@pytest.mark.parametrize("bad_step", [1, 5, STEPS])
def test_fit_step_by_step_names_the_step_that_diverged(model, recorder, bad_step):
    fit(model, recorder, targets(bad_step))
    message = str(recorder.diverged)
    assert f"the loss became NaN at step {bad_step} of epoch 1;" in message
    assert "try a smaller --learning-rate than 0.01" in message
    assert str(recorder.folder) in message
    assert "\n" not in message
    assert recorder.updates == bad_step
    assert len(recorder.epoch_seconds) == 1


@pytest.mark.parametrize(("bad_step", "bound"), [(3, 8), (8, 8), (10, STEPS)])
def test_fit_by_executions_names_the_last_step_it_can_be(model, recorder, bad_step, bound):
    fit(model, recorder, targets(bad_step), steps_per_execution=8)
    assert f"the loss became NaN at or before step {bound} of epoch 1;" in str(recorder.diverged)


@pytest.mark.parametrize("bad_row", [0, 9, 23])
@pytest.mark.parametrize("steps_per_execution", [1, 8, None])
def test_the_custom_loop_names_the_step_whatever_the_execution(model, recorder, bad_row, steps_per_execution):
    y = targets()
    y[bad_row] = np.nan
    step = run_loop(model, recorder, y, steps_per_execution)
    assert f"the loss became NaN at step {step} of epoch 1;" in str(recorder.diverged)
    assert len(recorder.epoch_seconds) == 1


def test_an_infinite_loss_is_called_infinite(model, recorder):
    fit(model, recorder, targets(4, np.inf))
    assert "the loss became infinite at step 4 of epoch 1" in str(recorder.diverged)


@pytest.mark.parametrize("name", ["loss", "generator_loss"])
def test_a_chunk_is_searched_for_its_first_bad_step(begun, name):
    begun.on_chunk_end(0, {name: np.float32([1, 2, 3, 4])}, {})
    assert begun.diverged is None
    assert begun.model.stop_training is False
    begun.on_chunk_end(4, {name: np.float32([1, np.inf, np.nan, 4])}, {})
    assert f"the {name.replace('_', ' ')} became infinite at step 6 of epoch 1" in str(begun.diverged)
    assert begun.model.stop_training is True
    first = begun.diverged
    begun.on_chunk_end(8, {name: np.float32([np.nan])}, {})
    assert begun.diverged is first


@pytest.mark.parametrize(
    ("values", "metrics", "message"),
    [
        ({"generator_loss": [1, np.nan], "loss": [1, 1]}, {}, "the generator loss became NaN at step 2 of epoch 1;"),
        ({"loss": [1, 1], "critic_loss": [np.inf, 1]}, {}, "the critic loss became infinite at step 1 of epoch 1;"),
        ({"accuracy": [np.nan, np.nan], "lossy": [np.nan, np.nan]}, {"loss": [1, np.nan]}, "the loss became NaN at"),
        ({"loss": [1, 1]}, {"loss": [np.nan, np.nan]}, None),  # the mean of an earlier step, which was told of
        ({"gradient_norm": [np.nan, np.nan]}, {"auc": [np.nan, np.nan]}, None),
        ({}, {}, None),
    ],
)
def test_what_is_called_a_loss_is_checked_and_nothing_else(begun, values, metrics, message):
    values, metrics = ({name: np.float32(each) for name, each in part.items()} for part in (values, metrics))
    begun.on_chunk_end(0, values, metrics)
    assert (begun.diverged is None) == (message is None)
    assert (message or "") in str(begun.diverged)


@pytest.mark.parametrize("name", ["generator_loss", None])
def test_a_loss_of_another_name_and_one_that_only_a_metric_knows_stop_the_loop_at_their_step(model, recorder, name):
    y = targets()
    y[9] = np.nan
    step = run_loop(model, recorder, y, name=name)
    what = "loss" if name is None else "generator loss"
    assert f"the {what} became NaN at step {step} of epoch 1;" in str(recorder.diverged)
    assert len(recorder.epoch_seconds) == 1


def test_one_of_the_losses_of_fit_is_named(recorder):
    class Two(keras.Model):
        """Logs two losses, of which one is NaN from the third step on."""

        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.made = self.add_weight(shape=(), trainable=False, initializer="zeros")

        def call(self, x):
            return self.dense(x)

        def train_step(self, batch):
            self.made.assign_add(1.0)
            return {"critic_loss": 1.0, "generator_loss": tf.where(self.made < 3, 1.0, np.nan)}

    model = Two()
    model.compile("sgd", jit_compile=False)
    model.fit(X, targets(), batch_size=2, epochs=2, callbacks=[recorder], verbose=0)
    assert "the generator loss became NaN at step 3 of epoch 1;" in str(recorder.diverged)
    assert recorder.updates == 3


@pytest.mark.parametrize("name", ["val_loss", "val_generator_loss"])
def test_each_loss_of_validation_is_checked(begun, name):
    begun.on_epoch_end(0, {"loss": 1.0, "val_accuracy": np.nan, name: np.nan})
    what = name.removeprefix("val_").replace("_", " ")
    assert f"the {what} became NaN in validation, after step 0 of epoch 1;" in str(begun.diverged)


def test_a_later_epoch_is_watched_like_the_first(model, recorder):
    class Ruin(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == STEPS + 4:
                self.model.layers[0].kernel.assign([[np.nan]])

    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    model.fit(X, targets(), batch_size=2, epochs=3, callbacks=[Ruin(), recorder], verbose=0)
    assert "the loss became NaN at step 5 of epoch 2;" in str(recorder.diverged)
    assert recorder.updates == STEPS + 5


def test_validation_shows_that_the_last_update_ruined_the_weights(model, recorder):
    class Ruin(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            self.model.layers[0].kernel.assign([[np.inf]])

    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    validation = (X + 2, targets())
    model.fit(X, targets(), 2, epochs=3, validation_data=validation, callbacks=[Ruin(), recorder], verbose=0)
    assert f"the loss became infinite in validation, after step {STEPS} of epoch 1;" in str(recorder.diverged)
    assert len(recorder.history["loss"]) == 1
    assert recorder.updates == STEPS


def test_the_epoch_is_counted_from_one(begun):
    begun.on_epoch_begin(6)
    begun.on_train_batch_begin(0)
    begun.on_train_batch_end(0, {"loss": np.nan})
    assert "at step 1 of epoch 7" in str(begun.diverged)


def test_a_history_that_is_not_finite_has_null_in_its_file(model, recorder):
    history = fit(model, recorder, targets(3), epochs=3)
    assert np.isnan(history["loss"]).tolist() == [True]
    assert json.loads((recorder.folder / "history.json").read_text()) == {"loss": [None]}


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras cannot know that this was the last batch
def test_training_on_batches_of_unknown_number_is_recorded(model, recorder):
    batches = tf.data.Dataset.from_tensor_slices((X, targets())).batch(2).filter(lambda x, y: True)
    assert batches.cardinality() == tf.data.UNKNOWN_CARDINALITY
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(batches, epochs=2, shuffle=False, callbacks=[recorder], verbose=0)
    assert recorder.updates == 2 * STEPS
    assert len(recorder.history["loss"]) == 2


def test_the_configuration_is_there_when_training_begins(begun):
    config = json.loads((begun.folder / "config.json").read_text())
    assert config["recipe"] == "mine"
    assert config["hparams"] == json.loads(json.dumps(HParams(learning_rate=0.01).used()))  # JSON's lists for tuples
    assert config["versions"]["keras"] == keras.__version__
    assert config["versions"]["numpy"] == np.__version__
    assert config["hardware"]["cores"] >= 1
    assert config["constant_folding"] is False


def test_nothing_is_written_before_training_begins(recorder, tmp_path):
    recorder.write_history()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_answered_with_the_flag(model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder(tmp_path / "file" / "fit", HParams(), {})
    recorder.set_model(model)
    with pytest.raises(UsageError, match=r"cannot write to .*file/fit \(.*\); choose another --logs") as error:
        recorder.on_train_begin()
    assert "\n" not in str(error.value)


def test_short_epochs_do_not_rewrite_the_history_each_time(begun, monkeypatch):
    monkeypatch.setattr(recording, "SECONDS_BETWEEN_WRITES", 1e6)
    monkeypatch.setattr(begun, "_written_at", 0.0)
    monkeypatch.setattr(recording.time, "perf_counter", lambda: 2e6)
    path = begun.folder / "history.json"
    lengths = []
    for epoch in range(3):
        begun.on_epoch_end(epoch, {"loss": float(epoch)})
        lengths.append(len(json.loads(path.read_text())["loss"]))
    assert lengths == [1, 1, 1]
    begun.on_train_end()
    assert json.loads(path.read_text()) == {"loss": [0.0, 1.0, 2.0]}


def test_weights_have_moved_when_the_last_bit_of_one_has(begun):
    assert not begun.weights_moved()
    kernel = begun.model.trainable_variables[0]
    kernel.assign(np.nextafter(keras.ops.convert_to_numpy(kernel), np.float32(9)))
    assert begun.weights_moved()
