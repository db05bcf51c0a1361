"""What the pictures show, read off their artists; counts are scikit-learn's."""

import io

import keras
import matplotlib.image
import numpy as np
import pytest
from sklearn import metrics

from recipes.shared.tasks import classification
from recipes.shared.tensorboard_logging import pictures

RANDOM = np.random.default_rng(0)


def drawn(figure):
    """Return the figure's axes, once it has been drawn without a warning."""
    png = pictures.png(figure)
    assert png.startswith(b"\x89PNG")
    pixels = matplotlib.image.imread(io.BytesIO(png))
    assert np.ptp(pixels[..., :3]) > 0.5
    return figure.axes


def names(count):
    return tuple(f"class {index}" for index in range(count))


def matrix_of(figure):
    """Return the counts that a confusion matrix shows as text, and its title."""
    (axes,) = drawn(figure)
    size = len(axes.images[0].get_array())
    counts = np.zeros((size, size), int)
    for text in axes.texts:
        column, row = text.get_position()
        counts[row, column] = text.get_text()
    return counts, axes.get_title()


@pytest.mark.parametrize("classes", [1, 2, 3, 20])
@pytest.mark.filterwarnings("ignore:A single label was found")  # by scikit-learn, where there is one class
def test_a_confusion_matrix_shows_the_counts_of_scikit_learn(classes):
    labels, predictions = RANDOM.integers(0, classes, (2, 300))
    predictions[: len(labels) // 2] = labels[: len(labels) // 2]
    figure = pictures.confusion_matrix(labels, predictions, names(classes))
    counts, title = matrix_of(figure)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(labels, predictions, labels=range(classes)))
    assert title == f"{(labels == predictions).sum()} of 300 right"
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(names(classes))
    assert [label.get_text() for label in axes.get_xticklabels()] == list(names(classes))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "label")


@pytest.mark.parametrize("classes", [21, 100])
def test_a_confusion_matrix_of_many_classes_is_coloured_without_numbers(classes):
    labels, predictions = RANDOM.integers(0, classes, (2, 2000))
    (axes,) = drawn(pictures.confusion_matrix(labels, predictions, names(classes)))
    assert len(axes.texts) == 0
    expected = metrics.confusion_matrix(labels, predictions, labels=range(classes), normalize="true")
    np.testing.assert_allclose(axes.images[0].get_array(), expected, atol=1e-12)


def test_colours_are_shares_of_a_row_and_a_class_without_examples_has_none():
    (axes,) = drawn(pictures.confusion_matrix(np.array([0, 0, 0, 2]), np.array([0, 0, 1, 2]), names(3)))
    np.testing.assert_allclose(axes.images[0].get_array(), [[2 / 3, 1 / 3, 0], [0, 0, 0], [0, 0, 1]])
    assert axes.images[0].get_clim() == (0, 1)
    assert sorted(text.get_text() for text in axes.texts) == ["1", "1", "2"]
    colours = {text.get_position(): text.get_color() for text in axes.texts}
    assert (colours[0, 0], colours[1, 0]) == ("white", "black")  # readable on what is dark and what is light


def test_one_logit_stands_for_two_classes():
    logits, labels = np.array([[2.0], [-1.0], [0.5], [-3.0], [1.0]]), np.array([1, 1, 0, 0, 1])
    predictions = classification.probabilities(logits, "logits").argmax(axis=1)
    counts, title = matrix_of(pictures.confusion_matrix(labels, predictions, ("no", "yes")))
    assert counts.tolist() == [[1, 1], [1, 2]]
    assert title == "3 of 5 right"


def test_labels_of_one_class_alone():
    counts, title = matrix_of(pictures.confusion_matrix(np.zeros(4, int), np.array([0, 0, 1, 0]), names(2)))
    assert counts.tolist() == [[3, 1], [0, 0]]
    assert title == "3 of 4 right"


HOSTILE = ["$1_$2", "$\\nonsense$", "50% {of} \\it", "a_b^c", "<html>&", "two\nlines", "", "x" * 200]


@pytest.mark.parametrize("name", [*HOSTILE, pytest.param("中文", id="a script that the font lacks")])
@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # there is no room for a name of 200 letters
def test_names_of_classes_are_words_and_no_formulas(name):
    labels, predictions = np.array([0, 1, 1]), np.array([1, 1, 0])
    figure = pictures.confusion_matrix(labels, predictions, (name, "b"))
    drawn(figure)
    assert figure.axes[0].get_yticklabels()[0].get_text().replace("\\$", "$") == name
    for x in (np.zeros((3, 2)), RANDOM.random((3, 8, 8))):
        drawn(pictures.worst_mistakes(x, labels, np.eye(2)[predictions], (name, "b")))


