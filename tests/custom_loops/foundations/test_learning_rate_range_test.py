import json
import math

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from custom_loops.foundations import learning_rate_range_test
from recipes.shared.errors import TrainingDiverged, UsageError
from recipes.shared.logging_options import LoggingOptions
from tests.trainings import seeds, slow

NAME = "learning_rate_range_test"


def final_loss(trained, **hparams):
    """The validation loss after the training that follows the range test; infinite if it diverged."""
    try:
        run = trained(NAME, "custom_loop", **hparams)
    except TrainingDiverged:
        return math.inf
    return json.loads((run.folder / "training" / "history.json").read_text())["val_loss"][-1]


@pytest.mark.parametrize("data", ["digits", *(slow(data) for data in ("wine", "breast_cancer"))])
@pytest.mark.parametrize("seed", seeds(3))
def test_the_suggested_rate_beats_a_tenth_and_ten_times_of_it(trained, data, seed):
    suggested, tenth, tenfold = (final_loss(trained, data=data, seed=seed, multiple=m) for m in (1.0, 0.1, 10.0))
    assert suggested < tenth
    assert suggested < tenfold


def test_both_sides_record_the_same_losses_and_suggest_the_same_rate(trained):
    fit, loop = (trained(NAME, side, epochs=1) for side in ("fit", "custom_loop"))
    assert fit.metrics == loop.metrics
    assert 0.1 < fit.metrics["suggested_learning_rate"] < fit.metrics["diverged_at"] / 3
    assert (fit.folder / "range_test.png").read_bytes() == (loop.folder / "range_test.png").read_bytes()


@pytest.mark.parametrize("side", [slow("fit"), "custom_loop"])
def test_losses_that_end_in_nan_still_suggest_a_rate(trained, side):
    run = trained(NAME, side, data="wine", highest_learning_rate=1e6, epochs=2)
    assert 0.1 < run.metrics["suggested_learning_rate"] < 3
    assert math.isfinite(run.metrics["test_loss"])


def test_the_picture_is_in_tensorboard_and_in_a_file(trained):
    run = trained(NAME, "custom_loop", data="iris", steps=30, epochs=1, logging=LoggingOptions())
    png = (run.folder / "range_test.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    events = EventAccumulator(str(run.folder)).Reload()
    (image,) = events.Images("range_test")
    assert image.encoded_image_string == png


def test_the_rate_grows_by_the_same_factor_from_the_lowest_to_the_highest():
    hparams = learning_rate_range_test.HParams(learning_rate=1e-3, highest_learning_rate=10.0, steps=50)
    rates = [float(learning_rate_range_test.rising_rate(hparams)(step)) for step in range(50)]
    np.testing.assert_allclose(rates, np.logspace(-3, 1, 50), rtol=1e-5)


@pytest.mark.parametrize("side", [slow("fit"), "custom_loop"])
def test_a_range_in_which_nothing_diverges_is_said_and_its_picture_kept(train, side, tmp_path):
    with pytest.raises(
        UsageError, match=r"did not diverge up to a rate of 0\.001; use a higher --highest-learning-rate"
    ):
        train(NAME, side, data="iris", highest_learning_rate=1e-3)
    assert list(tmp_path.rglob("range_test.png"))


def test_a_training_that_diverges_after_the_test_says_which_flag_to_change(train):
    with pytest.raises(TrainingDiverged, match=r"try a smaller --multiple\."):
        train(NAME, "custom_loop", data="wine", batch_size=16, multiple=1000.0, epochs=3)


def test_a_range_beyond_float32_is_refused(train):
    with pytest.raises(UsageError, match=r"--highest-learning-rate is 1e\+35; it must be below 1e30 times"):
        train(NAME, "fit", highest_learning_rate=1e35)


def test_the_training_is_recorded_with_the_rate_that_it_took(trained):
    run = trained(NAME, "fit", data="iris", multiple=0.5, epochs=1, steps=60)
    config = json.loads((run.folder / "training" / "config.json").read_text())
    assert config["hparams"]["learning_rate"] == run.metrics["suggested_learning_rate"] / 2


@pytest.mark.parametrize("side", ["fit", "custom_loop"])
def test_a_range_that_does_not_rise_is_refused(train, side):
    with pytest.raises(
        UsageError, match=r"--highest-learning-rate is 1e-05; it must be above --learning-rate, 0\.0001"
    ):
        train(NAME, side, highest_learning_rate=1e-5)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"highest_learning_rate": math.inf}, "--highest-learning-rate is inf; it must be finite"),
        ({"steps": 3}, "--steps is 3; it must be at least 20"),
        ({"multiple": 0.0}, "--multiple is 0.0; it must be greater than 0"),
    ],
)
def test_what_no_range_test_can_use_is_refused(values, complaint):
    with pytest.raises(UsageError, match=complaint):
        learning_rate_range_test.HParams(**values)
