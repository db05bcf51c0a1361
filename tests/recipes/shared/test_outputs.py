"""What a model gives for the examples of a part, and how it is known what that means."""

import keras
import numpy as np
import pytest

from recipes.shared import outputs
from recipes.shared.errors import TrainingDiverged
from recipes.shared.splits import Split
from recipes.shared.tasks.classification import Classification
from recipes.shared.tasks.regression import TASK


@pytest.fixture
def random():
    keras.utils.set_random_seed(0)
    return np.random.default_rng(0)


@pytest.mark.parametrize("batch_size", [1, 7, 1024])
def test_a_model_is_scored_with_dropout_off(random, batch_size):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.9), keras.layers.Dense(2)])
    x, y = random.normal(size=(20, 3)).astype(np.float32), random.integers(0, 2, 20).astype(np.int32)
    kernel, bias = model.get_weights()
    found = outputs.of(model, Split(x, y), batch_size)
    np.testing.assert_allclose(found, x @ kernel + bias, rtol=1e-5, atol=1e-6)
    task = Classification(("no", "yes"))
    assert task.scores(y, found, "logits") == pytest.approx(task.scores(y, x @ kernel + bias, "logits"))


def test_the_outputs_of_a_regression_are_scored(random):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    x, y = random.normal(size=(20, 3)).astype(np.float32), random.normal(size=(20, 1)).astype(np.float32)
    kernel, bias = model.get_weights()
    expected = TASK.scores(y, x @ kernel + bias, "logits")
    assert TASK.scores(y, outputs.of(model, Split(x, y)), "logits") == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", [3, 1024])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_a_divergence(batch_size, value):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    x = np.ones((8, 1), np.float32)
    x[5] = value
    with pytest.raises(TrainingDiverged, match="the outputs of the model are not finite"):
        outputs.of(model, Split(x, x), batch_size)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda inputs: {"a": inputs, "b": inputs}, "2 outputs by name or position"),
        (lambda inputs: [inputs, inputs], "2 outputs by name or position"),
        (lambda inputs: keras.layers.Reshape((3, 1))(inputs), r"float32 of shape \(5, 3, 1\)"),
        (lambda inputs: keras.ops.cast(inputs, "int32"), "int32 of shape"),
    ],
)
def test_outputs_that_are_not_a_row_of_numbers_are_refused(make, says):
    inputs = keras.Input((3,))
    with pytest.raises(TypeError, match=says):
        outputs.of(keras.Model(inputs, make(inputs)), Split(np.ones((5, 3), np.float32), None))


def sequential(activation, units=1):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, activation=activation)])


def functional(end):
    inputs = keras.Input((3,))
    return keras.Model(inputs, end(keras.layers.Dense(3)(inputs)))


class Subclassed(keras.Model):
    """Hides its activation in `call`."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def call(self, x):
        return self.model(x)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: sequential("sigmoid"), "probabilities"),
        (lambda: sequential("softmax", 4), "probabilities"),
        (lambda: sequential(keras.activations.sigmoid), "probabilities"),
        (lambda: sequential(None), "logits"),
        (lambda: sequential("tanh", 20), "unknown"),
        (lambda: functional(keras.layers.Softmax()), "probabilities"),
        (lambda: functional(keras.layers.Activation("sigmoid")), "probabilities"),
        (lambda: functional(keras.ops.sigmoid), "probabilities"),
        (lambda: functional(keras.ops.softmax), "probabilities"),
        (lambda: functional(sequential("sigmoid")), "probabilities"),
        (lambda: functional(sequential(None)), "logits"),
        (lambda: keras.Sequential([sequential(None, 3), sequential("softmax", 3)]), "probabilities"),
        (lambda: Subclassed(sequential("softmax", 3)), "unknown"),
        (lambda: Subclassed(sequential(None, 20)), "unknown"),
        (lambda: Subclassed(sequential("sigmoid")), "unknown"),
        (lambda: Subclassed(sequential("sigmoid", 3)), "unknown"),
    ],
)
def test_the_last_activation_says_what_the_outputs_are(make, expected, random):
    model = make()
    model(random.normal(size=(50, 3)).astype(np.float32))
    assert outputs.kind(model) == expected


def test_logits_between_0_and_1_are_known_by_the_linear_layer(random):
    model = sequential(None)
    model.set_weights([np.float32([[0.1], [0], [0]]), np.float32([0.5])])
    x = random.random((50, 3)).astype(np.float32)
    assert 0 < outputs.of(model, Split(x, x)).min() < outputs.of(model, Split(x, x)).max() < 1
    assert outputs.kind(model) == "logits"


@pytest.mark.parametrize("said", ["logits", "probabilities"])
def test_what_the_pair_says_comes_before_the_last_activation(said):
    for activation in (None, "sigmoid", "tanh"):
        assert outputs.kind(sequential(activation), said) == said
    assert outputs.kind(Subclassed(sequential(None)), said) == said


def test_a_loss_is_not_asked():
    model = sequential("tanh")
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    assert outputs.kind(model) == "unknown"


def test_a_word_that_is_no_kind_is_refused():
    with pytest.raises(ValueError, match="'logit'; it must be one of 'logits', 'probabilities'"):
        outputs.kind(sequential(None), "logit")
