"""The scores of the final report, held against hand-worked cases and closed forms."""

import math

import keras
import numpy as np
import pytest
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
def test_the_auc_is_left_out_when_a_class_is_missing(random, labels, width):
    result = scores.classification(np.array(labels), random.normal(size=(3, width)))
    assert sorted(result) == ["accuracy", "f1", "precision", "recall"]


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
