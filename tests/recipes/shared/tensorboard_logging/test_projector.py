"""What the projector plugin reads of what is written for it, by its own functions."""

import keras
import numpy as np
import pytest
from matplotlib.image import imread
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin, _read_tensor_tsv_file

from recipes.shared.data import Split
from recipes.shared.tasks.classification import Classification
from recipes.shared.tasks.regression import Regression
from recipes.shared.tensorboard_logging import projector
from recipes.shared.tensorboard_logging.event_files import EventFiles

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


class Shown:
    """What the plugin shows of a folder."""

    def __init__(self, folder):
        self.folder = folder
        plugin = ProjectorPlugin(TBContext(logdir=str(folder)))
        plugin._configs, plugin.config_fpaths = plugin._read_latest_config_files([("run", str(folder))])
        plugin._augment_configs_with_checkpoint_info()
        (self.embedding,) = plugin._configs["run"].embeddings
        self.points = _read_tensor_tsv_file(str(folder / self.embedding.tensor_path))

    @property
    def labels(self):
        """As the page reads them: lines, and those of white space alone are skipped."""
        text = (self.folder / self.embedding.metadata_path).read_bytes().decode()
        assert "\t" not in text  # the first line would be taken for a header
        return [line.strip() for line in text.split("\n") if line.strip()]

    @property
    def thumbnails(self):
        """Cut out of the sprite as the page does it: row by row, each as wide and high as the configuration says."""
        sprite = imread(self.folder / self.embedding.sprite.image_path)[..., :3]
        width, height = self.embedding.sprite.single_image_dim
        columns = sprite.shape[1] // width
        for index in range(len(self.points)):
            top, left = index // columns * height, index % columns * width
            yield sprite[top : top + height, left : left + width]


@pytest.fixture
def show(tmp_path):
    """A function that writes the files for a model and a split, and returns what the plugin shows."""

    def show(model, x, y=None, class_names=()):
        y = np.zeros((len(x), 1), np.float32) if y is None else y
        files = EventFiles(tmp_path / "run")
        task = Classification(class_names) if class_names else Regression()
        projector.write(files, model, Split(x, y), task)
        assert not files.broken
        return Shown(tmp_path / "run")

    return show


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def classifier(*shape, hidden=5, classes=3):
    layers = [keras.layers.Flatten(), keras.layers.Dense(hidden, activation="tanh"), keras.layers.Dense(classes)]
    return keras.Sequential([keras.Input(shape), *layers])


def test_points_are_what_the_last_layer_but_one_makes_of_the_examples(show):
    model, x = classifier(4), normal(9, 4)
    shown = show(model, x, np.arange(9) % 3, ("a", "b", "c"))
    kernel, bias = model.layers[-2].get_weights()
    np.testing.assert_allclose(shown.points, np.tanh(x @ kernel + bias), rtol=2e-5, atol=1e-7)
    assert list(shown.embedding.tensor_shape) == [9, 5]
    assert shown.labels == ["a", "b", "c"] * 3
    assert not shown.embedding.sprite.image_path


def test_a_functional_model_has_points_too(show):
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(6, activation="relu")(inputs)
    x = normal(5, 4)
    shown = show(keras.Model(inputs, keras.layers.Dense(1)(hidden)), x)
    np.testing.assert_allclose(shown.points, np.array(keras.Model(inputs, hidden)(x)), rtol=2e-5, atol=1e-7)


def test_a_model_that_has_been_called_elsewhere_since_has_the_same_points(show):
    model, x = classifier(4), normal(5, 4)
    expected = np.array(model.layers[-2](x))
    raw = keras.Input((4,))
    keras.Model(raw, model(keras.layers.Rescaling(100.0)(raw)))
    np.testing.assert_allclose(show(model, x).points, expected, rtol=2e-5, atol=1e-7)


def test_points_are_those_of_inference(show):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    x = normal(50, 4)
    np.testing.assert_allclose(show(model, x).points, x, rtol=1e-5)


@pytest.mark.parametrize("width", [1, 2])
def test_embeddings_of_few_dimensions_are_padded_to_the_three_that_the_page_needs(show, width):
    model, x = keras.Sequential([keras.Input((width,)), keras.layers.Dense(1)]), normal(6, width)
    points = show(model, x).points
    assert points.shape == (6, 3)
    np.testing.assert_allclose(points[:, :width], x, rtol=1e-5)
    assert not points[:, width:].any()


def test_embeddings_of_many_axes_are_laid_flat(show):
    layers = [keras.layers.Conv2D(2, 3), keras.layers.Conv2D(1, 1)]
    shown = show(keras.Sequential([keras.Input((6, 5, 1)), *layers]), normal(3, 6, 5, 1))
    assert shown.points.shape == (3, 4 * 3 * 2)


