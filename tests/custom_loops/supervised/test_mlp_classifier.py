import numpy as np
import pytest

from recipes.supervised.mlp_classifier import HParams, build_model, load_data
from tests.trainings import seeds


def test_the_model_is_784_64_64_10_on_images_and_ends_in_logits():
    dataset = load_data(HParams())
    model = build_model(HParams(), dataset)
    assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [64, 64, 10]
    assert model.layers[-1].activation.__name__ == "linear"


@pytest.mark.parametrize("seed", seeds(2))
def test_learns_the_digits(trained, seed):
    run = trained("mlp_classifier", "custom_loop", seed=seed)
    assert run.metrics["accuracy"] >= 0.93
    assert run.metrics["loss"] < 0.3


def test_both_sides_train_on_mnist_from_a_file(train, real_data, tmp_path):
    with np.load(real_data / "mnist.npz") as mnist:
        part = {"x_train": mnist["x_train"][:2000], "y_train": mnist["y_train"][:2000]}
        part |= {"x_test": mnist["x_test"][:500], "y_test": mnist["y_test"][:500]}
    np.savez(tmp_path / "part.npz", **part)
    runs = [train("mlp_classifier", side, data=str(tmp_path / "part.npz"), epochs=3) for side in ("fit", "custom_loop")]
    assert runs[0].metrics == runs[1].metrics
    assert runs[0].metrics["accuracy"] > 0.8
