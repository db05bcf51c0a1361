"""Runs that are cut off in this process and go on in a new model; tests/test_kill.py does it to real processes."""

import functools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from custom_loops.loop import Loop
from recipes.commands import parity
from recipes.shared import data, interruption, losses, state
from recipes.shared.batches import Batches
from recipes.shared.callbacks import Hooks
from recipes.shared.checkpointing import storage
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


def make(folder, side, saving, epochs=6, others=(), hparams=None, steps_per_execution=4, logging=NOTHING):
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
    run = Run(folder, hparams, logging=logging, saving=saving)
    batches = dataset.batches(hparams)
    try:
        if side == "fit":
            model.compile(optimizer, loss, jit_compile=False)
            history = model.fit(
                batches.train,
                validation_data=batches.validation,
                initial_epoch=run.first_epoch,
                epochs=hparams.epochs,
                shuffle=False,
                callbacks=run.callbacks(batches, *others),
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
                return {"loss": total_loss}

            def test_step(x, y):
                total_loss = losses.total(loss(y, model(x, training=False)), model.losses)
                mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])
                return {"loss": total_loss}

            loop = Loop(model, train_step, test_step, [mean_loss], optimizer, steps_per_execution=steps_per_execution)
            history = loop.train(batches, epochs=hparams.epochs, callbacks=run.callbacks(batches, *others))
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps_per_execution", "every", "moment", "step"),
    [
        (None, 1, 3, 18),  # an epoch is one execution, so that what is left of it is its end alone
        (4, 5, 10, 18),
        (1, 7, 18 + 11, 7),
        (1, 1, 18 + 2, 2),
    ],
)
def test_a_loop_goes_on_within_an_epoch_at_any_step_of_it(
    tmp_path, cut_off, whole, steps_per_execution, every, moment, step
):
    expected = whole("custom_loop")
    folder = tmp_path / "cut"
    cut_off(moment)
    interruption.asked = lambda: False  # as with SIGKILL
    with pytest.raises(CutOff):
        make(folder, "custom_loop", Saving(active=True, every=every), steps_per_execution=steps_per_execution)
    assert storage.Folder(folder / "checkpoints" / "0").positions()[-1].step == step
    cut_off(-1)
    assert make(folder, "custom_loop", RESUMING, steps_per_execution=steps_per_execution) == expected


class Begun(keras.callbacks.Callback):
    """Notes what begins: epochs and executions."""

    def __init__(self):
        super().__init__()
        self.begun = []

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        self.begun.append(batch)


@pytest.mark.slow
def test_no_step_that_was_made_before_is_made_again(tmp_path, cut_off):
    cut_off(5 + 3)
    with pytest.raises(CutOff):
        make(tmp_path, "custom_loop", SAVING, epochs=3)
    cut_off(-1)
    begun = Begun()
    make(tmp_path, "custom_loop", RESUMING, epochs=3, others=[begun])
    assert begun.begun == ["epoch 1", 12, 16, "epoch 2", 0, 4, 8, 12, 16]


@pytest.mark.slow
@pytest.mark.parametrize("side", [slow("fit"), "custom_loop"])
def test_the_points_of_tensorboard_are_those_of_a_run_that_was_not_cut_off(tmp_path, cut_off, side):
    """But for those of speed; a step that was logged before it was cut off may be there twice."""

    def points(folder):
        events = EventAccumulator(str(folder / "train"), size_guidance={"scalars": 0}).Reload()
        tags = [tag for tag in events.Tags()["scalars"] if "per_second" not in tag and "memory" not in tag]
        return {tag: {point.step: point.value for point in events.Scalars(tag)} for tag in tags}

    every = LoggingOptions(every=7)
    make(tmp_path / "whole", side, SAVING, epochs=3, logging=every)
    cut_off(18 + 10 if side == "fit" else 5 + 3)
    with pytest.raises(CutOff):
        make(tmp_path / "cut", side, SAVING, epochs=3, logging=every)
    cut_off(-1)
    make(tmp_path / "cut", side, RESUMING, epochs=3, logging=every)
    ours, theirs = points(tmp_path / "whole"), points(tmp_path / "cut")
    assert list(ours["probe_gradient_norm"]) == [0, 7, 14, 18, 21, 28, 35, 36, 42, 49, 54]
    for tag, values in ours.items():
        assert {step: theirs[tag].get(step) for step in values} == values, tag


