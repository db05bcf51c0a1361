"""What a trained model gets right and wrong, as pictures."""

import io
import warnings

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MOST_MISTAKES = 25
MOST_FILTERS = 64
MOST_NUMBERED = 20  # classes; the cells of a larger confusion matrix have no room for numbers


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG."""
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # a letter that the font lacks
        figure.savefig(file, format="png", pil_kwargs={"compress_level": 1})  # twice as fast, hardly larger
    return file.getvalue()


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, class_names: tuple[str, ...]) -> Figure:
    """Return how many examples of each class (rows) were taken for which (columns); both arguments are indices."""
    classes = len(class_names)
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (labels, predictions), 1)
    class_names = _as_words(class_names)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot(xlabel="prediction", ylabel="label")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if classes <= MOST_NUMBERED:
        axes.set_xticks(range(classes), class_names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), class_names)
        for row, column in zip(*counts.nonzero(), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    axes.set_title(f"{np.trace(counts)} of {counts.sum()} right")
    return figure


def worst_mistakes(
    x: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, class_names: tuple[str, ...]
) -> Figure:
    """Return the wrong predictions of which the model was surest: images, or rows of a table for other input.

    Args:
        x: features (examples, *features), as the model sees them.
        labels: class indices (examples,).
        probabilities: (examples, classes).
        class_names: by index.
    """
    class_names = _as_words(class_names)
    predictions = probabilities.argmax(axis=1)
    sureness = np.where(predictions == labels, -1.0, probabilities.max(axis=1))
    worst = np.argsort(-sureness, kind="stable")[:MOST_MISTAKES]
    worst = worst[sureness[worst] >= 0]
    figure, axes = _sheet(f"{len(worst)} worst mistakes" if len(worst) else "no mistakes")
    words = [f"{class_names[labels[row]]}, taken for {class_names[predictions[row]]}" for row in worst]
    images = as_images(x[worst])
    if images is not None and len(worst):
        mosaic, corners = _mosaic(images, gap=images.shape[1] // 3 + 1)
        axes.imshow(mosaic, cmap="gray")
        for word, (top, left) in zip(words, corners, strict=True):
            axes.text(left, top - 1, word, fontsize=6, va="bottom")
    elif len(worst):
        rows = [
            [str(row), class_names[labels[row]], class_names[predictions[row]], f"{sureness[row]:.3f}"] for row in worst
        ]
        axes.table(
            rows, colLabels=["example of the test part", "label", "prediction", "probability"], loc="upper center"
        )
    return figure


def _as_words(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names with their dollars escaped: matplotlib reads what is between two as a formula."""
    return tuple(name.replace("$", "\\$") for name in class_names)


def filters(model: keras.Model) -> Figure | None:
    """Return the weights of each unit of the first layer that has any, where they make an image; else None."""
    layer = next((layer for layer in model.layers if layer.trainable_variables), None)
    if isinstance(layer, keras.layers.Conv2D):
        kernel = keras.ops.convert_to_numpy(layer.kernel).transpose(3, 0, 1, 2)
        kernel = kernel if kernel.shape[3] in (1, 3) else kernel.mean(axis=3, keepdims=True)
    elif isinstance(layer, keras.layers.Dense) and _sees_pixels(model, layer):
        kernel = keras.ops.convert_to_numpy(layer.kernel).T.reshape(-1, *model.input_shape[1:])
    else:
        return None
    images = as_images(kernel[:MOST_FILTERS].astype(np.float32))
    if images is None:
        return None
    mosaic, _ = _mosaic(images, gap=1)
    figure, axes = _sheet(f"{layer.name}: {len(images)} of {len(kernel)} units")
    axes.imshow(mosaic, cmap="gray")
    return figure


def _sees_pixels(model: keras.Model, layer: keras.layers.Dense) -> bool:
    """Return whether each weight of a unit belongs to one value of the model's only input, an image."""
    shape = getattr(model, "input_shape", None)  # a subclass has none
    if not isinstance(shape, tuple) or len(shape) not in (3, 4) or None in shape[1:]:
        return False
    return layer.kernel.shape[0] == np.prod(shape[1:])


def predicted_against_true(targets: np.ndarray, predictions: np.ndarray) -> Figure:
    """Return a point for each example; on the diagonal where the prediction is right. Both are (examples,)."""
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot(xlabel="target", ylabel="prediction")
    axes.scatter(targets, predictions, s=8, alpha=0.6)
    ends = [min(targets.min(), predictions.min()), max(targets.max(), predictions.max())]
    axes.plot(ends, ends, color="black", linewidth=0.8)
    return figure


def residuals(targets: np.ndarray, predictions: np.ndarray) -> Figure:
    """Return target minus prediction over the prediction, and how it is distributed. Both are (examples,)."""
    errors = targets.astype(np.float64) - predictions  # float32 may leave no room for 30 bars
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot(1, 2, 1, xlabel="prediction", ylabel="target - prediction")
    axes.scatter(predictions, errors, s=8, alpha=0.6)
    axes.axhline(0, color="black", linewidth=0.8)
    axes = figure.add_subplot(1, 2, 2, xlabel="target - prediction", ylabel="examples")
    axes.hist(errors, bins=30)
    axes.set_title(f"mean {errors.mean():.3g}, standard deviation {errors.std():.3g}", fontsize=9)
    return figure


def as_images(x: np.ndarray) -> np.ndarray | None:
    """Return (examples, height, width[, 3]) scaled to 0..1 as a whole, or None if these are no images."""
    if x.ndim == 4 and x.shape[3] == 1:
        x = x[..., 0]
    if not (x.ndim == 3 and min(x.shape[1:]) >= 3) and not (x.ndim == 4 and x.shape[3] == 3):
        return None
    if not len(x):
        return x
    low, high = x.min(), x.max()
    return (x - low) / (high - low) if high > low else np.zeros_like(x)


def _sheet(title: str) -> tuple[Figure, Axes]:
    """Return a figure, and axes without a scale that fill it but for the title."""
    figure = Figure(figsize=(6.4, 6.8))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.92))  # a layout engine would draw everything twice
    axes.axis("off")
    axes.set_title(title)
    return figure, axes


def _mosaic(images: np.ndarray, gap: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return the images side by side, `gap` white pixels above and left of each, and where their corners lie."""
    count, height, width, *channels = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    whole = np.ones(((height + gap) * rows, (width + gap) * columns, *channels), dtype=np.float32)
    corners = []
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap) + gap, (index % columns) * (width + gap) + gap
        whole[top : top + height, left : left + width] = image
        corners.append((top, left))
    return whole, corners
