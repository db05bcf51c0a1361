from types import SimpleNamespace

import keras
import numpy as np
import pytest

from recipes.shared.checkpointing import states


class Counter(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.count = 0

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


def train(callbacks, epochs, initial_epoch=0):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 1), np.float32)
    model.fit(x, x, epochs=epochs, initial_epoch=initial_epoch, validation_data=(x, x), callbacks=callbacks, verbose=0)
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: keras.callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True),
        lambda folder: keras.callbacks.ReduceLROnPlateau("val_loss", patience=9),
        lambda folder: keras.callbacks.ModelCheckpoint(folder / "best.keras", save_best_only=True),
        lambda folder: keras.callbacks.History(),
        lambda folder: Counter(),
    ],
)
def test_what_a_callback_remembers_goes_from_one_to_another(tmp_path, make):
    used, new = make(tmp_path), make(tmp_path)
    train([used], epochs=3)
    state = states.get_state(used)
    assert state
    assert states.is_known(used)
    states.set_state(new, state)
    for name, value in state.items():
        again = states.get_state(new)[name]
        assert np.array_equal(np.asarray(again, dtype=object), np.asarray(value, dtype=object)), name


def test_all_attributes_that_keras_counts_in_are_known(tmp_path):
    """A later Keras may count in others: whatever a training changes must be kept, or be known not to matter."""
    settled_again = {"_model", "_params", "monitor_op", "min_delta", "model", "params", "_metrics_names"}
    for make in (
        lambda: keras.callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True),
        lambda: keras.callbacks.ReduceLROnPlateau("val_loss", patience=9),
        lambda: keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
    ):
        used, new = make(), make()
        train([used], epochs=3)
        changed = {
            name for name, value in vars(used).items() if name not in vars(new) or repr(vars(new)[name]) != repr(value)
        }
        assert changed - settled_again <= set(states.get_state(used)), type(used).__name__


def test_an_object_that_is_no_callback_gives_its_attributes():
    memory = SimpleNamespace(waited=3, best=[1.0])
    state = dict(states.get_state(memory))
    memory.waited = 0
    states.set_state(memory, state)
    assert memory.waited == 3
    assert states.is_known(memory)


def test_a_callback_that_nobody_knows_is_told_apart_from_one_that_remembers_nothing():
    class Mine(keras.callbacks.Callback):
        pass

    assert not states.is_known(Mine())
    assert states.get_state(Mine()) == {}
    assert states.is_known(keras.callbacks.LearningRateScheduler(lambda epoch: 0.1))
