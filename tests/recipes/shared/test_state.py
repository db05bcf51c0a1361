"""Everything that training changes, as arrays."""

import hashlib

import keras
import numpy as np
import pytest

from recipes.shared import state


@pytest.fixture
def model():
    """A trained model with weights that train, weights that do not, an optimizer with momenta, and a seed state."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse", metrics=["mae"], jit_compile=False)
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(8, 4)), rng.normal(size=(8, 3)), batch_size=4, epochs=2, verbose=0)
    return model


def test_weights_optimizer_variables_and_seed_states_are_all_there(model):
    arrays = state.arrays(model)
    kinds = [name.partition("/")[0] for name in arrays]
    assert kinds.count("weights") == len(model.get_weights()) == 6
    assert kinds.count("optimizer") == 2 + 2 * 4  # iteration, learning rate, two momenta of each trainable variable
    assert kinds.count("seeds") == 1
    weights = [array for name, array in arrays.items() if name.startswith("weights/")]
    for array, expected in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)
    iteration = next(array for name, array in arrays.items() if name.endswith("/iteration"))
    assert iteration == 4
    seed = next(array for name, array in arrays.items() if name.startswith("seeds/"))
    np.testing.assert_array_equal(seed, model.layers[2].seed_generator.state)


def test_two_layers_of_one_name_stay_apart():
    inputs = keras.Input((2,))
    inner = [keras.Sequential([keras.layers.Dense(2, name="same")], name=f"s{i}") for i in range(2)]
    model = keras.Model(inputs, inner[1](inner[0](inputs)))
    model.layers[1].name = model.layers[2].name = "s"
    assert len(state.arrays(model)) == 4


def test_a_model_without_optimizer_has_only_its_own_variables():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert [name.split()[0] for name in state.arrays(model)] == ["weights/000", "weights/001"]


def test_a_saved_state_comes_back_bit_by_bit_without_pickle(model, tmp_path):
    state.save(tmp_path / "state.npz", model)
    expected = state.arrays(model)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as archive:
        assert list(archive) == list(expected)
        for name in archive:
            assert archive[name].dtype == expected[name].dtype
            assert archive[name].tobytes() == expected[name].tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_the_digest_is_the_sha256_of_the_bytes():
    variables = [keras.Variable(np.float32([1.5, -2])), keras.Variable(np.float32([[3]]))]
    expected = hashlib.sha256(np.float32([1.5, -2, 3]).tobytes()).hexdigest()
    assert state.digest(variables) == expected
    variables[1].assign(np.nextafter(np.float32([[3]]), np.float32(4)))
    assert state.digest(variables) != expected


def test_bfloat16_is_kept_exactly(tmp_path):
    layer = keras.layers.Dense(3, dtype="bfloat16")
    model = keras.Sequential([keras.Input((2,)), layer])
    state.save(tmp_path / "state.npz", model)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as saved:
        kernel = saved[saved.files[0]]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, np.asarray(layer.kernel).astype(np.float32))


def test_every_optimizer_that_trains_is_state_and_one_that_nobody_uses_is_not(model):
    stray = keras.optimizers.RMSprop()
    stray.build(model.trainable_variables)
    second = keras.optimizers.SGD(0.1)
    second.build(model.trainable_variables)
    model.several = [second]
    only = len(model.optimizer.variables)
    model.stray = stray
    found = state.optimizers(model)
    assert found[0] is model.optimizer
    assert {id(each) for each in found} == {id(model.optimizer), id(second), id(stray)}
    assert state.used_optimizers(model) == [0]
    second.apply([np.ones(variable.shape, "float32") for variable in model.trainable_variables])
    assert state.used_optimizers(model) == [0, found.index(second)]
    names = [name for name in state.variables(model) if name.startswith("optimizer")]
    assert len(names) == only + len(second.variables)


def test_a_look_at_a_model_leaves_statistics_seed_states_and_metrics_as_they_were(model):
    measured = keras.metrics.Mean()
    measured.update_state([1.0, 2.0])

    def everything():
        arrays = {name: array.tobytes() for name, array in state.arrays(model).items()}
        return arrays | {f"metric {each.name}": each.numpy().tobytes() for each in measured.variables}

    before = everything()
    with state.untouched(model, [measured]):
        model(np.ones((4, 4), "float32"), training=True)  # draws a mask and moves the statistics
        measured.update_state(9.0)
        changed = {name.split("/")[0] for name, value in everything().items() if value != before[name]}
        assert changed == {"weights", "seeds", "metric total", "metric count"}
    assert everything() == before