@pytest.mark.parametrize("saved", ["after an epoch", "within an epoch"])
@pytest.mark.parametrize("first", ["first_epoch", "callbacks"])
def test_where_a_run_goes_on_is_known_before_it_trains(tmp_path, cut_off, first, saved):
    cut_off(40 if saved == "after an epoch" else 5 + 5 + 3)
    with pytest.raises(CutOff):
        make(tmp_path, "fit" if saved == "after an epoch" else "custom_loop", SAVING)
    cut_off(-1)
    hparams = HParams(epochs=6, batch_size=64)
    run = Run(tmp_path, hparams, logging=NOTHING, saving=RESUMING)
    batches = data.load(hparams, "classification").batches(hparams)
    if first == "callbacks":
        run.callbacks(batches)
    assert run.first_epoch == 2
    assert run.first_epoch == 2
    assert Run(tmp_path, hparams, logging=NOTHING, saving=SAVING).first_epoch == 0  # it does not resume
    assert Run(tmp_path / "new", hparams, logging=NOTHING, saving=RESUMING).first_epoch == 0
    assert not (tmp_path / "new").exists()
    run.close()


@pytest.mark.slow
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


@pytest.mark.slow
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


def plain(folder, saving, **options):
    """Train one weight by fit, for three epochs of two steps; return the weight."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    batches = Batches((x, 2 * x), 4)
    run = Run(folder, HParams(), logging=NOTHING, saving=saving)
    options = {name: make(run) for name, make in options.items()}
    try:
        model.fit(batches.train, **options, callbacks=run.callbacks(batches), epochs=3, shuffle=False, verbose=0)
    finally:
        run.close()
    return model.get_weights()[0].tobytes()


def test_fit_without_initial_epoch_is_refused_and_the_message_names_it(tmp_path, cut_off):
    expected = plain(tmp_path / "whole", SAVING)
    cut_off(3)
    with pytest.raises(CutOff):
        plain(tmp_path / "cut", SAVING)
    cut_off(-1)
    with pytest.raises(
        UsageError, match=r"began with epoch 1, .* in epoch 2; .*\(fit: initial_epoch=run\.first_epoch\)"
    ):
        plain(tmp_path / "cut", RESUMING)
    assert plain(tmp_path / "cut", RESUMING, initial_epoch=lambda run: run.first_epoch) == expected


@pytest.mark.slow
def test_the_trainings_of_one_run_go_on_one_by_one(tmp_path, cut_off):
    """`first_epoch` is that of the training that comes next: the first has ended, the second was cut off."""

    def two(saving):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
        batches, run, began = Batches((x, 2 * x), 4), Run(tmp_path, HParams(), logging=NOTHING, saving=saving), []
        try:
            for _ in range(2):
                began.append(run.first_epoch)
                model.fit(
                    batches.train,
                    initial_epoch=run.first_epoch,
                    epochs=3,
                    shuffle=False,
                    callbacks=run.callbacks(batches),
                    verbose=0,
                )
        finally:
            run.close()
        return began, [weight.tobytes() for weight in model.get_weights()]

    _, expected = two(SAVING)
    run = Run(tmp_path, HParams(), logging=NOTHING, saving=SAVING)
    run.remove_checkpoints()
    cut_off(6 + 5)
    with pytest.raises(CutOff):
        two(SAVING)
    cut_off(-1)
    assert two(RESUMING) == ([3, 2], expected)


def test_a_loop_that_does_not_begin_where_it_was_cut_off_is_stopped(tmp_path, cut_off):
    cut_off(40)
    with pytest.raises(CutOff):
        make(tmp_path, "fit", SAVING)
    cut_off(-1)
    hparams = HParams(epochs=6, batch_size=64)
    dataset = data.load(hparams, "classification")
    run = Run(tmp_path, hparams, logging=NOTHING, saving=RESUMING)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(1)])
    batches, checkpoints, *_ = run.callbacks(dataset.batches(hparams))
    checkpoints._restore = lambda: None
    hooks = Hooks(model, [batches, checkpoints], epochs=6, steps=18)
    assert run.first_epoch == 2
    hooks.on_train_begin()
    assert run.first_epoch == batches.first_epoch == 2
    with pytest.raises(UsageError, match=r"let its epochs begin at run.first_epoch"):
        hooks.on_epoch_begin(0)
    run.close()
