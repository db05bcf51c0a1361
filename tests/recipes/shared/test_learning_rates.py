"""Which rate each update used, held against the optimizer that made the update and the schedule asked one by one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.shared.hparams import HParams
from recipes.shared.learning_rates import BLOCK, LearningRates, of_model

HPARAMS = HParams(learning_rate=0.75)
X = np.linspace(-1, 1, 23, dtype=np.float32)[:, None]  # 12 steps of two; the last is short
SCHEDULES = {
    "polynomial": keras.optimizers.schedules.PolynomialDecay(0.1, 24, end_learning_rate=0.0, power=2),
    "exponential": keras.optimizers.schedules.ExponentialDecay(1e-3, 19, decay_rate=1000.0),
    "cosine": keras.optimizers.schedules.CosineDecay(0.0, 40, warmup_target=0.3, warmup_steps=5),
    "piecewise": keras.optimizers.schedules.PiecewiseConstantDecay([7, 12], [0.5, 0.25, 0.125]),
}


class Falling(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule as a user writes it: arithmetic on the step, as the Keras variable of the optimizer allows it."""

    def __call__(self, step):
        return 0.1 / (1.0 + 0.5 * step)


class Counted(keras.optimizers.schedules.LearningRateSchedule):
    """Falls by one an update, from 100; counts how often TensorFlow runs it and how often Python does."""

    def __init__(self):
        self.runs, self.calls = tf.Variable(0), 0

    def __call__(self, step):
        self.calls += 1
        self.runs.assign_add(1)
        return 100.0 - tf.cast(step, tf.float32)


class Rates(keras.callbacks.Callback):
    """Asks after each update for its rate, and notes the step that a gradient of one made: the rate by itself."""

    def __init__(self, changes=None):
        super().__init__()
        self.changes = changes or {}  # by how many updates were made before
        self.asked, self.made = [], []

    def on_train_begin(self, logs=None):
        self.rates = LearningRates(self.model.optimizer, None, HPARAMS, self.params["steps"])
        self.first = int(self.model.optimizer.iterations)

    def on_train_batch_begin(self, batch, logs=None):
        updates = self.first + len(self.made)
        if updates in self.changes:
            self.model.optimizer.learning_rate = self.changes[updates]
        self.model.set_weights([np.zeros((1, 1), np.float32)])

    def on_train_batch_end(self, batch, logs=None):
        self.asked += self.rates.of(self.first + len(self.made), 1)
        self.made.append(-float(self.model.get_weights()[0][0, 0]))


