"""Pictures while training: when they are drawn, where they go, and that they leave no trace in the model."""

import json

import keras
import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from custom_loops.loop import Loop
from recipes.shared import state
from recipes.shared.batches import Batches, Misuse
from recipes.shared.hparams import HParams
from recipes.shared.logging_options import LoggingOptions
from recipes.shared.run import Run

X = np.linspace(-1, 1, 10, dtype=np.float32)[:, None]
STEPS = 3  # of four examples each; the last is short


class Drawing(keras.Model):
    """Drops out, and has a generator of its own, from which it draws in every call."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(7)
        self.dropout = keras.layers.Dropout(0.5, seed=3)
        self.normalization = keras.layers.BatchNormalization()
        self.dense = keras.layers.Dense(1)

    def call(self, x, training=False):
        noise = 0.1 * keras.random.normal(keras.ops.shape(x), seed=self.seeds)
        return self.dense(self.normalization(self.dropout(x + noise, training=training), training=training))


def build():
    keras.backend.clear_session()  # so that all are named alike
    keras.utils.set_random_seed(0)
    model = Drawing()
    model(X)
    return model


def train(run, model, *callbacks, side="fit", epochs=5):
    """Train by one of the sides, and finish the run."""
    batches = Batches((X, 2 * X), 4)
    optimizer, loss = keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError()
    given = {"epochs": epochs, "callbacks": run.callbacks(batches, *callbacks)}
    if side == "fit":
        model.compile(optimizer, loss, jit_compile=False)
        model.fit(batches.train, shuffle=False, verbose=0, **given)
    else:
        import tensorflow as tf

        def train_step(x, y):
            with tf.GradientTape() as tape:
                value = loss(y, model(x, training=True))
            optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
            return {"loss": value}

        Loop(model, train_step, optimizers=optimizer).train(batches, **given)
    run.finish(model, None, {"loss": 0.5})
    run.close()


class Draw:
    """Draws what the model makes of some noise, in training mode too, and remembers at which weights."""

    def __init__(self):
        self.weights = []

    def __call__(self, model):
        noise = keras.random.normal((4, 1), seed=model.seeds)
        figure = Figure(figsize=(1, 1), dpi=50)
        figure.subplots().plot(np.concatenate([np.array(model(noise, training=mode)) for mode in (True, False)]))
        self.weights.append(model.get_weights())
        return figure


def pictures_in(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return events.Images("samples") if "samples" in events.Tags()["images"] else []


@pytest.mark.parametrize("side", ["fit", "loop"])
def test_a_training_with_pictures_ends_with_the_bits_of_one_without(tmp_path, side):
    ends = []
    for name in ("with", "without"):
        run, model = Run(tmp_path / name, HParams(), logging=LoggingOptions(level="scalars")), build()
        train(run, model, *([run.pictures("samples", Draw())] if name == "with" else []), side=side)
        ends.append(state.arrays(model))
    assert ends[0].keys() == ends[1].keys()
    assert any(name.startswith("seeds/") for name in ends[0])
    assert all(ends[0][name].tobytes() == ends[1][name].tobytes() for name in ends[0])


@pytest.mark.parametrize("side", ["fit", "loop"])
@pytest.mark.parametrize(("every", "drawn"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (10, [5])])
def test_there_is_a_picture_every_nth_epoch_and_of_the_trained_model(tmp_path, side, every, drawn):
    run, model, draw = Run(tmp_path / "run", HParams()), build(), Draw()
    train(run, model, run.pictures("samples", draw, every=every), side=side)
    shown = pictures_in(tmp_path / "run")
    assert [each.step for each in shown] == [epoch * STEPS for epoch in drawn]
    assert shown[-1].encoded_image_string == (tmp_path / "run" / "samples.png").read_bytes()
    np.testing.assert_array_equal(draw.weights[-1][-1], model.get_weights()[-1])
    assert image.imread(tmp_path / "run" / "samples.png").shape == (50, 50, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("level", "drawn"), [("everything", 3), ("scalars", 3), ("nothing", 1)])
def test_what_is_logged_decides_how_many_are_drawn_and_the_last_is_in_the_folder(tmp_path, names_in, level, drawn):
    run, model, draw = Run(tmp_path / "run", HParams(), logging=LoggingOptions(level=level)), build(), Draw()
    train(run, model, run.pictures("samples", draw, every=2))
    assert len(draw.weights) == drawn
    assert "samples.png" in names_in(tmp_path / "run")
    assert len(pictures_in(tmp_path / "run")) == (drawn if level == "everything" else 0)


class Stop(keras.callbacks.Callback):
    """Stops the training after three epochs."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 2


@pytest.mark.slow
@pytest.mark.parametrize(("every", "drawn"), [(2, [2, 3]), (3, [3]), (10, [3])])
def test_a_training_that_is_stopped_early_has_its_last_picture_once(tmp_path, every, drawn):
    run = Run(tmp_path / "run", HParams())
    train(run, build(), run.pictures("samples", Draw(), every=every), Stop())
    assert [each.step for each in pictures_in(tmp_path / "run")] == [epoch * STEPS for epoch in drawn]


@pytest.mark.parametrize("draw", [lambda model: 1 / 0, lambda model: "no figure"])
def test_what_fails_in_it_is_one_note_and_the_training_goes_on(tmp_path, draw):
    run, model = Run(tmp_path / "run", HParams(), logging=LoggingOptions(level="scalars")), build()
    train(run, model, run.pictures("samples", draw))
    notes = json.loads((tmp_path / "run" / "report.json").read_text())["notes"]
    assert [note.startswith("the picture samples could not be drawn: ") for note in notes] == [True]
    assert int(model.optimizer.iterations) == 5 * STEPS
    assert not (tmp_path / "run" / "samples.png").exists()


@pytest.mark.slow
def test_a_picture_that_fails_once_is_drawn_later(tmp_path):
    draw, calls = Draw(), []

    def sometimes(model):
        calls.append(model)
        if len(calls) < 3:
            raise OSError("not there yet")
        return draw(model)

    run = Run(tmp_path / "run", HParams())
    train(run, build(), run.pictures("samples", sometimes))
    assert [each.step for each in pictures_in(tmp_path / "run")] == [9, 12, 15]
    assert sum("not there yet" in note for note in run.notes) == 1


@pytest.mark.slow
def test_pictures_of_two_names_stand_side_by_side(tmp_path, names_in):
    run = Run(tmp_path / "run", HParams())
    train(run, build(), run.pictures("samples", Draw(), every=5), run.pictures("others", Draw(), every=2))
    assert {"samples.png", "others.png"} <= names_in(tmp_path / "run")
    assert len(pictures_in(tmp_path / "run")) == 1


def test_a_picture_every_zero_epochs_is_refused(tmp_path):
    with pytest.raises(Misuse, match="every 0 epochs"):
        Run(tmp_path, HParams()).pictures("samples", Draw(), every=0)