def test_numbers_that_are_not_finite_can_be_read(show):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    x = np.float32([[np.nan, np.inf, -np.inf], [1e-38, -3e38, 0]])
    np.testing.assert_allclose(show(model, x).points, x, rtol=1e-5)


def test_a_last_layer_that_takes_several_tensors_has_a_row_of_all_of_them_for_each_example(show):
    inputs = keras.Input((4,))
    wide, deep = keras.layers.Dense(3)(inputs), keras.layers.Dense(3)(inputs)
    x = normal(6, 4)
    shown = show(keras.Model(inputs, keras.layers.Add()([wide, deep])), x)
    expected = np.concatenate([np.array(part) for part in keras.Model(inputs, [wide, deep])(x)], axis=1)
    np.testing.assert_allclose(shown.points, expected, rtol=2e-5, atol=1e-7)


def test_a_last_layer_that_takes_tensors_of_different_width_does_not_break_the_run(show):
    inputs = keras.Input((4,))
    parts = [keras.layers.Dense(3)(inputs), keras.layers.Dense(2)(inputs)]
    assert len(show(keras.Model(inputs, keras.layers.Concatenate()(parts)), normal(6, 4)).points) == 6


def test_labels_that_would_divide_the_table_are_kept_to_one_line(show):
    names = ("tab\tbed", "two\nlines", "carriage\r\nreturn", "plain", "中文")
    shown = show(classifier(4, classes=5), normal(10, 4), np.arange(10) % 5, names)
    assert shown.labels == ["tab bed", "two lines", "carriage  return", "plain", "中文"] * 2


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_label_of_white_space_alone_does_not_shift_those_behind_it(show, blank):
    shown = show(classifier(4, classes=2), normal(4, 4), np.array([0, 1, 0, 1]), (blank, "b"))
    assert len(shown.labels) == len(shown.points)
    assert [index for index, label in enumerate(shown.labels) if label == "b"] == [1, 3]


def test_one_hot_labels_have_their_classes_names(show):
    shown = show(classifier(4), normal(3, 4), np.eye(3)[[2, 0, 1]], ("a", "b", "c"))
    assert shown.labels == ["c", "a", "b"]


def test_the_labels_of_a_regression_are_its_targets(show):
    shown = show(classifier(4, classes=1), normal(3, 4), np.float32([[0.1], [-2e10], [3]]))
    assert shown.labels == ["0.1", "-2e+10", "3"]


def test_no_more_examples_are_written_than_the_page_can_lay_out(show):
    shown = show(classifier(3), normal(2001, 3), np.zeros(2001, np.int32), ("a", "b", "c"))
    assert len(shown.points) == len(shown.labels) == 2000


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 1), (4, 6, 3), (2, 2, 3)], ids=str)
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_thumbnails_are_the_examples_in_their_order(show, shape, count):
    x = normal(count, *shape)
    shown = show(classifier(*shape), x)
    low, high = x.min(), x.max()
    scaled = ((x - low) / (high - low)).reshape(count, *shape[:2], -1)
    found = list(shown.thumbnails)
    assert len(found) == count
    for thumbnail, image in zip(found, scaled, strict=True):
        assert thumbnail.shape == (*shape[:2], 3)
        np.testing.assert_allclose(thumbnail, np.broadcast_to(image, thumbnail.shape), atol=2 / 255)


def test_images_without_contrast_have_thumbnails_too(show):
    assert all(not thumbnail.any() for thumbnail in show(classifier(4, 4), np.ones((3, 4, 4), np.float32)).thumbnails)


@pytest.mark.parametrize(("width", "has_sprite"), [(4096, True), (4097, False)])
def test_a_sprite_that_the_plugin_cannot_show_is_left_out(show, width, has_sprite):
    shown = show(classifier(3, width, hidden=3), normal(4, 3, width))  # a square of two by two
    assert bool(shown.embedding.sprite.image_path) == has_sprite
    assert (shown.folder / "sprite.png").exists() == has_sprite
    assert len(shown.points) == 4


def test_a_subclassed_model_has_no_last_layer_but_one(tmp_path):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

    model, x = Subclassed(), normal(4, 3)
    model(x)
    projector.write(EventFiles(tmp_path / "run"), model, Split(x, x[:, :1]), Regression())
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_no_error(tmp_path, capfd):
    (tmp_path / "file").touch()
    files, x = EventFiles(tmp_path / "file"), normal(4, 3)
    projector.write(files, classifier(3, classes=1), Split(x, x[:, :1]), Regression())
    assert files.broken
    assert capfd.readouterr().err.count("\n") == 1
