"""The noise of a batch's gradient, held against NumPy's and against the law of draws without replacement."""

import itertools

import keras
import numpy as np
import pytest

from recipes.shared import gradients
from recipes.shared.data import Split

RANDOM = np.random.default_rng(0)
KERNEL, BIAS = np.float32([[0.5], [-1.5], [2]]), np.float32([0.25])
MSE = keras.losses.MeanSquaredError()


def examples(count):
    x = RANDOM.normal(size=(count, 3)).astype(np.float32)
    return Split(x, RANDOM.normal(size=(count, 1)).astype(np.float32))


def linear(regularizer=None):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_regularizer=regularizer)])
    model.set_weights([KERNEL, BIAS])
    return model


def per_example(split):
    """The gradient of the squared error of every example, (examples, 4), float64."""
    x, y = split.x.astype(np.float64), split.y.astype(np.float64)
    return 2 * (x @ KERNEL + BIAS - y) * np.hstack([x, np.ones((len(x), 1))])


def partitions(rows, size):
    """Every way to deal `rows` into batches of `size`, as an order."""
    if not rows:
        yield []
    for others in itertools.combinations(rows[1:], size - 1):
        left = [row for row in rows[1:] if row not in others]
        for rest in partitions(left, size):
            yield [rows[0], *others, *rest]


@pytest.mark.parametrize(("count", "batch_size"), [(24, 4), (23, 4), (24, 1), (24, 12), (24, 13)])
def test_the_noise_of_a_linear_regression_is_that_of_numpy(count, batch_size):
    split, order = examples(count), RANDOM.permutation(count)
    batches = count // batch_size
    means = per_example(split)[order[: batches * batch_size]].reshape(batches, batch_size, 4).mean(axis=1)
    expected = np.sqrt(((means - per_example(split).mean(axis=0)) ** 2).sum(axis=1).mean())
    assert gradients.noise(linear(), MSE, split, batch_size, order) == pytest.approx(expected, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize(("count", "batch_size", "orders"), [(4, 2, 3), (6, 2, 15), (6, 3, 10), (8, 4, 35)])
def test_the_noise_falls_with_the_batch_size_as_draws_without_replacement_do(count, batch_size, orders):
    """Over all ways to deal the examples into batches, which all are as likely, the law is exact."""
    split, dealt = examples(count), list(partitions(list(range(count)), batch_size))
    assert len(dealt) == orders
    squares = [gradients.noise(linear(), MSE, split, batch_size, np.array(order)) ** 2 for order in dealt]
    spread = np.trace(np.cov(per_example(split), rowvar=False, bias=True))
    law = np.sqrt((count - batch_size) / (count - 1) / batch_size)
    assert np.sqrt(np.mean(squares)) == pytest.approx(law * np.sqrt(spread), rel=1e-5)


def test_the_whole_batch_has_no_noise():
    split = examples(10)
    half = gradients.noise(linear(), MSE, split, 5, RANDOM.permutation(10))
    assert gradients.noise(linear(), MSE, split, 10, RANDOM.permutation(10)) < 1e-5 * half  # sums in another order


def test_a_penalty_pulls_all_batches_alike():
    split, order = examples(12), RANDOM.permutation(12)
    plain, penalised = (
        gradients.noise(linear(each), MSE, split, 3, order) for each in (None, keras.regularizers.L2(1))
    )
    assert penalised == pytest.approx(plain, rel=1e-5)


def test_weights_that_are_not_trained_make_no_noise():
    split, order = examples(12), RANDOM.permutation(12)
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(), linear().layers[0]])
    model.layers[0].trainable = False
    model.layers[0].epsilon = 0.0
    model.layers[1].set_weights([KERNEL, BIAS])
    assert gradients.noise(model, MSE, split, 3, order) == pytest.approx(
        gradients.noise(linear(), MSE, split, 3, order), rel=1e-5
    )


def test_a_probe_leaves_no_trace_in_the_model_and_draws_no_masks():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(4),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    split = Split(examples(40).x, RANDOM.integers(0, 4, 40).astype(np.int32))
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    model.fit(split.x, split.y, verbose=0)

    def contents():
        return [variable.numpy().tobytes() for variable in (*model.variables, *model.optimizer.variables)]

    before, drawn = contents(), gradients.noise(model, loss, split, 8, np.arange(40))
    assert contents() == before
    assert gradients.noise(model, loss, split, 8, np.arange(40)) == drawn > 0  # two masks would not give it twice
    model(split.x, training=True)
    assert contents() != before
