"""Which targets are classes, and the scores of their predictions, held against hand-worked cases and closed forms."""

import numpy as np
import pytest
import scipy.special
from sklearn import metrics

from recipes.shared.errors import UsageError
from recipes.shared.splits import Split
from recipes.shared.tasks import classification, named
from recipes.shared.tasks.classification import Classification

# Hand-worked confusion matrix, rows true, columns predicted: [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 2])
PRECISION = (2 / 2 + 1 / 2 + 1 / 2) / 3
RECALL = (2 / 3 + 1 / 2 + 1 / 1) / 3
F1 = (0.8 + 0.5 + 2 / 3) / 3


def scores(labels, outputs, kind="logits", classes=None):
    """The scores of so many classes; of as many as there are outputs, if not given."""
    return Classification(tuple(range(classes or max(2, outputs.shape[1])))).scores(labels, outputs, kind)


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
    result = scores(labels, logits)
    assert result["precision"] == pytest.approx(PRECISION)
    assert result["recall"] == pytest.approx(RECALL)
    assert result["f1"] == pytest.approx(F1)


def test_a_class_that_is_never_predicted_scores_zero():
    result = scores(np.array([0, 0, 1]), np.float32([[2, 0], [3, 0], [1, 0]]))
    assert result["precision"] == pytest.approx((2 / 3 + 0) / 2)
    assert result["recall"] == pytest.approx((1 + 0) / 2)


def test_a_single_logit_is_held_against_zero_not_one_half():
    labels, logits = np.float32([[1], [1], [0], [0]]), np.float32([[0.3], [0.1], [-0.1], [-2]])
    assert scores(labels, logits) == {
        "accuracy": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "auc": 1.0,
    }


def test_the_auc_of_a_single_logit_counts_the_pairs_in_order(random):
    labels, logits = random.integers(0, 2, 80), random.normal(size=(80, 1)).astype(np.float32).round(1)
    expected = pairs_in_order(logits[labels == 1, 0], logits[labels == 0, 0])
    assert scores(labels[:, None], logits)["auc"] == pytest.approx(expected)


def test_the_auc_of_two_logits_ranks_by_their_difference(random):
    labels, logits = random.integers(0, 2, 80), random.normal(size=(80, 2)).astype(np.float32)
    margin = logits[:, 1] - logits[:, 0]
    result = scores(labels, logits)["auc"]
    assert result == pytest.approx(pairs_in_order(margin[labels == 1], margin[labels == 0]))
    assert result == pytest.approx(metrics.roc_auc_score(labels, margin))


def test_the_auc_of_more_classes_is_one_against_the_rest(random):
    labels, logits = random.integers(0, 4, 200), random.normal(size=(200, 4)).astype(np.float32) * 10
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    each = [pairs_in_order(probabilities[labels == k, k], probabilities[labels != k, k]) for k in range(4)]
    result = scores(labels, logits)["auc"]
    assert result == pytest.approx(np.mean(each))
    assert result == pytest.approx(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))


def test_the_auc_of_huge_logits_is_defined():
    logits = np.float32([[1e4, 0, -1e4], [0, 1e4, 0], [-1e4, 0, 1e4]])
    assert scores(np.arange(3), logits)["auc"] == 1.0


@pytest.mark.parametrize(
    ("labels", "width"), [([0, 0, 0], 1), ([1, 1, 1], 2), ([0, 1, 1], 3)], ids=["one_logit", "two_logits", "three"]
)
def test_means_over_the_classes_are_left_out_when_one_is_missing(random, labels, width):
    outputs = random.normal(size=(3, width))
    predictions = (outputs[:, 0] > 0) if width == 1 else outputs.argmax(axis=1)
    result = scores(np.array(labels), outputs)
    assert result == {"accuracy": metrics.accuracy_score(labels, predictions)}


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], np.eye(3)[LABELS]], ids=["indices", "column", "one_hot"])
def test_accuracy_is_the_share_of_right_predictions(labels):
    assert scores(labels, np.eye(3, dtype=np.float32)[PREDICTED])["accuracy"] == pytest.approx(4 / 6)


def test_accuracy_of_a_single_logit_counts_zero_as_class_0():
    labels, logits = np.float32([[0], [0], [1], [1], [0]]), np.float32([[0.0], [0.0], [0.4], [-1], [2]])
    assert scores(labels, logits)["accuracy"] == pytest.approx(3 / 5)


