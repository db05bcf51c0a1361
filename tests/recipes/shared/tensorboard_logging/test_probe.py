"""Gradients against finite differences, norms against NumPy, and that nobody can tell that the model was watched."""

import math

import keras
import numpy as np
import pytest

from custom_loops.loop import Loop
from recipes.shared import losses
from recipes.shared.batches import Batches
from recipes.shared.tensorboard_logging import probe

RANDOM = np.random.default_rng(0)
SIDES = pytest.mark.parametrize("side", ["fit", "loop"])


def batch(examples=300, features=3):
    x = RANDOM.normal(size=(examples, features))
    return x, np.sin(x.sum(axis=1, keepdims=True))


def watched(side, model, batch):
    """Return a probe of `model`, as it is found on a side, and the metrics of that side."""
    if side == "fit":
        model.compile("sgd", "mse", jit_compile=False)
        model.train_on_batch(*batch)
        return probe.Probe(model, probe.loss_of(model, None), batch, model.metrics), model.metrics
    loss, mean_loss = keras.losses.MeanSquaredError(), keras.metrics.Mean(name="loss")

    def test_step(x, y):
        value = losses.total(loss(y, model(x, training=False)), model.losses)
        mean_loss.update_state(value)
        return {"loss": value}

    loop = Loop(model, lambda x, y: None, test_step, [mean_loss])
    mean_loss.update_state(3.0)
    return probe.Probe(model, probe.loss_of(model, loop), batch, loop.metrics), loop.metrics


def compute_in(dtype):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


@pytest.fixture(autouse=True)
def seeded_and_exact():
    keras.utils.set_random_seed(0)
    compute_in("float64")
    yield
    compute_in("float32")


def small(*layers, features=3):
    return keras.Sequential([keras.Input((features,)), *layers, keras.layers.Dense(1)])


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


@SIDES
def test_gradients_are_those_of_the_loss_and_the_penalties(side):
    x, y = batch(7)
    penalty = keras.regularizers.L2(0.05)
    model = small(keras.layers.Dense(2, activation="tanh", kernel_regularizer=penalty))
    found, _ = watched(side, model, (x, y))
    gradients = found.gradients()

    def loss_in_numpy():
        kernel, bias, out, out_bias = (np.array(weight) for weight in model.weights)
        predictions = np.tanh(x @ kernel + bias) @ out + out_bias
        return np.mean((y - predictions) ** 2) + 0.05 * np.sum(kernel**2)

    assert len(gradients) == 4
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        np.testing.assert_allclose(gradient, numerically(loss_in_numpy, variable), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("examples", [7, 256, 300])
def test_the_examples_are_the_first_256_in_their_own_order(examples):
    x, y = batch(examples)
    found = Batches((x, y), 32).example(probe.EXAMPLES)
    assert all(map(np.array_equal, found, (x[:256], y[:256])))


@SIDES
def test_gradients_are_taken_of_the_model_as_in_inference_and_leave_no_trace(side):
    x, y = batch(32)
    model = small(
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5, seed=3),
        keras.layers.Dense(2),
    )
    loss = keras.losses.MeanSquaredError()
    found, metrics = watched(side, model, (x, y))
    model.layers[0].moving_mean.assign([1.0, -1.0, 0.5])
    looked_at = [*model.variables, model.layers[1].seed_generator.state]
    looked_at += [variable for metric in metrics for variable in metric.variables]
    before = [np.array(variable) for variable in looked_at]
    assert len(before) == 9 + 1 + 2
    gradients = found.gradients()
    assert all(map(np.array_equal, before, map(np.array, looked_at)))
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        expected = numerically(lambda: float(loss(y, model(x, training=False))), variable)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)
    assert all(map(np.array_equal, gradients, found.gradients()))


