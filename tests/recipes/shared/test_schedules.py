"""The schedule that falls to zero: its closed form, and that it ends when training does."""

import keras
import numpy as np
import pytest

from recipes.shared import data, schedules
from recipes.shared.hparams import HParams


def dataset(examples):
    x = np.linspace(-1, 1, examples, dtype=np.float32)[:, None]
    train, other = data.Split(x, 2 * x), data.Split(x[:3], x[:3])
    return data.Dataset(train, other, other, preprocessing=None)


@pytest.mark.parametrize(
    ("examples", "batch_size", "epochs", "updates"),
    [(23, 2, 3, 36), (24, 2, 3, 36), (25, 2, 3, 39), (7, 7, 5, 5), (7, 8, 5, 5), (8, 7, 5, 10), (9, 1, 1, 9)],
)
def test_the_short_last_batch_of_an_epoch_is_an_update(examples, batch_size, epochs, updates):
    assert schedules.updates(HParams(batch_size=batch_size, epochs=epochs), dataset(examples)) == updates


@pytest.mark.parametrize(("examples", "batch_size"), [(23, 2), (24, 2), (5, 8)])
def test_fit_makes_exactly_so_many_updates_and_ends_at_zero(examples, batch_size):
    hparams, examples = HParams(batch_size=batch_size, epochs=3, learning_rate=0.5), dataset(examples)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(schedules.to_zero(hparams, examples)), "mse", jit_compile=False)
    model.fit(examples.train.x, examples.train.y, batch_size=batch_size, epochs=3, verbose=0)
    assert int(model.optimizer.iterations) == schedules.updates(hparams, examples)
    assert float(model.optimizer.learning_rate) == 0.0  # of the update that would come next


def test_the_rate_falls_as_the_square_of_what_is_left():
    schedule = schedules.to_zero(HParams(batch_size=2, epochs=2, learning_rate=0.8), dataset(20))
    assert float(schedule(0)) == pytest.approx(0.8)
    assert float(schedule(10)) == pytest.approx(0.2)
    assert float(schedule(20)) == 0.0
    rates = [float(schedule(step)) for step in range(21)]
    np.testing.assert_allclose(rates, 0.8 * (1 - np.arange(21) / 20) ** 2, rtol=1e-5, atol=1e-8)


def test_the_rate_stays_at_zero_and_the_last_update_is_not_wasted():
    schedule = schedules.to_zero(HParams(batch_size=2, epochs=2), dataset(20))
    assert float(schedule(19)) > 0
    assert float(schedule(10_000)) == 0.0
