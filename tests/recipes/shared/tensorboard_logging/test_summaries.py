"""Values for event files, against TensorBoard's own functions and scikit-learn."""

import math

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.pr_curve import summary as pr_curve_summary
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_ndarray

from recipes.shared.tensorboard_logging import summaries

RANDOM = np.random.default_rng(0)
ROWS = ("true_positives", "false_positives", "true_negatives", "false_negatives", "precision", "recall")


def histogram(array):
    return make_ndarray(summaries.histogram("weights/dense", array).tensor)


def tensorboards_histogram(array):
    return make_ndarray(histogram_pb("weights/dense", array).value[0].tensor)


def test_scalars_are_named_after_their_prefix():
    points = summaries.scalars({"loss": 0.5, "auc": math.inf}, "epoch_")
    assert [(point.tag, point.simple_value) for point in points] == [("epoch_loss", 0.5), ("epoch_auc", math.inf)]
    assert [point.tag for point in summaries.scalars({"loss": 0.5})] == ["loss"]
    assert summaries.scalars({}, "epoch_") == []


def test_a_scalar_that_is_no_number_stays_so():
    (point,) = summaries.scalars({"loss": np.float32("nan")})
    assert point.HasField("simple_value")
    assert math.isnan(point.simple_value)


def test_a_picture_is_kept_byte_for_byte():
    value = summaries.picture("filters", b"\x89PNG\x00\xff")
    assert (value.tag, value.image.encoded_image_string) == ("filters", b"\x89PNG\x00\xff")


@pytest.mark.parametrize("words", ["", "| a | b |\n|---|---|", "x²  *∑* — 中文"])
def test_a_text_is_what_tensorboard_makes_of_it(words):
    assert summaries.text("model", words) == text_pb("model", words).value[0]


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(RANDOM.normal(size=(50, 7)).astype(np.float32), id="weights"),
        pytest.param(1e-30 * RANDOM.normal(size=500).astype(np.float32), id="tiny"),
        pytest.param(np.float32([-3.4e38, 3.4e38, 1]), id="huge"),
        pytest.param(RANDOM.normal(size=200).astype(np.float16), id="half precision"),
        pytest.param(RANDOM.normal(size=200).astype(tf.bfloat16.as_numpy_dtype), id="bfloat16"),
        pytest.param(np.arange(61), id="values on the edges"),
        pytest.param(np.uint32([0, 7, 2**32 - 1]), id="the state of a seed generator"),
        pytest.param(np.array([True, False, True]), id="booleans"),
        pytest.param(np.full((2, 3), 0.1, np.float32), id="one value only"),
        pytest.param(np.zeros(4), id="zeros"),
        pytest.param(np.array(3.5), id="a scalar"),
        pytest.param(np.zeros((0, 3), np.float32), id="empty"),
    ],
)
def test_a_histogram_is_that_of_tensorboard(array):
    ours = summaries.histogram("weights/dense", array)
    theirs = histogram_pb("weights/dense", array).value[0]
    assert (ours.tag, ours.metadata) == (theirs.tag, theirs.metadata)
    assert ours.tensor.dtype == theirs.tensor.dtype
    np.testing.assert_array_equal(make_ndarray(ours.tensor), make_ndarray(theirs.tensor))
    assert histogram(array)[:, 2].sum() == array.size


@pytest.mark.parametrize("hostile", [[math.nan], [math.inf], [-math.inf], [math.nan, math.inf, -math.inf, math.nan]])
def test_a_histogram_leaves_out_what_is_not_finite(hostile):
    finite = RANDOM.normal(size=40).astype(np.float32)
    mixed = np.insert(finite, [0, 7, 39, 40][: len(hostile)], np.float32(hostile)).reshape(-1, 1)
    np.testing.assert_array_equal(histogram(mixed), tensorboards_histogram(finite))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_histogram_of_nothing_finite_is_that_of_no_values(value, dtype):
    np.testing.assert_array_equal(histogram(np.full((3, 2), value, dtype)), tensorboards_histogram(np.zeros(0)))


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array([1, np.nextafter(1, 2)]), id="next to each other"),
        pytest.param(np.array([0, 5e-324]), id="next to zero"),
        pytest.param(np.array([-1.7e308, 0.0, 1.7e308]), id="as far apart as can be"),
    ],
)
def test_a_histogram_of_double_precision_holds_every_value_however_near_or_far_they_are(array):
    buckets = histogram(array)
    assert buckets.shape == (30, 3)
    assert buckets[:, 2].sum() == len(array)
    assert np.isfinite(buckets).all()


def random_curve():
    probabilities = RANDOM.random(300)
    return RANDOM.random(300) < probabilities, probabilities


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        pytest.param(*random_curve(), id="random"),
        pytest.param([True, False, True, False, True], [0.0, 0.0, 0.5, 0.5, 1.0], id="on the thresholds"),
        pytest.param([True, True], [0.25, 0.75], id="no other class"),
        pytest.param([False, False, False], [0.25, 0.75, 1.0], id="none of the class"),
        pytest.param([True, False], [0.9, 0.1], id="no mistakes"),
        pytest.param([True, False], [0.1, 0.9], id="all wrong"),
        pytest.param([], [], id="empty"),
    ],
)
def test_a_precision_recall_curve_is_that_of_scikit_learn(labels, probabilities):
    labels, probabilities = np.array(labels, bool), np.array(probabilities, float)
    curve = make_ndarray(summaries.pr_curve("pr_curve/a", labels, probabilities, "class a").tensor)
    assert curve.shape == (len(ROWS), 201)
    for threshold, found in list(zip(np.linspace(0, 1, 201), curve.T, strict=True))[::4]:
        positive = probabilities >= threshold
        expected = [sum(labels & positive), sum(~labels & positive), sum(~labels & ~positive), sum(labels & ~positive)]
        if len(labels):
            ((tn, fp), (fn, tp)) = metrics.confusion_matrix(labels, positive, labels=[False, True])
            assert expected == [tp, fp, tn, fn]
            expected += [
                metrics.precision_score(labels, positive, zero_division=0.0),
                metrics.recall_score(labels, positive, zero_division=0.0),
            ]
        else:
            expected += [0, 0]
        np.testing.assert_allclose(found, np.float32(expected), rtol=1e-6)


def test_a_precision_recall_curve_is_filed_as_tensorboards_own():
    labels, probabilities = random_curve()
    ours = summaries.pr_curve("pr_curve/a", labels, probabilities, "class a")
    theirs = pr_curve_summary.pb(
        "pr_curve/a", labels, probabilities, num_thresholds=201, display_name="class a", description=""
    ).value[0]
    assert ours.tag == "pr_curve/a"
    assert ours.metadata.SerializeToString() == theirs.metadata.SerializeToString()
    assert ours.tensor.dtype == theirs.tensor.dtype
    np.testing.assert_allclose(make_ndarray(ours.tensor), tf.make_ndarray(theirs.tensor), rtol=1e-6)