def mistakes(count, classes=3):
    """Return labels, and probabilities that are wrong and ever less sure."""
    labels = np.zeros(count, int)
    sureness = np.linspace(0.9, 0.4, count)
    rest = (1 - sureness) / (classes - 1)
    probabilities = np.repeat(rest[:, None], classes, axis=1)
    probabilities[:, 1] = sureness
    return labels, probabilities


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 1), (8, 6, 3)], ids=["grey", "one channel", "colour"])
def test_the_surest_mistakes_are_shown_as_images_the_surest_first(shape):
    x = RANDOM.random((40, *shape)).astype(np.float32)
    order = RANDOM.permutation(40)
    labels, probabilities = mistakes(40)
    probabilities = probabilities[np.argsort(order)]  # order[0] is the surest
    probabilities[order[1]] = [0.99, 0.01, 0]  # but this one is right
    (axes,) = drawn(pictures.worst_mistakes(x, labels, probabilities, names(3)))
    assert axes.get_title() == "25 worst mistakes"
    assert [text.get_text() for text in axes.texts] == ["class 0, taken for class 1"] * 25
    shown = np.asarray(axes.images[0].get_array())
    expected = order[[0, *range(2, 26)]]
    low, high = x[expected].min(), x[expected].max()
    images = (x[expected].reshape(25, 8, 6, *shape[2:3] * (shape[-1] == 3)) - low) / (high - low)
    for text, image in zip(axes.texts, images, strict=True):
        left, bottom = text.get_position()
        top = bottom + 1
        np.testing.assert_allclose(shown[top : top + 8, left : left + 6], image, rtol=1e-5, atol=1e-6)
    assert len({text.get_position() for text in axes.texts}) == 25


def test_mistakes_on_a_table_are_rows_that_name_the_example():
    labels = np.array([0, 1, 2, 2])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.1, 0.1, 0.8]])
    (axes,) = drawn(pictures.worst_mistakes(np.zeros((4, 5)), labels, probabilities, ("a", "b", "c")))
    (table,) = axes.tables
    cells = {place: cell.get_text().get_text() for place, cell in table.get_celld().items()}
    rows = [[cells[row, column] for column in range(4)] for row in range(1, 1 + max(row for row, _ in cells))]
    assert rows == [["2", "c", "b", "0.700"], ["1", "b", "a", "0.500"]]
    assert axes.get_title() == "2 worst mistakes"


def test_no_more_than_25_rows_are_shown():
    labels, probabilities = mistakes(60)
    (axes,) = drawn(pictures.worst_mistakes(np.zeros((60, 5)), labels, probabilities, names(3)))
    assert max(row for row, _ in axes.tables[0].get_celld()) == 25


@pytest.mark.parametrize("x", [np.zeros((6, 5)), RANDOM.random((6, 8, 8))], ids=["table", "images"])
def test_a_model_without_mistakes_has_none_to_show(x):
    labels = np.arange(6) % 3
    (axes,) = drawn(pictures.worst_mistakes(x, labels, np.eye(3)[labels], names(3)))
    assert axes.get_title() == "no mistakes"
    assert not axes.texts
    assert not axes.tables
    assert not axes.images


def test_mistakes_of_one_logit():
    probabilities = classification.probabilities(np.array([[3.0], [-2.0], [1.0]]), "logits")
    (axes,) = drawn(pictures.worst_mistakes(np.zeros((3, 2)), np.array([0, 0, 1]), probabilities, ("no", "yes")))
    cells = {place: cell.get_text().get_text() for place, cell in axes.tables[0].get_celld().items()}
    assert [cells[1, column] for column in range(4)] == ["0", "no", "yes", f"{1 / (1 + np.exp(-3)):.3f}"]


def mosaic(figure):
    (axes,) = drawn(figure)
    return np.asarray(axes.images[0].get_array()), axes.get_title()


def scaled(kernels):
    return (kernels - kernels.min()) / (kernels.max() - kernels.min())


def test_the_units_of_a_dense_layer_on_pixels_are_images():
    model = keras.Sequential([keras.Input((5, 4)), keras.layers.Flatten(), keras.layers.Dense(6, name="hidden")])
    whole, title = mosaic(pictures.filters(model))
    assert title == "hidden: 6 of 6 units"
    units = scaled(model.get_weights()[0].T.reshape(6, 5, 4))
    for index, (row, column) in enumerate(np.ndindex(2, 3)):  # three in a row, a white line above and left of each
        top, left = 1 + row * 6, 1 + column * 5
        np.testing.assert_allclose(whole[top : top + 5, left : left + 4], units[index], rtol=1e-5, atol=1e-6)
    assert (whole[0] == 1).all()


@pytest.mark.parametrize(("channels", "colour"), [(1, False), (3, True), (2, False)])
def test_the_kernels_of_a_convolution_are_images(channels, colour):
    model = keras.Sequential([keras.Input((9, 9, channels)), keras.layers.Conv2D(4, (3, 5), name="conv")])
    whole, title = mosaic(pictures.filters(model))
    assert title == "conv: 4 of 4 units"
    kernels = model.get_weights()[0].transpose(3, 0, 1, 2)
    kernels = scaled(kernels if colour else kernels.mean(axis=3))
    assert whole.shape == ((8, 12, 3) if colour else (8, 12))
    np.testing.assert_allclose(whole[5:8, 7:12], kernels[3], rtol=1e-5, atol=1e-6)


