"""The scores of the final report, held against hand-worked cases and closed forms."""

import math

import keras
import numpy as np
import pytest
import scipy.special
from sklearn import metrics

from recipes.shared import scores
from recipes.shared.data import Split
from recipes.shared.errors import TrainingDiverged

# Hand-worked confusion matrix, rows true, columns predicted: [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 2])
PRECISION = (2 / 2 + 1 / 2 + 1 / 2) / 3
RECALL = (2 / 3 + 1 / 2 + 1 / 1) / 3
F1 = (0.8 + 0.5 + 2 / 3) / 3


def pairs_in_order(positive, negative):
    """The AUC's other meaning: the chance that a positive scores higher than a negative, ties counting half."""
    difference = positive[:, None] - negative[None, :]
    return np.mean((difference > 0) + 0.5 * (difference == 0))


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], np.eye(3)[LABELS]], ids=["indices", "column", "one_hot"])
def test_precision_recall_and_f1_are_the_mean_over_the_classes(labels):
    logits = np.eye(3, dtype=np.float32)[PREDICTED] * 4 - 2
    result = scores.classification(labels, logits)
    assert result["precision"] == pytest.approx(PRECISION)
    assert result["recall"] == pytest.approx(RECALL)
    assert result["f1"] == pytest.approx(F1)


def test_a_class_that_is_never_predicted_scores_zero():
    result = scores.classification(np.array([0, 0, 1]), np.float32([[2, 0], [3, 0], [1, 0]]))
    assert result["precision"] == pytest.approx((2 / 3 + 0) / 2)
    assert result["recall"] == pytest.approx((1 + 0) / 2)


def test_a_single_logit_is_held_against_zero_not_one_half():
    labels, logits = np.float32([[1], [1], [0], [0]]), np.float32([[0.3], [0.1], [-0.1], [-2]])
    assert scores.classification(labels, logits) == {
        "accuracy": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "auc": 1.0,
    }


def test_the_auc_of_a_single_logit_counts_the_pairs_in_order(random):
    labels, logits = random.integers(0, 2, 80), random.normal(size=(80, 1)).astype(np.float32).round(1)
    expected = pairs_in_order(logits[labels == 1, 0], logits[labels == 0, 0])
    assert scores.classification(labels[:, None], logits)["auc"] == pytest.approx(expected)


def test_the_auc_of_two_logits_ranks_by_their_difference(random):
    labels, logits = random.integers(0, 2, 80), random.normal(size=(80, 2)).astype(np.float32)
    margin = logits[:, 1] - logits[:, 0]
    result = scores.classification(labels, logits)["auc"]
    assert result == pytest.approx(pairs_in_order(margin[labels == 1], margin[labels == 0]))
    assert result == pytest.approx(metrics.roc_auc_score(labels, margin))


def test_the_auc_of_more_classes_is_one_against_the_rest(random):
    labels, logits = random.integers(0, 4, 200), random.normal(size=(200, 4)).astype(np.float32) * 10
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    each = [pairs_in_order(probabilities[labels == k, k], probabilities[labels != k, k]) for k in range(4)]
    result = scores.classification(labels, logits)["auc"]
    assert result == pytest.approx(np.mean(each))
    assert result == pytest.approx(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))


def test_the_auc_of_huge_logits_is_defined():
    logits = np.float32([[1e4, 0, -1e4], [0, 1e4, 0], [-1e4, 0, 1e4]])
    assert scores.classification(np.arange(3), logits)["auc"] == 1.0


@pytest.mark.parametrize(
    ("labels", "width"), [([0, 0, 0], 1), ([1, 1, 1], 2), ([0, 1, 1], 3)], ids=["one_logit", "two_logits", "three"]
)
def test_means_over_the_classes_are_left_out_when_one_is_missing(random, labels, width):
    outputs = random.normal(size=(3, width))
    predictions = (outputs[:, 0] > 0) if width == 1 else outputs.argmax(axis=1)
    result = scores.classification(np.array(labels), outputs)
    assert result == {"accuracy": metrics.accuracy_score(labels, predictions)}


def test_regression_scores_follow_their_formulas():
    targets, predictions = np.float32([[1], [2], [3], [6]]), np.float32([[2], [2], [1], [6]])
    result = scores.regression(targets, predictions)
    assert result == pytest.approx({"mse": 5 / 4, "mae": 3 / 4, "r2": 1 - 5 / 14})


def test_regression_of_a_single_example_has_no_r2_and_gives_no_warning():
    result = scores.regression(np.float32([[1]]), np.float32([[3]]))
    assert (result["mse"], result["mae"]) == (4.0, 2.0)
    assert math.isnan(result.get("r2", math.nan))