def test_accuracy_does_not_weigh_the_classes_as_recall_does():
    result = scores(np.array([0] * 9 + [1]), np.float32([[1, 0]] * 10))
    assert result["accuracy"] == pytest.approx(0.9)
    assert result["recall"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS[:, None], LABELS.astype(np.float32)[:, None], np.eye(3)[LABELS]],
    ids=["indices", "column", "float_column", "one_hot"],
)
def test_labels_of_any_form_become_class_indices(labels):
    indices = Classification((0, 1, 2)).indices(labels)
    assert indices.dtype == np.int64
    assert indices.tolist() == LABELS.tolist()


def test_probabilities_are_the_softmax_of_the_logits(random):
    logits = random.normal(size=(50, 4)).astype(np.float32) * 10
    exponents = np.exp(logits.astype(np.float64))
    result = classification.probabilities(logits, "logits")
    np.testing.assert_allclose(result, exponents / exponents.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-12)


def test_one_logit_gives_the_probabilities_of_both_classes(random):
    logits = random.normal(size=(50, 1)).astype(np.float32)
    sigmoid = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
    expected = np.stack([1 - sigmoid, sigmoid], axis=1)
    np.testing.assert_allclose(classification.probabilities(logits, "logits"), expected, rtol=1e-12)


def test_probabilities_of_huge_logits_are_0_and_1():
    sure = classification.probabilities(np.float32([[1e4], [-1e4]]), "logits")
    np.testing.assert_array_equal(sure, [[0, 1], [1, 0]])


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
    assert scores(labels, probabilities, "probabilities") == pytest.approx(expected)


def test_softmax_and_its_logits_have_the_same_scores(random):
    labels, logits = random.integers(0, 4, 200), random.normal(size=(200, 4))
    as_logits = scores(labels, logits)
    as_probabilities = scores(labels, scipy.special.softmax(logits, axis=1), "probabilities")
    assert as_probabilities == pytest.approx(as_logits)
    assert as_logits == pytest.approx(
        by_scikit_learn(labels, logits.argmax(axis=1))
        | {"auc": metrics.roc_auc_score(labels, scipy.special.softmax(logits, axis=1), multi_class="ovr")}
    )


def test_the_auc_of_several_sigmoids_is_that_of_each_by_itself(random):
    labels, outputs = random.integers(0, 3, 90), random.random((90, 3))
    each = [pairs_in_order(outputs[labels == k, k], outputs[labels != k, k]) for k in range(3)]
    assert scores(labels, outputs, "probabilities")["auc"] == pytest.approx(np.mean(each))


def test_of_unknown_outputs_there_is_what_does_not_depend_on_their_kind(random):
    labels, outputs = random.integers(0, 3, 90), random.random((90, 3))
    assert scores(labels, outputs, "unknown") == pytest.approx(by_scikit_learn(labels, outputs.argmax(axis=1)))
    labels, outputs = random.integers(0, 2, 90), random.random((90, 1))
    assert scores(labels, outputs, "unknown") == {"auc": metrics.roc_auc_score(labels, outputs)}


