import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from custom_loops.regularization import early_stopping
from recipes.commands import parity
from tests.trainings import slow

SIDES = ("fit", "custom_loop")
SETTINGS = [
    {"data": "digits", "seed": 0},
    {"data": "digits", "seed": 1, "patience": 3, "rate_patience": 2, "factor": 0.1},
    {"data": "iris", "learning_rate": 0.05, "patience": 6, "rate_patience": 1},
    {"data": "wine", "learning_rate": 0.1, "patience": 1, "rate_patience": 3},
    {"data": "iris", "epochs": 4},  # ends before any patience does
]


@pytest.mark.parametrize("settings", [slow(SETTINGS[0]), SETTINGS[1], *map(slow, SETTINGS[2:4]), SETTINGS[4]])
def test_both_sides_stop_at_the_same_epoch_with_the_weights_of_the_best(trained, settings):
    fit, loop = (trained("early_stopping", side, **settings) for side in SIDES)
    losses = loop.history["val_loss"]
    assert losses == fit.history["val_loss"]
    result = parity.compare(fit.folder, loop.folder)
    assert result.identical, result.reasons

    best = int(np.argmin(losses))
    hparams = early_stopping.HParams(**settings)
    assert len(losses) == min(best + 1 + hparams.patience, hparams.epochs)
    assert loop.metrics["best_epoch"] == fit.metrics["best_epoch"] == best + 1

    dataset = early_stopping.load_data(hparams)
    model = early_stopping.build_model(hparams, dataset)
    with np.load(loop.folder / "state.npz") as state:
        model.set_weights([state[name] for name in state.files if name.startswith("weights")])
    logits = model(dataset.validation.x).numpy().astype(np.float64)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    restored = -log_softmax[np.arange(len(logits)), dataset.validation.y].mean()
    assert restored == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("settings", [SETTINGS[1], *map(slow, SETTINGS[2:4])])
def test_the_rate_falls_on_every_plateau(trained, side, settings):
    run = trained("early_stopping", side, **settings)
    hparams = early_stopping.HParams(**settings)
    rate, lowest, waited, expected = hparams.learning_rate, np.inf, 0, []
    for loss in run.history["val_loss"]:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(loss, lowest)
        expected.append(rate)  # TensorBoard is told before the callbacks that change it
        if waited == hparams.rate_patience:
            rate, waited = rate * hparams.factor, 0
    events = EventAccumulator(str(run.folder / "train"), size_guidance={"scalars": 0}).Reload()
    logged = [point.value for point in events.Scalars("epoch_learning_rate")]
    np.testing.assert_allclose(logged, expected, rtol=1e-5)
    if settings["data"] != "wine":
        assert len(set(expected)) > 1
