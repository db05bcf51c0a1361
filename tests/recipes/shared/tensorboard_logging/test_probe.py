"""Gradients against finite differences, norms against NumPy, and that nobody can tell that the model was watched."""

import math

import keras
import numpy as np
import pytest

from recipes.shared.data import Split
from recipes.shared.tensorboard_logging import probe

RANDOM = np.random.default_rng(0)


def split(examples=300, features=3):
    x = RANDOM.normal(size=(examples, features))
    return Split(x, np.sin(x.sum(axis=1, keepdims=True)))


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def small(*layers, features=3):
    return keras.Sequential(
        [keras.Input((features,), dtype="float64"), *layers, keras.layers.Dense(1, dtype="float64")],
    )


def numerically(function, variable, step=1e-6):
    """Return the derivative of `function` by each value of `variable`, from central differences."""
    start = np.array(variable)
    found = np.zeros_like(start)
    for index in np.ndindex(start.shape):
        ends = []
        for sign in (1, -1):
            moved = start.copy()
            moved[index] += sign * step
            variable.assign(moved)
            ends.append(function())
        found[index] = (ends[0] - ends[1]) / (2 * step)
    variable.assign(start)
    return found


@pytest.mark.parametrize("examples", [7, 256, 300])
@pytest.mark.parametrize(
    "loss", [keras.losses.get("mse"), keras.losses.MeanSquaredError(dtype="float64")], ids=["rows", "mean"]
)
def test_gradients_are_those_of_the_loss_and_the_penalties_on_the_first_256_examples(loss, examples):
    data = split(examples)
    penalty = keras.regularizers.L2(0.05)
    model = small(keras.layers.Dense(2, activation="tanh", dtype="float64", kernel_regularizer=penalty))
    gradients = probe.Probe(model, loss, data).gradients()

    def loss_in_numpy():
        kernel, bias, out, out_bias = (np.array(weight) for weight in model.weights)
        predictions = np.tanh(data.x[:256] @ kernel + bias) @ out + out_bias
        return np.mean((data.y[:256] - predictions) ** 2) + 0.05 * np.sum(kernel**2)

    assert len(gradients) == 4
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        np.testing.assert_allclose(gradient, numerically(loss_in_numpy, variable), rtol=1e-6, atol=1e-8)


def test_gradients_are_taken_of_the_model_as_in_inference_and_leave_no_trace_in_it():
    data = split(32)
    model = small(
        keras.layers.BatchNormalization(dtype="float64"),
        keras.layers.Dropout(0.5, seed=3, dtype="float64"),
        keras.layers.Dense(2, dtype="float64"),
    )
    model.layers[0].moving_mean.assign([1.0, -1.0, 0.5])
    loss = keras.losses.MeanSquaredError(dtype="float64")
    watched = [*model.variables, model.layers[1].seed_generator.state]
    before = [np.array(variable) for variable in watched]
    found = probe.Probe(model, loss, data)
    gradients = found.gradients()
    assert all(map(np.array_equal, before, map(np.array, watched)))
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        expected = numerically(lambda: float(loss(data.y, model(data.x, training=False))), variable)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)
    assert all(map(np.array_equal, gradients, found.gradients()))


def test_gradients_follow_the_weights():
    data = split(16)
    model = small()
    found = probe.Probe(model, keras.losses.MeanSquaredError(), data)
    kernel, bias = model.trainable_variables
    for weights in ([1.0, 2.0, 3.0], [0.0, -1.0, 5.0]):
        kernel.assign(np.array(weights)[:, None])
        errors = data.x @ weights + float(bias[0]) - data.y[:, 0]
        np.testing.assert_allclose(found.gradients()[0][:, 0], 2 * np.mean(errors[:, None] * data.x, axis=0))


def test_a_variable_that_the_loss_does_not_know_has_gradient_zero():
    inputs = keras.Input((3,), dtype="float64")
    used, aside = keras.layers.Dense(1, dtype="float64"), keras.layers.Dense(2, dtype="float64")
    outputs = used(inputs) + 0 * keras.ops.stop_gradient(keras.ops.sum(aside(inputs)))
    gradients = probe.Probe(keras.Model(inputs, outputs), keras.losses.get("mse"), split(8)).gradients()
    assert sorted(gradient.shape for gradient in gradients) == [(1,), (2,), (3, 1), (3, 2)]
    assert [bool(gradient.any()) for gradient in gradients if gradient.shape[-1] == 2] == [False, False]
    assert all(gradient.any() for gradient in gradients if gradient.shape[-1] == 1)


def test_the_gradient_of_an_embedding_is_dense_and_adds_up_repeated_words():
    model = keras.Sequential([keras.Input((2,), dtype="int32"), keras.layers.Embedding(5, 3), keras.layers.Flatten()])
    data = Split(np.int32([[1, 1], [1, 4]]), np.zeros((2, 6), np.float32))
    (gradient,) = probe.Probe(model, keras.losses.MeanSquaredError(), data).gradients()
    table = np.array(model.weights[0])
    assert isinstance(gradient, np.ndarray)
    expected = np.zeros((5, 3))
    for word in (1, 1, 1, 4):
        expected[word] += 2 * table[word] / 12
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_copies_stay_as_they_are():
    model = small()
    copies = probe.copies(model.trainable_variables)
    before = [copy.copy() for copy in copies]
    for variable in model.trainable_variables:
        variable.value.assign_add(keras.ops.ones_like(variable))  # in place
    assert all(map(np.array_equal, copies, before))
    assert not np.array_equal(copies[0], np.array(model.trainable_variables[0]))


def test_the_norm_is_numpys_of_all_values_together():
    arrays = [RANDOM.normal(size=shape) for shape in ((3, 4), (5,), ())]
    expected = np.linalg.norm(np.concatenate([array.ravel() for array in arrays]))
    assert probe.norm(arrays) == pytest.approx(expected, rel=1e-12)
    assert isinstance(probe.norm(arrays), float)


@pytest.mark.parametrize(("dtype", "value"), [(np.float16, 3e4), (np.float16, 1e-5), (np.float32, 1e30)])
def test_the_norm_neither_overflows_nor_vanishes(dtype, value):
    array = np.full(10, value, dtype)
    assert probe.norm([array]) == pytest.approx(float(array[0]) * math.sqrt(10), rel=1e-12)


def test_the_norm_of_no_arrays_is_zero():
    assert probe.norm([]) == 0
    assert probe.norm([np.zeros((0, 3))]) == 0


def test_the_change_is_relative_to_the_weights_before():
    before, after = [np.float32([3, 4]), np.float32([[0]])], [np.float32([3, 4.5]), np.float32([[1.2]])]
    assert probe.relative_change(before, after) == pytest.approx(1.3 / 5, rel=1e-6)
    assert probe.relative_change(before, before) == 0


def test_a_change_that_the_weights_can_just_hold_is_not_rounded_away():
    before = np.float16([60000, 1])
    after = np.nextafter(before, np.float16(0))
    expected = math.hypot(32, 2**-11) / math.hypot(59968 + 32, 1)  # the numbers next to them
    assert probe.relative_change([before], [after]) == pytest.approx(expected, rel=1e-3)
    assert probe.relative_change([-before], [before]) == pytest.approx(2, rel=1e-6)  # their difference is too large


def test_weights_of_zero_have_no_relative_change():
    assert math.isnan(probe.relative_change([np.zeros(2)], [np.ones(2)]))


def test_weights_that_have_diverged_have_no_relative_change_and_no_warning():
    assert math.isnan(probe.relative_change([np.float32([1, np.inf])], [np.float32([2, np.inf])]))
