import numpy as np
import pytest

from custom_loops.supervised import cnn_classifier
from recipes.commands import parity
from recipes.shared.errors import UsageError

SIDES = ("fit", "custom_loop")


@pytest.fixture
def small_mnist(real_data, tmp_path):
    """The first 3000 training and 1000 test images, in a file of their own."""
    with np.load(real_data / "mnist.npz") as mnist:
        part = {name: mnist[name][: 3000 if "train" in name else 1000] for name in mnist.files}
    np.savez(tmp_path / "small.npz", **part)
    return str(tmp_path / "small.npz")


@pytest.mark.slow
def test_both_sides_learn_real_images_and_end_with_the_same_bytes(trained, small_mnist):
    fit, loop = (trained("cnn_classifier", side, data=small_mnist, epochs=4) for side in SIDES)
    assert fit.metrics["accuracy"] > 0.95
    result = parity.compare(fit.folder, loop.folder)
    assert result.identical, result.reasons
    assert "seeds" in result.compared


def test_images_with_channels_are_taken_as_they_are(train, tmp_path):
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = random.integers(0, 60, (60, 8, 6, 3)) + 80 * (y[:, None, None, None] == np.arange(3))
    np.savez(tmp_path / "colours.npz", x_train=x.astype(np.uint8), y_train=y)
    run = train("cnn_classifier", "custom_loop", data=str(tmp_path / "colours.npz"), batch_size=8, filters=4, epochs=8)
    assert run.metrics["accuracy"] == 1.0


def test_the_layers_have_the_stated_shapes():
    hparams = cnn_classifier.HParams(filters=4, hidden_units=5)
    model = cnn_classifier.build_model(hparams, cnn_classifier.load_data(hparams))
    shapes = [layer.output.shape[1:] for layer in model.layers]
    assert shapes == [(8, 8, 1), (8, 8, 4), (4, 4, 4), (4, 4, 8), (2, 2, 8), (32,), (5,), (5,), (10,)]


@pytest.mark.parametrize("side", SIDES)
def test_a_table_is_refused_with_the_way_out(train, side):
    with pytest.raises(UsageError, match=r"needs images.*shape \(30,\); mlp_classifier takes any"):
        train("cnn_classifier", side, data="breast_cancer")


def test_images_too_small_to_be_pooled_twice_are_refused(train, tmp_path):
    np.savez(tmp_path / "tiny.npz", x_train=np.zeros((40, 3, 9), np.uint8), y_train=np.arange(40) % 2)
    with pytest.raises(UsageError, match="4 x 4 pixels and more"):
        train("cnn_classifier", "fit", data=str(tmp_path / "tiny.npz"), batch_size=8)