@pytest.mark.parametrize("batch_size", [1, 7, 1024])
def test_a_model_is_scored_with_dropout_off(random, batch_size):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.9), keras.layers.Dense(2)])
    x, y = random.normal(size=(20, 3)).astype(np.float32), random.integers(0, 2, 20).astype(np.int32)
    kernel, bias = model.get_weights()
    outputs = scores.outputs(model, Split(x, y), batch_size)
    np.testing.assert_allclose(outputs, x @ kernel + bias, rtol=1e-5, atol=1e-6)
    result = scores.score(Split(x, y), outputs, ("no", "yes"))
    assert result == pytest.approx(scores.classification(y, x @ kernel + bias))


def test_a_data_set_without_classes_gets_regression_scores(random):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    x, y = random.normal(size=(20, 3)).astype(np.float32), random.normal(size=(20, 1)).astype(np.float32)
    kernel, bias = model.get_weights()
    expected = scores.regression(y, x @ kernel + bias)
    split = Split(x, y)
    assert scores.score(split, scores.outputs(model, split), ()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], np.eye(3)[LABELS]], ids=["indices", "column", "one_hot"])
def test_accuracy_is_the_share_of_right_predictions(labels):
    assert scores.classification(labels, np.eye(3, dtype=np.float32)[PREDICTED])["accuracy"] == pytest.approx(4 / 6)


def test_accuracy_of_a_single_logit_counts_zero_as_class_0():
    labels, logits = np.float32([[0], [0], [1], [1], [0]]), np.float32([[0.0], [0.0], [0.4], [-1], [2]])
    assert scores.classification(labels, logits)["accuracy"] == pytest.approx(3 / 5)


def test_accuracy_does_not_weigh_the_classes_as_recall_does():
    result = scores.classification(np.array([0] * 9 + [1]), np.float32([[1, 0]] * 10))
    assert result["accuracy"] == pytest.approx(0.9)
    assert result["recall"] == pytest.approx(0.5)


@pytest.mark.parametrize("batch_size", [3, 1024])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_a_divergence(batch_size, value):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    x = np.ones((8, 1), np.float32)
    x[5] = value
    with pytest.raises(TrainingDiverged, match="the outputs of the model are not finite"):
        scores.outputs(model, Split(x, x), batch_size)


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS[:, None], LABELS.astype(np.float32)[:, None], np.eye(3)[LABELS]],
    ids=["indices", "column", "float_column", "one_hot"],
)
def test_labels_of_any_form_become_class_indices(labels):
    indices = scores.class_indices(labels)
    assert indices.dtype == np.int64
    assert indices.tolist() == LABELS.tolist()


def test_probabilities_are_the_softmax_of_the_logits(random):
    logits = random.normal(size=(50, 4)).astype(np.float32) * 10
    exponents = np.exp(logits.astype(np.float64))
    result = scores.probabilities(logits)
    np.testing.assert_allclose(result, exponents / exponents.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-12)


def test_one_logit_gives_the_probabilities_of_both_classes(random):
    logits = random.normal(size=(50, 1)).astype(np.float32)
    sigmoid = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
    np.testing.assert_allclose(scores.probabilities(logits), np.stack([1 - sigmoid, sigmoid], axis=1), rtol=1e-12)


def test_probabilities_of_huge_logits_are_0_and_1():
    np.testing.assert_array_equal(scores.probabilities(np.float32([[1e4], [-1e4]])), [[0, 1], [1, 0]])


def by_scikit_learn(labels, predictions):
    """What scikit-learn says of predicted classes, each class of the labels counting the same."""
    average = {"average": "macro", "zero_division": 0}
    return {
        "accuracy": metrics.accuracy_score(labels, predictions),
        "precision": metrics.precision_score(labels, predictions, **average),
        "recall": metrics.recall_score(labels, predictions, **average),
        "f1": metrics.f1_score(labels, predictions, **average),
    }


def test_a_single_probability_is_held_against_one_half(random):
    labels, probabilities = random.integers(0, 2, 90), random.random((90, 1)).astype(np.float32)
    expected = by_scikit_learn(labels, probabilities[:, 0] > 0.5)
    expected["auc"] = metrics.roc_auc_score(labels, probabilities)
    assert scores.classification(labels, probabilities, "probabilities") == pytest.approx(expected)


def test_softmax_and_its_logits_have_the_same_scores(random):
    labels, logits = random.integers(0, 4, 200), random.normal(size=(200, 4))
    as_logits = scores.classification(labels, logits)
    as_probabilities = scores.classification(labels, scipy.special.softmax(logits, axis=1), "probabilities")
    assert as_probabilities == pytest.approx(as_logits)
    assert as_logits == pytest.approx(
        by_scikit_learn(labels, logits.argmax(axis=1))
        | {"auc": metrics.roc_auc_score(labels, scipy.special.softmax(logits, axis=1), multi_class="ovr")}
    )


def test_the_auc_of_several_sigmoids_is_that_of_each_by_itself(random):
    labels, outputs = random.integers(0, 3, 90), random.random((90, 3))
    each = [pairs_in_order(outputs[labels == k, k], outputs[labels != k, k]) for k in range(3)]
    assert scores.classification(labels, outputs, "probabilities")["auc"] == pytest.approx(np.mean(each))


