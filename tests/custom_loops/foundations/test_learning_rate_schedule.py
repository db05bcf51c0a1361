import importlib
import json

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recipes.foundations import learning_rate_schedule as recipe
from recipes.shared.batches import epoch_order
from recipes.shared.run import Run
from tests.trainings import slow

SIDES = {"fit": "recipes", "custom_loop": "custom_loops"}
SCHEDULES = ["cosine", "exponential", "step"]
HIGHEST, FINAL = 0.5, 0.01


def formula(schedule, updates, warm_up):
    """The rate of every update, one at a time, as the docstring has it."""
    rates, decay = [], updates - warm_up
    for t in range(updates):
        p = (t - warm_up) / decay
        if t < warm_up:
            rates.append(HIGHEST * (t + 1) / warm_up)
        elif schedule == "cosine":
            rates.append(HIGHEST * (FINAL + (1 - FINAL) * (1 + np.cos(np.pi * p)) / 2))
        elif schedule == "exponential":
            rates.append(HIGHEST * FINAL**p)
        else:
            rates.append(HIGHEST * (1 if p < 1 / 2 else np.sqrt(FINAL) if p < 3 / 4 else FINAL))
    return np.array(rates)


class Weights(keras.callbacks.Callback):
    """Keeps the weights before the first update and after every one."""

    def on_train_begin(self, logs=None):
        self.after = [self.flat()]

    def on_train_batch_end(self, batch, logs=None):
        self.after.append(self.flat())

    def flat(self):
        return [weight.astype(np.float64) for weight in self.model.get_weights()]


def trained(tmp_path, side, **hparams):
    module = importlib.import_module(f"{SIDES[side]}.foundations.learning_rate_schedule")
    keras.backend.clear_session()
    run, weights = Run(tmp_path / side, recipe.HParams(**hparams)), Weights()
    callbacks = run.callbacks
    run.callbacks = lambda batches, **options: callbacks(batches, weights, **options)
    module.train(run.hparams, run)
    run.close()
    return run, weights.after


def logged_rates(run):
    events = EventAccumulator(str(run.folder / "train"), size_guidance={"scalars": 0}).Reload()
    points = events.Scalars("step_learning_rate")
    assert [point.step for point in points] == list(range(1, len(points) + 1))
    return np.array([point.value for point in points])


def gradient(weights, x, labels):
    """Of the mean cross-entropy of softmax regression, in closed form."""
    kernel, bias = weights
    logits = x @ kernel + bias
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    probabilities[np.arange(len(x)), labels] -= 1
    return np.concatenate([(x.T @ probabilities).ravel(), probabilities.sum(axis=0)]) / len(x)


@pytest.mark.parametrize("side", [slow("fit"), "custom_loop"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_logged_rates_are_those_of_the_formula_and_those_that_moved_the_weights(tmp_path, side, schedule):
    epochs = 5
    run, weights = trained(tmp_path, side, data="iris", schedule=schedule, epochs=epochs, steps_per_execution=1)
    dataset = recipe.load_data(run.hparams)
    updates = 3 * epochs  # 96 examples
    rates = logged_rates(run)
    np.testing.assert_allclose(rates, formula(schedule, updates, warm_up=round(0.1 * updates)), rtol=2e-6)

    x = dataset.train.x.reshape(len(dataset.train), -1).astype(np.float64)
    rows = np.concatenate([epoch_order(len(x), 0, epoch).numpy() for epoch in range(epochs)])
    moved, slopes = [], []
    for before, after, batch in zip(weights[:-1], weights[1:], rows.reshape(updates, 32), strict=True):
        moved.append(np.linalg.norm(np.concatenate([(a - b).ravel() for a, b in zip(after, before, strict=True)])))
        slopes.append(np.linalg.norm(gradient(before, x[batch], dataset.train.y[batch])))
    np.testing.assert_allclose(np.array(moved) / slopes, rates, rtol=1e-3)  # float32 weights of 1 that move by 0.001


@pytest.mark.parametrize("steps_per_execution", [slow(1), 7, slow(None)])
def test_both_sides_log_the_rate_of_every_update_however_many_an_execution_makes(tmp_path, steps_per_execution):
    options = {"data": "wine", "epochs": 3, "steps_per_execution": steps_per_execution}
    runs = [trained(tmp_path, side, **options)[0] for side in SIDES]
    rates = [logged_rates(run) for run in runs]
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-6)
    assert len(rates[0]) == 3 * 4  # 113 examples


@pytest.mark.parametrize("warm_up", [0.0, 0.5])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_rises_to_its_highest_falls_to_its_last_and_is_never_zero(schedule, warm_up):
    hparams = recipe.HParams(data="iris", schedule=schedule, warm_up=warm_up, epochs=40)
    rate = recipe.learning_rate(hparams, recipe.load_data(hparams))
    rates = np.array([float(rate(t)) for t in range(121)])
    np.testing.assert_allclose(rates[:120], formula(schedule, 120, round(warm_up * 120)), rtol=2e-6)
    assert rates.max() == pytest.approx(HIGHEST)
    assert rates[120] == pytest.approx(HIGHEST * FINAL)
    assert rates.min() > 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_optimizer_with_the_schedule_can_be_saved_and_loaded(schedule):
    hparams = recipe.HParams(data="iris", schedule=schedule)
    rate = recipe.learning_rate(hparams, recipe.load_data(hparams))
    saved = json.loads(json.dumps(keras.optimizers.serialize(keras.optimizers.SGD(rate))))
    loaded = keras.optimizers.deserialize(saved, custom_objects={"WarmUp": recipe.WarmUp})
    for step in (0, 5, 6, 20, 59):
        loaded.iterations.assign(step)
        assert float(loaded.learning_rate) == float(rate(step))
