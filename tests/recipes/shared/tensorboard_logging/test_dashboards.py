"""Which pictures and curves a trained model gets, and that they are of the test part."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import scipy.special
from sklearn import metrics
from tensorboard.util.tensor_util import make_ndarray

from recipes.shared.data import Dataset, Split
from recipes.shared.tasks.classification import Classification
from recipes.shared.tasks.regression import Regression
from recipes.shared.tensorboard_logging import dashboards, pictures

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def dataset(x, y, class_names=()):
    """A data set whose parts other than the test part would give other pictures; a regression without classes."""
    other = Split(np.zeros_like(x[:2]), np.zeros_like(y[:2]))
    task = Classification(class_names) if class_names else Regression()
    return Dataset(other, other, Split(x, y), keras.Sequential([keras.Input(x.shape[1:])]), task)


def dense(*shape, outputs):
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(outputs)])


def shown(model, data, outputs):
    values = list(dashboards.values(model, data, outputs, "logits"))
    found = {value.tag: value for value in values}
    assert len(found) == len(values)
    return found


def kinds(found):
    """Return the tags of pictures and those of curves."""
    images = {tag for tag, value in found.items() if value.image.encoded_image_string.startswith(b"\x89PNG")}
    curves = {tag for tag, value in found.items() if value.metadata.plugin_data.plugin_name == "pr_curves"}
    assert images | curves == found.keys()
    return images, curves


def assert_curves_are_scikit_learns(found, labels, probabilities, class_names):
    for index, name in enumerate(class_names):
        rows = make_ndarray(found[f"pr_curve/{name}"].tensor)
        assert found[f"pr_curve/{name}"].metadata.display_name == f"class {name}"
        for threshold in (0, 40, 100, 180):
            positive = probabilities[:, index] >= threshold / 200
            of_class = labels == index
            assert rows[5, threshold] == pytest.approx(metrics.recall_score(of_class, positive, zero_division=0))
            assert rows[4, threshold] == pytest.approx(metrics.precision_score(of_class, positive, zero_division=0))


@pytest.mark.parametrize("one_hot", [False, True], ids=["indices", "one hot"])
def test_a_classifier_of_images_has_all_pictures_and_a_curve_for_each_class(one_hot):
    x, labels = RANDOM.random((60, 4, 4)).astype(np.float32), RANDOM.integers(0, 3, 60)
    logits = RANDOM.normal(size=(60, 3)).astype(np.float32)
    names = ("a", "b", "c")
    y = np.eye(3, dtype=np.float32)[labels] if one_hot else labels.astype(np.int32)
    model = dense(4, 4, outputs=3)
    found = shown(model, dataset(x, y, names), logits)
    probabilities = scipy.special.softmax(logits.astype(np.float64), axis=1)
    assert kinds(found) == (
        {"confusion_matrix", "worst_mistakes", "filters"},
        {"pr_curve/a", "pr_curve/b", "pr_curve/c"},
    )
    assert_curves_are_scikit_learns(found, labels, probabilities, names)
    expected = {
        "confusion_matrix": pictures.confusion_matrix(labels, logits.argmax(axis=1), names),
        "worst_mistakes": pictures.worst_mistakes(x, labels, probabilities, names),
        "filters": pictures.filters(model),
    }
    for tag, figure in expected.items():
        assert found[tag].image.encoded_image_string == pictures.png(figure), tag


def test_one_logit_has_curves_of_both_classes():
    x, labels = RANDOM.random((50, 4)).astype(np.float32), RANDOM.integers(0, 2, 50)
    logits = RANDOM.normal(size=(50, 1)).astype(np.float32)
    found = shown(dense(4, outputs=1), dataset(x, labels[:, None].astype(np.float32), ("no", "yes")), logits)
    assert kinds(found) == ({"confusion_matrix", "worst_mistakes"}, {"pr_curve/no", "pr_curve/yes"})
    positive = scipy.special.expit(logits[:, 0].astype(np.float64))
    assert_curves_are_scikit_learns(found, labels, np.stack([1 - positive, positive], axis=1), ("no", "yes"))
    matrix = pictures.confusion_matrix(labels, (logits[:, 0] > 0).astype(int), ("no", "yes"))
    assert found["confusion_matrix"].image.encoded_image_string == pictures.png(matrix)


def test_many_classes_some_of_which_the_test_part_lacks():
    names = tuple(f"class {index}" for index in range(30))
    labels = RANDOM.integers(0, 10, 40)
    x, logits = RANDOM.random((40, 4)).astype(np.float32), 100 * RANDOM.normal(size=(40, 30)).astype(np.float32)
    found = shown(dense(4, outputs=30), dataset(x, labels, names), logits)
    _, curves = kinds(found)
    assert curves == {f"pr_curve/{name}" for name in names}
    assert_curves_are_scikit_learns(found, labels, scipy.special.softmax(logits.astype(np.float64), axis=1), names)


def test_a_regression_has_pictures_of_its_own():
    x, targets = RANDOM.random((20, 4)).astype(np.float32), RANDOM.normal(size=(20, 1)).astype(np.float32)
    outputs = targets + RANDOM.normal(size=(20, 1)).astype(np.float32)
    found = shown(dense(4, outputs=1), dataset(x, targets), outputs)
    assert kinds(found) == ({"predicted_against_true", "residuals"}, set())
    expected = {
        "predicted_against_true": pictures.predicted_against_true(targets[:, 0], outputs[:, 0]),
        "residuals": pictures.residuals(targets[:, 0], outputs[:, 0]),
    }
    for tag, figure in expected.items():
        assert found[tag].image.encoded_image_string == pictures.png(figure), tag


def test_a_regression_on_images_shows_its_filters():
    x, targets = RANDOM.random((5, 4, 4)).astype(np.float32), np.ones((5, 1), np.float32)
    images, _ = kinds(shown(dense(4, 4, outputs=1), dataset(x, targets), targets))
    assert images == {"predicted_against_true", "residuals", "filters"}


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_a_subclassed_model_has_all_but_its_filters():
    model, x = Subclassed(), RANDOM.random((6, 4)).astype(np.float32)
    outputs = np.array(model(x))
    images, curves = kinds(shown(model, dataset(x, np.arange(6) % 2, ("a", "b")), outputs))
    assert images == {"confusion_matrix", "worst_mistakes"}
    assert len(curves) == 2


def test_without_a_task_or_outputs_the_filters_are_there_alone():
    x, y = RANDOM.random((5, 4, 4)).astype(np.float32), np.arange(5) % 2
    data = dataset(x, y, ("a", "b"))
    assert kinds(shown(dense(4, 4, outputs=2), replace(data, task=None), None)) == ({"filters"}, set())
    assert kinds(shown(dense(4, 4, outputs=2), data, None)) == ({"filters"}, set())
