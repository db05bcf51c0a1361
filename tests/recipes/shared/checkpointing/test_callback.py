"""Runs that are cut off in this process and go on in a new model; tests/test_kill.py does it to real processes."""

import functools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops import loop
from recipes.commands import parity
from recipes.shared import data, interruption, losses, state
from recipes.shared.checkpointing.options import Saving
from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams
from recipes.shared.logging_options import LoggingOptions
from recipes.shared.run import Run
from tests.trainings import slow

NOTHING = LoggingOptions(level="nothing")
SAVING, RESUMING = Saving(active=True), Saving(active=True, resume=True)
PAIRS = {
    "adam": {"epochs": 4},  # a rule written by hand: its moments are in no optimizer
    "cnn_classifier": {"epochs": 3, "steps_per_execution": 9},
    "dropout": {"epochs": 4},
    "early_stopping": {"epochs": 60, "patience": 2, "rate_patience": 1, "learning_rate": 0.01},
    "gradient_descent": {"epochs": 9},  # a loop of its own
}


class CutOff(Exception):
    pass


@pytest.fixture
def cut_off(monkeypatch):
    """A function that lets the training in this process end after so many executions, as a signal does."""

    def cut_off(executions):
        left = [executions]

        def asked():
            return left[0] == 1

        def stop_if_asked():
            left[0] -= 1
            if not left[0]:
                raise CutOff

        monkeypatch.setattr(interruption, "asked", asked)
        monkeypatch.setattr(interruption, "stop_if_asked", stop_if_asked)

    yield cut_off
    monkeypatch.undo()