def test_of_unknown_outputs_there_is_what_does_not_depend_on_their_kind(random):
    labels, outputs = random.integers(0, 3, 90), random.random((90, 3))
    assert scores.classification(labels, outputs, "unknown") == pytest.approx(
        by_scikit_learn(labels, outputs.argmax(axis=1))
    )
    labels, outputs = random.integers(0, 2, 90), random.random((90, 1))
    assert scores.classification(labels, outputs, "unknown") == {"auc": metrics.roc_auc_score(labels, outputs)}


def test_outputs_for_classes_that_are_not_do_not_thin_the_mean(random):
    labels, outputs = random.integers(0, 3, 90), random.normal(size=(90, 10))
    predictions = outputs.argmax(axis=1)
    average = {"labels": [0, 1, 2], "average": "macro", "zero_division": 0}
    result = scores.classification(labels, outputs, classes=3)
    assert result["recall"] == pytest.approx(metrics.recall_score(labels, predictions, **average))
    assert result["precision"] == pytest.approx(metrics.precision_score(labels, predictions, **average))
    assert "auc" not in result


def labels_of(*counts):
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize(
    ("counts", "width", "kind", "says"),
    [
        ((10, 10), 1, "logits", []),
        ((10, 10), 2, "probabilities", []),
        ((10, 10, 10), 3, "logits", []),
        ((10, 0), 1, "logits", ["no example of class b: precision, recall, f1 and auc, means over all classes, are"]),
        ((0, 5, 0), 3, "logits", ["no example of class a, c:", "(5 of class b): accuracy rests on little"]),
        ((9, 10, 1), 3, "logits", ["fewer than 10 examples of a class (9 of class a, 1 of class c): precision"]),
        ((1,) * 7, 7, "logits", ["1 of class c, 1 of class d, 1 of class e and 2 more): "]),
        ((10, 10), 1, "unknown", ["logits or probabilities cannot be told, so accuracy, precision, recall and f1 are"]),
        ((10, 10), 2, "unknown", []),
        ((10, 10, 10), 3, "unknown", ["auc is left out: the model has 3 outputs of unknown kind"]),
        ((10, 10, 10), 5, "logits", ["auc is left out: the model has 5 outputs for 3 classes"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("one_hot", [False, True])
def test_what_is_left_out_or_says_little_has_a_line(counts, width, kind, says, one_hot):
    labels = labels_of(*counts)
    outputs = np.random.default_rng(0).random((len(labels), width))
    notes = scores.notes(np.eye(len(counts))[labels] if one_hot else labels, outputs, kind, "abcdefg"[: len(counts)])
    assert len(notes) == len(says)
    for note, part in zip(notes, says, strict=True):
        assert part in note
        assert "\n" not in note


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


def kind(model, x):
    return scores.kind_of(model, scores.outputs(model, Split(x, x)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: sequential("sigmoid"), "probabilities"),
        (lambda: sequential("softmax", 4), "probabilities"),
        (lambda: sequential(keras.activations.sigmoid), "probabilities"),
        (lambda: sequential(None), "logits"),
        (lambda: sequential("tanh", 20), "logits"),
        (lambda: functional(keras.layers.Softmax()), "probabilities"),
        (lambda: functional(keras.layers.Activation("sigmoid")), "probabilities"),
        (lambda: functional(keras.ops.sigmoid), "probabilities"),
        (lambda: functional(keras.ops.softmax), "probabilities"),
        (lambda: functional(sequential("sigmoid")), "probabilities"),
        (lambda: functional(sequential(None)), "logits"),
        (lambda: keras.Sequential([sequential(None, 3), sequential("softmax", 3)]), "probabilities"),
        (lambda: Subclassed(sequential("softmax", 3)), "probabilities"),
        (lambda: Subclassed(sequential(None, 20)), "logits"),
        (lambda: Subclassed(sequential("sigmoid")), "unknown"),
        (lambda: Subclassed(sequential("sigmoid", 3)), "unknown"),
    ],
)
def test_the_last_activation_or_the_outputs_say_what_they_are(make, expected, random):
    keras.utils.set_random_seed(0)
    assert kind(make(), random.normal(size=(50, 3)).astype(np.float32)) == expected


def test_logits_between_0_and_1_are_known_by_the_linear_layer(random):
    model = sequential(None)
    model.set_weights([np.float32([[0.1], [0], [0]]), np.float32([0.5])])
    assert kind(model, random.random((50, 3)).astype(np.float32)) == "logits"


def test_probabilities_stay_what_they_are(random):
    outputs = random.random((20, 3)).astype(np.float32)
    np.testing.assert_array_equal(scores.probabilities(outputs, "probabilities"), outputs)
    single = scores.probabilities(outputs[:, :1], "probabilities")
    np.testing.assert_allclose(single, np.column_stack([1 - outputs[:, 0], outputs[:, 0]]), rtol=1e-6)