class Noisy(keras.layers.Layer):
    """Draws at inference too, and counts how often it was called."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)
        self.calls = self.add_weight(shape=(), trainable=False, initializer="zeros")

    def call(self, x):
        self.calls.assign(self.calls + 1)
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


@SIDES
def test_a_layer_that_draws_and_counts_at_inference_is_put_back_each_time(side):
    model = small(Noisy())
    found, metrics = watched(side, model, batch(16))
    looked_at = [*model.variables, *(variable for metric in metrics for variable in metric.variables)]
    before = [np.array(variable) for variable in looked_at]
    first, second = found.gradients(), found.gradients()
    assert all(map(np.array_equal, before, map(np.array, looked_at)))
    assert all(map(np.array_equal, first, second))


def test_the_metrics_of_each_output_are_put_back_too():
    """`compute_loss` updates them itself where a model has several outputs."""
    inputs = keras.Input((3,))
    outputs = {"one": keras.layers.Dense(1)(inputs), "two": keras.layers.Dense(2)(inputs)}
    model = keras.Model(inputs, outputs)
    x = RANDOM.normal(size=(8, 3)).astype(np.float32)
    y = {"one": x[:, :1], "two": x[:, 1:]}
    model.compile("sgd", {"one": "mse", "two": "mae"}, jit_compile=False)
    model.train_on_batch(x, y)
    variables = [variable for metric in model.metrics for variable in metric.variables]
    before = [np.array(variable) for variable in variables]
    assert len(model.metrics) > 2
    gradients = probe.Probe(model, probe.loss_of(model, None), (x, y), model.metrics).gradients()
    assert all(gradient.any() for gradient in gradients)
    assert all(map(np.array_equal, before, map(np.array, variables)))


def test_both_sides_give_the_same_bytes():
    kept, found, data = None, {}, batch(48)
    for side in ("fit", "loop"):
        keras.utils.set_random_seed(0)
        penalty = keras.regularizers.L1(0.01)
        layers = [
            keras.layers.Dense(4, activation="tanh", kernel_regularizer=penalty),
            keras.layers.BatchNormalization(),
        ]
        model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dropout(0.3), keras.layers.Dense(1)])
        looking, _ = watched(side, model, data)
        kept = kept or model.get_weights()
        model.set_weights(kept)
        found[side] = [gradient.tobytes() for gradient in looking.gradients()]
    assert found["fit"] == found["loop"]


def test_weights_of_the_examples_count_as_fit_counts_them():
    x, y = batch(8)
    weights = np.linspace(0, 2, 8)
    model = small()
    model.compile("sgd", keras.losses.MeanSquaredError(), jit_compile=False)
    gradients = probe.Probe(model, probe.loss_of(model, None), (x, y, weights)).gradients()
    errors = model(x).numpy() - y
    np.testing.assert_allclose(gradients[0], np.mean(2 * weights[:, None] * errors * x, axis=0)[:, None], rtol=1e-5)


def test_there_is_no_loss_without_a_test_step_and_without_compile():
    model = small()
    assert probe.loss_of(model, None) is None
    model.compile("sgd")
    assert probe.loss_of(model, None) is None
    assert probe.loss_of(model, Loop(model, lambda x, y: None)) is None


@pytest.mark.parametrize("returned", [None, {}, {"generator_loss": 1.0}])
def test_a_test_step_that_returns_no_loss_is_told_so(returned):
    model = small()
    loss = probe.loss_of(model, Loop(model, lambda x, y: None, lambda x, y: returned))
    with pytest.raises(ValueError, match=r'the test step does not return {"loss": \.\.\.}'):
        loss(*batch(2))


def mean_squares(model):
    return lambda x, y: keras.ops.mean((y - model(x, training=False)) ** 2)


def test_gradients_follow_the_weights():
    x, y = batch(16)
    model = small()
    found = probe.Probe(model, mean_squares(model), (x, y))
    kernel, bias = model.trainable_variables
    for weights in ([1.0, 2.0, 3.0], [0.0, -1.0, 5.0]):
        kernel.assign(np.array(weights)[:, None])
        errors = x @ weights + float(bias[0]) - y[:, 0]
        np.testing.assert_allclose(found.gradients()[0][:, 0], 2 * np.mean(errors[:, None] * x, axis=0))


def test_gradients_are_those_of_what_is_trained_now():
    model = small(keras.layers.Dense(2))
    found = probe.Probe(model, mean_squares(model), batch(8))
    model.layers[0].trainable = False
    assert [gradient.shape for gradient in found.gradients()] == [(2, 1), (1,)]
    model.layers[0].trainable = True
    assert [gradient.shape for gradient in found.gradients()] == [(3, 2), (2,), (2, 1), (1,)]


def test_a_variable_that_the_loss_does_not_know_has_gradient_zero():
    inputs = keras.Input((3,))
    used, aside = keras.layers.Dense(1), keras.layers.Dense(2)
    outputs = used(inputs) + 0 * keras.ops.stop_gradient(keras.ops.sum(aside(inputs)))
    model = keras.Model(inputs, outputs)
    gradients = probe.Probe(model, mean_squares(model), batch(8)).gradients()
    assert sorted(gradient.shape for gradient in gradients) == [(1,), (2,), (3, 1), (3, 2)]
    assert [bool(gradient.any()) for gradient in gradients if gradient.shape[-1] == 2] == [False, False]
    assert all(gradient.any() for gradient in gradients if gradient.shape[-1] == 1)


def test_the_gradient_of_an_embedding_is_dense_and_adds_up_repeated_words():
    model = keras.Sequential([keras.Input((2,), dtype="int32"), keras.layers.Embedding(5, 3), keras.layers.Flatten()])
    words = np.int32([[1, 1], [1, 4]]), np.zeros((2, 6), np.float32)
    (gradient,) = probe.Probe(model, mean_squares(model), words).gradients()
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


def test_the_loss_of_a_model_that_computes_its_own_is_found():
    class Own(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(keras.ops.abs(y - y_pred))

    inputs = keras.Input((3,))
    models = [kind(inputs, keras.layers.Dense(1)(inputs)) for kind in (Own, keras.Model)]
    assert probe.loss_of(models[0], None) is None  # it is not compiled
    for model in models:
        model.compile("sgd")
    x, y = RANDOM.normal(size=(5, 3)).astype(np.float32), np.ones((5, 1), np.float32)
    loss = probe.loss_of(models[0], None)
    assert float(loss(x, y)) == pytest.approx(float(np.abs(y - models[0](x)).mean()))
    assert probe.loss_of(models[1], None) is None