def test_outputs_for_classes_that_are_not_do_not_thin_the_mean(random):
    labels, outputs = random.integers(0, 3, 90), random.normal(size=(90, 10))
    predictions = outputs.argmax(axis=1)
    average = {"labels": [0, 1, 2], "average": "macro", "zero_division": 0}
    result = scores(labels, outputs, classes=3)
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
        ((10, 10), 1, "unknown", [": accuracy, precision, recall, f1 and the pictures of probabilities are left out"]),
        ((10, 10), 2, "unknown", [": the pictures of probabilities are left out; "]),
        ((10, 10, 10), 3, "unknown", [': auc and the pictures of probabilities are left out; say it by run.finish(']),
        ((10, 10), 1, "unknown", ['run.finish(..., outputs="logits") or "probabilities", on both sides']),
        ((10, 10, 10), 5, "logits", ["auc is left out: the model has 5 outputs for 3 classes"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("one_hot", [False, True])
def test_what_is_left_out_or_says_little_has_a_line(counts, width, kind, says, one_hot):
    labels = labels_of(*counts)
    outputs = np.random.default_rng(0).random((len(labels), width))
    task = Classification(tuple("abcdefg"[: len(counts)]))
    notes = task.notes(np.eye(len(counts))[labels] if one_hot else labels, outputs, kind)
    assert len(notes) == len(says)
    for note, part in zip(notes, says, strict=True):
        assert part in note
        assert "\n" not in note


def test_probabilities_stay_what_they_are(random):
    outputs = random.random((20, 3)).astype(np.float32)
    np.testing.assert_array_equal(classification.probabilities(outputs, "probabilities"), outputs)
    single = classification.probabilities(outputs[:, :1], "probabilities")
    np.testing.assert_allclose(single, np.column_stack([1 - outputs[:, 0], outputs[:, 0]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([2, 1, 3, 1], [1, 2, 3]),
        ([2.0, 1.0], [1, 2]),
        ([True, False], [False, True]),
        (["no", "yes", "no"], ["no", "yes"]),
    ],
)
@pytest.mark.parametrize("files", [1, 2])
def test_classes_are_sorted_and_encoded_by_their_position(values, classes, files):
    task = named("classification").of(np.array_split(np.array(values), files), "x")
    assert list(task.classes) == classes
    indices = task.encode(np.array(values), "x")
    assert indices.dtype == np.int32
    assert np.array(task.classes)[indices].tolist() == values
    assert task.labels(indices) == [task.class_names[index] for index in indices]


def test_a_class_that_is_a_whole_number_is_named_without_a_point():
    assert Classification((1.0, np.float64(2), np.int32(3), "d")).class_names == ("1", "2", "3", "d")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0.5, 1], "holds fractions"),
        ([np.nan, 1], "NaN or infinite"),
        (range(101), "101 distinct values"),
        ([3, 3], "every example has the target 3"),
    ],
)
def test_what_is_no_class_is_refused(values, says):
    with pytest.raises(UsageError, match=says):
        named("classification").of([np.array(values)], "x")


def test_targets_that_are_no_classes_are_refused_before_all_files_are_read():
    files = (np.arange(101) for _ in range(2))
    with pytest.raises(UsageError, match="101 distinct values"):
        named("classification").of(files, "x")
    assert len(list(files)) == 1


def test_an_unseen_class_is_refused_by_name():
    with pytest.raises(UsageError, match="the class c"):
        Classification(("a", "b")).encode(np.array(["a", "c"]), "x")


@pytest.mark.parametrize(
    ("values", "alike"),
    [
        (np.arange(100) % 3, True),
        (np.arange(100), False),
        (np.arange(100) % 3 + 0.0, False),
        (np.array(["a", "b"]), True),
        (np.array([True, False]), True),
    ],
)
def test_few_whole_numbers_that_are_there_often_look_like_classes(values, alike):
    assert classification.look_like_classes(values) is alike


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        ({"a": LABELS}, "a dict"),
        (None, "a NoneType"),
        (np.zeros((6, 4, 4)), r"of shape \(6, 4, 4\)"),
        (np.random.default_rng(0).random((6, 3)), "3 numbers that are not one-hot"),
        (np.float32([0.5, 1]), "not the indices of 3 classes"),
        (np.array([-1, 1]), "not the indices of 3 classes"),
        (np.array([0, 3]), "not the indices of 3 classes"),
    ],
)
def test_targets_that_a_recipe_has_made_something_else_of_are_not_scored(targets, says):
    with pytest.raises(TypeError, match=says):
        Classification((0, 1, 2)).scores(targets, np.ones((6, 3)), "logits")


def test_smoothed_one_hot_rows_are_classes():
    assert Classification((0, 1, 2)).indices(0.9 * np.eye(3)[LABELS] + 0.1 / 3).tolist() == LABELS.tolist()


@pytest.mark.parametrize(("width", "pictures"), [(1, set()), (3, {"confusion_matrix"})])
def test_of_unknown_outputs_there_are_no_pictures_that_take_probabilities(random, width, pictures):
    task, labels = Classification(tuple("abc"[: max(2, width)])), np.arange(30) % max(2, width)
    found = task.pictures(Split(random.random((30, 4)), labels), random.random((30, width)), "unknown")
    assert {value.tag for value in found} == pictures