def executions(folder):
    """Return how many executions each training in `folder` had."""
    reports = [json.loads(path.read_text()) for path in parity.finished_files(folder, "report.json")]
    return [report["updates"] // report["steps_per_execution"] for report in reports if not report["children"]]


# `make` below has a test of the fit side, and one with random bits; the others are slow.
FEW = {(name, "custom_loop") for name in ("adam", "early_stopping", "gradient_descent")}


@pytest.mark.parametrize(
    ("name", "side"),
    [
        pytest.param(name, side, marks=[] if (name, side) in FEW else pytest.mark.slow)
        for name in PAIRS
        for side in ("fit", "custom_loop")
    ],
)
def test_a_run_that_was_cut_off_ends_with_the_bits_of_one_that_was_not(tmp_path, train_into, cut_off, name, side):
    whole = train_into(tmp_path / "whole", name, side, saving=SAVING, **PAIRS[name])
    assert any(tmp_path.glob("whole/**/checkpoints"))
    whole.remove_checkpoints()
    assert not any(tmp_path.glob("whole/**/checkpoints"))
    counts = executions(whole.folder)
    moment = sum(counts) * 5 // 8
    cut_off(moment)
    with pytest.raises(CutOff):
        train_into(tmp_path / "cut", name, side, saving=SAVING, **PAIRS[name])
    cut_off(-1)
    resumed = train_into(tmp_path / "cut", name, side, saving=RESUMING, **PAIRS[name])
    result = parity.compare(whole.folder, resumed.folder)
    assert result.identical, result.reasons
    assert (
        json.loads((whole.folder / "report.json").read_text()).keys()
        == json.loads((resumed.folder / "report.json").read_text()).keys()
    )
    for part in ("updates", "examples_seen", "weights_moved"):
        values = [json.loads((each.folder / "report.json").read_text())[part] for each in (whole, resumed)]
        assert values[0] == values[1], part


def make(folder, side, saving, epochs=6, others=(), hparams=None):
    """Train a model that has one of everything: masks, moving statistics, averaged weights, accumulated gradients."""
    hparams = hparams or HParams(epochs=epochs, batch_size=64)
    dataset = data.load(hparams, "classification")
    keras.backend.clear_session()  # names, which the comparison goes by
    keras.utils.set_random_seed(hparams.seed)
    model = keras.Sequential(
        [
            keras.Input(dataset.input_shape),
            keras.layers.Flatten(),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, kernel_regularizer=keras.regularizers.L2(0.01)),
        ]
    )
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 50, 0.9)
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.9, gradient_accumulation_steps=3), initial_scale=8.0
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    run = Run(folder, hparams, logging=NOTHING, saving=saving)
    callbacks = run.callbacks(dataset, *others)
    try:
        if side == "fit":
            model.compile(optimizer, loss, jit_compile=False)
            order = data.EpochOrder(dataset.train, hparams.seed)
            history = model.fit(
                order.batches(hparams.batch_size),
                validation_data=data.batches(dataset.validation, hparams.batch_size),
                epochs=hparams.epochs,
                shuffle=False,
                callbacks=[order, *callbacks],
                verbose=0,
            ).history
        else:
            mean_loss = keras.metrics.Mean(name="loss")

            def train_step(x, y):
                with tf.GradientTape() as tape:
                    total_loss = losses.total(loss(y, model(x, training=True)), model.losses)
                    scaled_loss = optimizer.scale_loss(total_loss)
                gradients = tape.gradient(scaled_loss, model.trainable_variables)
                optimizer.apply(gradients, model.trainable_variables)
                mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])
                return total_loss

            driver = loop.Loop(model, train_step, loss, [mean_loss], optimizer, steps_per_execution=4)
            history = driver.train(
                dataset, batch_size=hparams.batch_size, epochs=hparams.epochs, seed=hparams.seed, callbacks=callbacks
            )
    finally:
        run.close()
    # fit builds a wrapped optimizer in another scope, so names may differ
    return {name.split()[0]: array.tobytes() for name, array in state.arrays(model).items()}, history


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A function that returns what a side ends with that nothing has cut off."""
    return functools.cache(lambda side: make(tmp_path_factory.mktemp("whole"), side, SAVING))


@pytest.mark.parametrize("moments", [[2], slow([5, 1, 7, 11])], ids=["once", "often"])
@pytest.mark.parametrize("side", ["fit", "custom_loop"])
def test_all_that_training_changes_is_saved(tmp_path, cut_off, whole, side, moments):
    expected = whole(side)
    for moment in moments:
        cut_off(moment * (4 if side == "fit" else 1))
        with pytest.raises(CutOff):
            make(tmp_path / "cut", side, RESUMING)
    cut_off(-1)
    assert make(tmp_path / "cut", side, RESUMING) == expected


def test_within_an_epoch_a_loop_saves_as_often_as_it_is_told(tmp_path, cut_off, whole):
    expected = whole("custom_loop")
    folder = tmp_path / "cut"
    cut_off(8)  # executions of 4 steps, 5 an epoch
    interruption.asked = lambda: False  # as with SIGKILL
    with pytest.raises(CutOff):
        make(folder, "custom_loop", Saving(active=True, every=2))
    names = sorted(path.name for path in (folder / "checkpoints" / "0").iterdir())
    assert names == ["epoch-000001-step-000000000.safetensors", "epoch-000001-step-000000008.safetensors"]
    cut_off(-1)
    assert make(folder, "custom_loop", RESUMING) == expected


@pytest.mark.parametrize("side", ["fit", "custom_loop"])
def test_an_early_stop_is_not_undone(tmp_path, train_into, side):
    settings = PAIRS["early_stopping"]
    whole = train_into(tmp_path / side, "early_stopping", side, NOTHING, SAVING, **settings)
    epochs = len(json.loads((whole.folder / "history.json").read_text())["loss"])
    assert epochs < settings["epochs"]
    before = (whole.folder / "history.json").read_bytes()
    (whole.folder / "report.json").unlink()  # cut off between the end of training and that of the run
    train_into(tmp_path / side, "early_stopping", side, NOTHING, RESUMING, **settings)
    with np.load(whole.folder / "state.npz") as archive:
        assert archive["optimizer/000 adam/iteration"] > 0
    assert (whole.folder / "history.json").read_bytes() == before


class Counter(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1


class Keeping(Counter):
    def get_state(self):
        return {"epochs": self.epochs}

    def set_state(self, state):
        self.epochs = state["epochs"]


@pytest.mark.parametrize("side", [slow("fit"), "custom_loop"])
def test_callbacks_of_the_users_own_are_kept_or_named(tmp_path, cut_off, capsys, side):
    cut_off(60 if side == "fit" else 15)
    with pytest.raises(CutOff):
        make(tmp_path, side, SAVING, others=[Counter(), Keeping()])
    cut_off(-1)
    others = [Counter(), Keeping()]
    make(tmp_path, side, RESUMING, others=others)
    # the loop was saved within its third epoch, whose end is counted once more
    assert [each.epochs for each in others] == [3 if side == "fit" else 4, 6]
    assert capsys.readouterr().err == "Counter has no get_state and set_state: what it remembers begins anew\n"


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, cut_off, whole, capsys):
    expected = whole("fit")
    cut_off(80)
    with pytest.raises(CutOff):
        make(tmp_path / "cut", "fit", SAVING)
    cut_off(-1)
    newest = max((tmp_path / "cut" / "checkpoints" / "0").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:1000])
    assert make(tmp_path / "cut", "fit", RESUMING) == expected
    line = capsys.readouterr().err
    assert f"{newest} is damaged" in line
    assert line.endswith("; the checkpoint before it is used, of epoch 3\n")


def test_another_configuration_model_or_data_is_refused(tmp_path, cut_off):
    cut_off(40)
    with pytest.raises(CutOff):
        make(tmp_path, "fit", SAVING)
    cut_off(-1)
    with pytest.raises(UsageError, match=r"--learning-rate is 0.5, and the run in .* has 0.001; a run goes on as it"):
        make(tmp_path, "fit", RESUMING, hparams=HParams(epochs=6, batch_size=64, learning_rate=0.5))
    with pytest.raises(UsageError, match=r"--data is iris"):
        make(tmp_path, "fit", RESUMING, hparams=HParams(epochs=6, batch_size=64, data="iris"))
    with pytest.raises(UsageError, match="of another model"):
        make(tmp_path, "custom_loop", RESUMING)  # the state of its metric has no place on the fit side


def test_training_data_that_have_changed_are_refused(tmp_path, cut_off):
    x, y = np.random.default_rng(0).normal(size=(400, 4)), np.arange(400) % 2
    hparams = HParams(epochs=6, batch_size=16, data=str(tmp_path / "table.npz"))
    np.savez(tmp_path / "table.npz", x_train=x, y_train=y)
    cut_off(40)
    with pytest.raises(CutOff):
        make(tmp_path / "run", "fit", SAVING, hparams=hparams)
    cut_off(-1)
    np.savez(tmp_path / "table.npz", x_train=x + 1e-6 * x**2, y_train=y)
    with pytest.raises(UsageError, match="the training data are others"):
        make(tmp_path / "run", "fit", RESUMING, hparams=hparams)


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    import fcntl

    (tmp_path / "checkpoints").mkdir()
    with (tmp_path / "checkpoints" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process trains in"):
            make(tmp_path, "fit", RESUMING)


def test_without_room_the_training_goes_on_and_the_last_good_checkpoint_stays(tmp_path, monkeypatch, capsys):
    whole = make(tmp_path / "whole", "fit", Saving())
    write_bytes, calls = Path.write_bytes, []

    def fills_up(path, content):
        calls.append(path)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", fills_up)
    assert make(tmp_path / "run", "fit", SAVING) == whole
    assert capsys.readouterr().err == (
        f"cannot save a checkpoint to {tmp_path}/run/checkpoints: No space left on device; the last is of epoch 2\n"
    )
    assert max((tmp_path / "run" / "checkpoints" / "0").iterdir()).name == "epoch-000002-step-000000000.safetensors"


def test_a_loop_that_does_not_begin_where_it_was_cut_off_is_stopped(tmp_path, cut_off):
    cut_off(40)
    with pytest.raises(CutOff):
        make(tmp_path, "fit", SAVING)
    cut_off(-1)
    hparams = HParams(epochs=6, batch_size=64)
    dataset = data.load(hparams, "classification")
    run = Run(tmp_path, hparams, logging=NOTHING, saving=RESUMING)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(1)])
    checkpoints = run.callbacks(dataset)[0]
    checkpoints._restore = lambda: None
    hooks = keras.callbacks.CallbackList([checkpoints], model=model, epochs=6, steps=18)
    hooks.on_train_begin()
    assert run.first_epoch == 2
    with pytest.raises(UsageError, match=r"let its epochs begin at run.first_epoch"):
        hooks.on_epoch_begin(0)
    run.close()
