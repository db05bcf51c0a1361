"""What TensorBoard shows of a model once it is trained: pictures and curves of the test part."""

from collections.abc import Iterator

import keras
import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary

from recipes.shared import scores
from recipes.shared.data import Dataset
from recipes.shared.tensorboard_logging import pictures, summaries


def values(model: keras.Model, dataset: Dataset, outputs: np.ndarray) -> Iterator[Summary.Value]:
    """Yield pictures and precision-recall curves.

    Args:
        model: the trained model.
        dataset: its data.
        outputs: of the model on the test part, (examples, outputs): logits, probabilities, or those of a regression.
    """
    figures = {"filters": pictures.filters(model)}
    if dataset.class_names:
        labels = scores.class_indices(dataset.test.y)
        probabilities = scores.probabilities(outputs, scores.kind_of(model, outputs))
        predictions = probabilities.argmax(axis=1)
        figures["confusion_matrix"] = pictures.confusion_matrix(labels, predictions, dataset.class_names)
        figures["worst_mistakes"] = pictures.worst_mistakes(dataset.test.x, labels, probabilities, dataset.class_names)
        for index, name in enumerate(dataset.class_names):
            yield summaries.pr_curve(f"pr_curve/{name}", labels == index, probabilities[:, index], f"class {name}")
    else:
        targets, predictions = dataset.test.y[:, 0], outputs[:, 0]
        figures["predicted_against_true"] = pictures.predicted_against_true(targets, predictions)
        figures["residuals"] = pictures.residuals(targets, predictions)
    for name, figure in figures.items():
        if figure is not None:
            yield summaries.picture(name, pictures.png(figure))
