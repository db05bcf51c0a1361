import keras
import numpy as np
import pytest

from recipes.generative import gan
from tests.trainings import seeds


@pytest.mark.parametrize("seed", seeds(3))
def test_samples_have_the_mean_and_covariance_of_the_gaussian(trained, seed):
    run = trained("gan", "custom_loop", seed=seed, jit_compile=True)
    assert run.metrics["mean_error"] < 0.1
    assert run.metrics["covariance_error"] < 0.1
    # an oracle without samples: those of a linear generator are x = z W + b, so their covariance is W'W
    state = np.load(run.folder / "state.npz")
    weight, bias = (state[name] for name in state.files if " generator/" in name and name.startswith("weights/"))
    assert np.linalg.norm(bias - gan.MEAN) < 0.1 * np.linalg.norm(gan.MEAN)
    covariance = gan.MIXING.T @ gan.MIXING
    assert np.linalg.norm(weight.T @ weight - covariance) < 0.1 * np.linalg.norm(covariance)


def test_at_the_start_the_samples_are_far_from_it():
    hparams = gan.HParams()
    dataset = gan.load_data(hparams)
    scores = gan.score(gan.build_model(hparams, dataset), hparams, dataset)
    assert scores["mean_error"] > 0.5
    assert scores["covariance_error"] > 0.3


def test_a_discriminator_that_tells_nothing_has_the_losses_of_the_paper(trained):
    """At the end D is 1/2 everywhere: its loss is 2 log 2, the generator's log 2 (Goodfellow et al., theorem 1)."""
    history = trained("gan", "custom_loop", seed=0, jit_compile=True).history
    assert history["discriminator_loss"][-1] == pytest.approx(2 * np.log(2), rel=0.02)
    assert history["generator_loss"][-1] == pytest.approx(np.log(2), rel=0.02)


def test_the_saved_model_generates(trained):
    run = trained("gan", "fit", epochs=2)
    model = keras.models.load_model(
        run.folder / "model.keras", custom_objects={"TrainedByFit": gan.TrainedByFit}, compile=False
    )
    assert model(np.zeros((3, 2), np.float32)).shape == (3, 2)


def test_images_are_between_0_and_1():
    hparams = gan.HParams(data="digits", latent_size=16)
    dataset = gan.load_data(hparams)
    model = gan.build_model(hparams, dataset)
    images = keras.ops.convert_to_numpy(model(model.noise(5)))
    assert images.shape == (5, 8, 8)
    assert 0 < images.min() < images.max() < 1
    assert 0 <= dataset.train.x.min() < dataset.train.x.max() <= 1