def fit(rate, callback, wrap=lambda optimizer: optimizer, epochs=2):
    """Train a model of one weight whose loss is that weight, so that each update subtracts the rate."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    optimizer = wrap(keras.optimizers.SGD(rate))
    model.compile(optimizer, lambda y, outputs: outputs, jit_compile=False)
    model.fit(np.ones_like(X), X, batch_size=2, epochs=epochs, callbacks=[callback], verbose=0)
    return model


def one_by_one(schedule, first, count):
    return [float(schedule(step)) for step in range(first, first + count)]


@pytest.mark.parametrize("rate", [0.25, *SCHEDULES.values()], ids=["constant", *SCHEDULES])
def test_the_rates_are_those_of_the_updates_that_fit_makes(rate):
    rates = Rates()
    fit(rate, rates)
    assert len(rates.asked) == 24
    assert rates.asked == pytest.approx(rates.made, rel=1e-6)


def test_a_rate_without_a_schedule_is_the_one_that_holds_when_it_is_asked_for():
    optimizer = keras.optimizers.SGD(0.5)
    rates = LearningRates(optimizer, None, HPARAMS, 12)
    assert rates.of(0, 2) == [0.5, 0.5]
    optimizer.learning_rate = 0.125
    assert rates.of(2, 3) == [0.125] * 3


def test_a_rate_that_a_callback_changes_midway_holds_from_there():
    rates = Rates({5: 0.5, 17: 0.0625})
    fit(0.25, rates)
    assert rates.asked == rates.made == [0.25] * 5 + [0.5] * 12 + [0.0625] * 7


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("steps", [1, 12, None])
def test_a_schedule_is_followed_from_block_to_block(schedule, steps):
    rates = LearningRates(keras.optimizers.SGD(schedule), None, HPARAMS, steps)
    first = 0
    for count in (1, 4, 1, 12, 30, 1):  # across, and longer than, an epoch
        assert rates.of(first, count) == pytest.approx(one_by_one(schedule, first, count), rel=1e-6, abs=1e-12)
        first += count


@pytest.mark.parametrize("steps", [12, None])
def test_blocks_may_be_asked_for_in_any_order(steps):
    schedule = SCHEDULES["exponential"]
    rates = LearningRates(keras.optimizers.SGD(schedule), None, HPARAMS, steps)
    for first, count in ((30, 2), (31, 1), (0, 3), (2, BLOCK + 3), (BLOCK, 5), (3, 1), (41, 1), (11, 2)):
        assert rates.of(first, count) == pytest.approx(one_by_one(schedule, first, count), rel=1e-6)


@pytest.mark.parametrize(("steps", "block"), [(12, 12), (None, BLOCK)])
def test_a_schedule_is_compiled_once_and_computed_by_the_block(steps, block):
    schedule = Counted()
    rates = LearningRates(keras.optimizers.SGD(schedule), None, HPARAMS, steps)
    schedule.runs.assign(0)
    schedule.calls = 0
    for update in range(36):
        assert rates.of(update, 1) == [100.0 - update]
        assert int(schedule.runs) == block * (update // block + 1)
    assert schedule.calls == 1


def test_a_function_that_was_given_goes_before_the_optimizer():
    rates = LearningRates(keras.optimizers.SGD(0.5), lambda updates: 1.0 / tf.cast(updates + 1, tf.float32), HPARAMS, 4)
    assert rates.of(0, 3) == pytest.approx([1, 1 / 2, 1 / 3])
    assert rates.of(3, 3) == pytest.approx([1 / 4, 1 / 5, 1 / 6])


def test_a_function_that_returns_a_plain_number_is_taken():
    assert LearningRates(None, lambda updates: 0.5, HPARAMS).of(7, 2) == [0.5, 0.5]


@pytest.mark.parametrize("number", [0.125, 0.0, 2, np.float32(0.5)])
def test_a_number_that_was_given_goes_before_the_optimizer_even_if_it_is_zero(number):
    assert LearningRates(keras.optimizers.SGD(0.25), number, HPARAMS).of(3, 2) == [number] * 2


def test_the_hyper_parameter_is_the_last_resort():
    assert LearningRates(None, None, HPARAMS).of(0, 2) == [0.75, 0.75]
    assert LearningRates(keras.optimizers.SGD(0.25), None, HPARAMS).of(0, 2) == [0.25, 0.25]


@pytest.mark.parametrize("rate", [0.25, SCHEDULES["polynomial"]], ids=["constant", "schedule"])
def test_a_loss_scaling_wrapper_is_looked_into(rate):
    rates = Rates()
    fit(rate, rates, lambda optimizer: keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0))
    assert rates.asked == pytest.approx(rates.made, rel=1e-6)
    assert np.ptp(rates.made) == (0 if rate == 0.25 else pytest.approx(0.1, rel=0.1))


def test_a_schedule_that_does_arithmetic_on_the_step_works_as_it_does_in_fit():
    rates = Rates()
    fit(Falling(), rates)
    assert rates.asked == pytest.approx([0.1 / (1 + 0.5 * step) for step in range(24)])


def test_a_function_without_arguments_is_called_as_keras_calls_it():
    rates = Rates()
    fit(lambda: 0.25, rates)
    assert rates.asked == [0.25] * 24


def two_optimizers():
    """Return a model with two optimizers, neither of which has made an update."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.optimizers = [keras.optimizers.SGD(rate, name=name) for name, rate in (("first", 0.5), ("second", 0.25))]
    for optimizer in model.optimizers:
        optimizer.build(model.trainable_variables)
    return model


def update(model, *optimizers):
    for optimizer in optimizers:
        optimizer.apply([np.ones(each.shape, np.float32) for each in model.trainable_variables])


def test_each_of_several_optimizers_has_a_rate_of_its_own_under_its_name():
    model = two_optimizers()
    update(model, *model.optimizers)
    rates = of_model(model, None, HPARAMS)
    assert {name: each.of(0, 2) for name, each in rates.items()} == {
        "first_learning_rate": [0.5] * 2,
        "second_learning_rate": [0.25] * 2,
    }
    assert {name: each.of(0, 1) for name, each in of_model(model, 0.125, HPARAMS).items()} == {"learning_rate": [0.125]}


def test_two_optimizers_of_one_name_are_told_apart():
    model = two_optimizers()
    for optimizer in model.optimizers:
        optimizer.name = "same"
    update(model, *model.optimizers)
    assert list(of_model(model, None, HPARAMS)) == ["same_learning_rate", "same_learning_rate_2"]


def test_one_that_nobody_uses_does_not_count():
    model = two_optimizers()
    update(model, model.optimizers[1])
    assert {name: each.of(0, 1) for name, each in of_model(model, None, HPARAMS).items()} == {"learning_rate": [0.25]}
    without = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    assert {name: each.of(0, 1) for name, each in of_model(without, None, HPARAMS).items()} == {"learning_rate": [0.75]}
