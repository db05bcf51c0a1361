"""Values for event files, one function a kind. NumPy makes them: `tf.summary` costs several times as much."""

from collections.abc import Mapping

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.pr_curve import metadata as pr_curve_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.util.tensor_util import make_tensor_proto

BUCKETS = 30  # TensorBoard's own default
THRESHOLDS = 201  # TensorBoard's own default


def scalars(values: Mapping[str, float], prefix: str = "") -> list[Summary.Value]:
    """Return a point for each value under its name."""
    return [Summary.Value(tag=prefix + name, simple_value=value) for name, value in values.items()]


def picture(tag: str, png: bytes) -> Summary.Value:
    """Return a picture."""
    return Summary.Value(tag=tag, image=Summary.Image(encoded_image_string=png))


def text(tag: str, markdown: str) -> Summary.Value:
    """Return a text, shown as Markdown."""
    return Summary.Value(
        tag=tag,
        metadata=text_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=make_tensor_proto(markdown, dtype=np.object_),
    )


def histogram(tag: str, array: np.ndarray) -> Summary.Value:
    """Return the histogram of the finite values in `array`: (30, 3) left edge, right edge, count.

    `tensorboard.plugins.histogram.summary_v2.histogram_pb` gives the same for finite values, by a table of
    (values, buckets) that takes 20 times as long.
    """
    finite = array[np.isfinite(array)].astype(np.float64) / 2  # halved: the range of doubles may be too large for one
    buckets = np.zeros((BUCKETS, 3))
    if finite.size:
        low, high = finite.min(), finite.max()
        buckets[:, 0], buckets[:, 1] = low, high
        if low < high:
            edges = np.linspace(low, high, BUCKETS + 1)
            places = np.minimum(((finite - low) / (high - low) * BUCKETS).astype(int), BUCKETS - 1)
            buckets = np.stack([edges[:-1], edges[1:], np.bincount(places, minlength=BUCKETS)], axis=1)
        else:
            buckets[-1, 2] = finite.size
        buckets[:, :2] *= 2
    return Summary.Value(
        tag=tag,
        metadata=histogram_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=make_tensor_proto(buckets, dtype=np.float64),
    )


def pr_curve(tag: str, labels: np.ndarray, probabilities: np.ndarray, name: str) -> Summary.Value:
    """Return a precision-recall curve at 201 thresholds from 0 to 1.

    Args:
        tag: where TensorBoard files it.
        labels: (examples,), whether an example belongs to the class.
        probabilities: (examples,), from 0 to 1.
        name: what TensorBoard shows.

    Rows of the result, as the plugin wants them: true positives, false positives, true negatives, false negatives,
    precision, recall; a prediction is positive if it reaches the threshold.
    """
    thresholds = np.linspace(0, 1, THRESHOLDS)
    positives = np.sort(probabilities[labels])
    negatives = np.sort(probabilities[~labels])
    true_positives = len(positives) - np.searchsorted(positives, thresholds)
    false_positives = len(negatives) - np.searchsorted(negatives, thresholds)
    false_negatives, true_negatives = len(positives) - true_positives, len(negatives) - false_positives
    precision = true_positives / np.maximum(true_positives + false_positives, 1e-7)
    recall = true_positives / max(len(positives), 1e-7)
    rows = [true_positives, false_positives, true_negatives, false_negatives, precision, recall]
    return Summary.Value(
        tag=tag,
        metadata=pr_curve_metadata.create_summary_metadata(
            display_name=name, description="", num_thresholds=THRESHOLDS
        ),
        tensor=make_tensor_proto(np.array(rows, dtype=np.float32)),
    )