def test_no_more_than_64_units_are_shown():
    model = keras.Sequential([keras.Input((4, 4)), keras.layers.Flatten(), keras.layers.Dense(70, name="hidden")])
    assert mosaic(pictures.filters(model))[1] == "hidden: 64 of 70 units"


def functional(build, *shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, build(*inputs))


class Subclassed(keras.Model):
    """What Keras knows no input shape of."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(keras.ops.reshape(x, (len(x), -1)))


def subclassed():
    model = Subclassed()
    model(np.ones((2, 4, 4), np.float32))
    return model


Dense, Flatten = keras.layers.Dense, keras.layers.Flatten
WITHOUT_IMAGES = {
    "a table": lambda: keras.Sequential([keras.Input((5,)), Dense(3)]),
    "small kernels": lambda: keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 2)]),
    "a convolution over time": lambda: keras.Sequential([keras.Input((8, 8)), keras.layers.Conv1D(4, 3), Flatten()]),
    "nothing to train": lambda: keras.Sequential([keras.Input((4, 4)), Flatten()]),
    "a model first": lambda: keras.Sequential([keras.Input((4, 4)), keras.Sequential([Flatten(), Dense(3)])]),
    "a dense layer on each row": lambda: keras.Sequential([keras.Input((8, 8)), Dense(4), Flatten(), Dense(2)]),
    "a dense layer on each row whose weights would fill images": lambda: keras.Sequential(
        [keras.Input((4, 4)), Dense(8), Flatten(), Dense(2)]
    ),
    "pooled pixels": lambda: keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.AveragePooling2D(2), Flatten(), Dense(4)]
    ),
    "three inputs": lambda: functional(lambda *x: Dense(1)(keras.layers.Concatenate()(list(x))), (2,), (3,), (4,)),
    "a subclassed model": subclassed,
}


@pytest.mark.parametrize("name", WITHOUT_IMAGES)
def test_where_the_weights_are_no_images_of_the_input_there_is_no_picture(name):
    assert pictures.filters(WITHOUT_IMAGES[name]()) is None


def points(axes):
    return np.asarray(axes.collections[0].get_offsets())


def test_predictions_are_drawn_over_the_targets_with_the_diagonal():
    targets, predictions = np.float32([1, 2, 5]), np.float32([1.5, -2, 4])
    (axes,) = drawn(pictures.predicted_against_true(targets, predictions))
    np.testing.assert_array_equal(points(axes), np.stack([targets, predictions], axis=1))
    (line,) = axes.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([-2, 5], [-2, 5])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("target", "prediction")


def test_residuals_are_target_minus_prediction():
    targets = RANDOM.normal(size=200)
    predictions = targets + RANDOM.normal(1, 0.5, size=200)
    left, right = drawn(pictures.residuals(targets, predictions))
    np.testing.assert_array_equal(points(left), np.stack([predictions, targets - predictions], axis=1))
    counts, edges = np.histogram(targets - predictions, bins=30)
    assert [bar.get_height() for bar in right.patches] == counts.tolist()
    np.testing.assert_allclose([bar.get_x() for bar in right.patches], edges[:-1])
    errors = targets - predictions
    assert right.get_title() == f"mean {errors.mean():.3g}, standard deviation {errors.std():.3g}"


@pytest.mark.parametrize("predictions", [np.full(5, 3.0), np.array([3.0])[:1]], ids=["constant", "a single one"])
def test_a_regression_without_any_spread_can_be_drawn(predictions):
    drawn(pictures.predicted_against_true(predictions, predictions))
    drawn(pictures.residuals(predictions, predictions))


def test_residuals_that_differ_by_rounding_alone_can_be_drawn():
    targets = RANDOM.normal(size=50).astype(np.float32)
    predictions = targets + np.float32(0.5)
    assert 1 < len(set(targets - predictions)) < 10
    drawn(pictures.residuals(targets, predictions))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 3, 3), (5, 3, 3)),
        ((5, 4, 6, 1), (5, 4, 6)),
        ((5, 4, 6, 3), (5, 4, 6, 3)),
        ((5, 2, 2, 3), (5, 2, 2, 3)),
        ((0, 4, 6, 3), (0, 4, 6, 3)),
        ((5, 2, 6), None),
        ((5, 6, 2, 1), None),
        ((5, 4, 6, 2), None),
        ((5, 7), None),
        ((5, 3, 3, 3, 3), None),
    ],
    ids=str,
)
def test_what_is_taken_for_images(shape, expected):
    images = pictures.as_images(RANDOM.normal(size=shape))
    assert (None if images is None else images.shape) == expected


def test_images_are_scaled_together_so_that_they_can_be_compared():
    x = np.stack([np.full((3, 3), value) for value in (-1.0, 0.0, 3.0)])
    assert pictures.as_images(x)[:, 0, 0].tolist() == [0, 0.25, 1]
    assert not pictures.as_images(np.full((2, 3, 3), 7.0)).any()
