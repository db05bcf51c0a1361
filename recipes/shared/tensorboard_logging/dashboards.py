"""What TensorBoard shows of a model once it is trained: pictures and curves of the test part."""

from collections.abc import Iterator
from typing import Any

import keras
from tensorboard.compat.proto.summary_pb2 import Summary

from recipes.shared.data import Dataset
from recipes.shared.tasks import Kind
from recipes.shared.tensorboard_logging import pictures, summaries


def values(model: keras.Model, dataset: Dataset, outputs: Any, kind: Kind) -> Iterator[Summary.Value]:
    """Yield the filters of the model, and what the task of the data shows.

    Args:
        model: the trained model.
        dataset: its data.
        outputs: of the model on the test part, as its task predicts them; None if there is nothing to show of them.
        kind: what they mean.
    """
    filters = pictures.filters(model)
    if filters is not None:
        yield summaries.picture("filters", pictures.png(filters))
    if dataset.task is not None and outputs is not None:
        yield from dataset.task.pictures(dataset.test, outputs, kind)
