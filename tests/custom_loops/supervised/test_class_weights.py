import keras
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from recipes.commands import parity
from recipes.shared.data import Dataset, Split
from recipes.shared.tasks.classification import Classification
from recipes.supervised import class_weights
from tests import trainings
from tests.trainings import seeds, slow

SIDES = ("fit", "custom_loop")


@pytest.mark.parametrize("seed", seeds(3))
def test_weights_find_the_rare_class_and_leave_the_order_of_the_examples_alone(trained, seed):
    summary = trained("class_weights", "custom_loop", seed=seed, split_seed=seed).metrics
    assert summary["rare_recall_weighted"] > summary["rare_recall_unweighted"] + 0.2
    assert summary["auc_weighted"] == pytest.approx(summary["auc_unweighted"], abs=0.01)
    assert summary["accuracy_weighted"] < summary["accuracy_unweighted"]  # what it costs


def test_a_lower_threshold_finds_the_rare_class_without_weights(trained):
    """Weights multiply the odds of the rare class by their ratio; so the border is where the odds were 1 to it."""
    run = trained("class_weights", "custom_loop", seed=0, split_seed=0)
    dataset = class_weights.load_data(class_weights.HParams())
    common, rare = class_weights.class_weights(class_weights.HParams(), dataset)
    with np.load(run.children[0].folder / "state.npz") as state:
        kernel, bias = (state[name] for name in state.files if name.startswith("weights/"))
    logits = dataset.test.x @ kernel + bias
    found = logits[:, 1] - logits[:, 0] + np.log(rare / common) > 0
    recall = found[dataset.test.y == 1].mean()
    assert recall > run.metrics["rare_recall_unweighted"] + 0.2
    assert recall == pytest.approx(run.metrics["rare_recall_weighted"], abs=0.1)


def test_balanced_weights_are_those_of_scikit_learn():
    hparams = class_weights.HParams()
    dataset = class_weights.load_data(hparams)
    balanced = compute_class_weight("balanced", classes=np.array([0, 1]), y=dataset.train.y)
    np.testing.assert_allclose(class_weights.class_weights(hparams, dataset), balanced, rtol=1e-12)
    assert class_weights.class_weights(class_weights.HParams(balance=0.0), dataset) == [1.0, 1.0]
    assert np.bincount(dataset.train.y)[1] / len(dataset.train) == pytest.approx(0.03, abs=0.005)


def descended(x, y, rate, epochs, kernel, bias):
    """Return what full-batch gradient descent on the mean cross-entropy makes of a linear classifier, in float64."""
    kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
    for _ in range(epochs):
        logits = x.astype(np.float64) @ kernel + bias
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        slopes = (shares - np.eye(2)[y]) / len(x)
        kernel, bias = kernel - rate * x.T @ slopes, bias - rate * slopes.sum(axis=0)
    return kernel, bias


@pytest.mark.parametrize(
    ("side", "weights", "mean_weight"),
    [
        ("custom_loop", None, 1.0),  # the balanced ones, which are a multiple of the others
        ("custom_loop", [1.0, 5.0], 120 / 72),
        slow("fit", None, 1.0),
        slow("fit", [1.0, 5.0], 120 / 72),
    ],
)
def test_a_weight_of_k_is_k_copies_at_the_rate_divided_by_the_mean_weight(
    train, monkeypatch, side, weights, mean_weight
):
    random = np.random.default_rng(1)
    y = np.repeat([0, 1], [60, 12]).astype(np.int32)
    split = Split((random.normal(size=(72, 3)) + y[:, None]).astype(np.float32), y)
    identity = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    dataset = Dataset(split, split, split, identity, Classification(("frequent", "rare")))
    initial = [weight.copy() for weight in class_weights.build_model(class_weights.HParams(), dataset).get_weights()]
    module = trainings.module_of("class_weights", side)
    monkeypatch.setattr(module, "load_data", lambda _: dataset)
    monkeypatch.setattr(keras.optimizers, "Adam", keras.optimizers.SGD)
    if weights is not None:
        monkeypatch.setattr(module, "class_weights", lambda *_: weights)
    run = train("class_weights", side, learning_rate=0.5 / mean_weight, batch_size=72, epochs=40)

    copies = np.repeat(np.arange(72), np.where(y == 1, 5, 1))
    expected = descended(split.x[copies], y[copies], 0.5, 40, *initial)
    with np.load(run.children[1].folder / "state.npz") as state:
        ended = [state[name] for name in state.files if name.startswith("weights/")]
    for ours, theirs, before in zip(ended, expected, initial, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert np.abs(theirs - before).max() > 0.1


@pytest.mark.parametrize("side", [slow("fit"), "custom_loop"])
def test_the_loss_of_an_epoch_is_divided_by_the_examples_and_that_of_validation_has_no_weights(trained, side):
    """At a rate that moves nothing, NumPy knows both. 48 does not divide the training part."""
    weighted = trained("class_weights", side, learning_rate=1e-12, epochs=1, batch_size=48).children[1]
    hparams = class_weights.HParams()
    dataset = class_weights.load_data(hparams)
    assert len(dataset.train) % 48
    weights = np.array(class_weights.class_weights(hparams, dataset))
    kernel, bias = class_weights.build_model(hparams, dataset).get_weights()

    def losses(split):
        logits = split.x.astype(np.float64) @ kernel + bias
        return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(split)), split.y]

    expected = (weights[dataset.train.y] * losses(dataset.train)).sum() / len(dataset.train)
    assert weighted.history["loss"] == [pytest.approx(expected, rel=1e-6)]
    assert weighted.history["val_loss"] == [pytest.approx(losses(dataset.validation).mean(), rel=1e-6)]


def test_the_recall_of_a_class_is_the_share_of_its_examples_that_are_found():
    recall = class_weights.Recall(1, name="rare_recall")
    recall.update_state(np.array([0, 1, 1, 2]), np.eye(3, dtype=np.float32)[[1, 1, 0, 2]])
    recall.update_state(np.array([1, 1]), np.eye(3, dtype=np.float32)[[1, 2]])
    assert float(recall.result()) == 0.5


@pytest.mark.slow
def test_three_classes_of_other_data_are_identical_too(trained):
    runs = [trained("class_weights", side, data="wine", epochs=2, batch_size=32, balance=0.5) for side in SIDES]
    result = parity.compare(runs[0].folder, runs[1].folder)
    assert result.identical, result.reasons


def test_the_saved_model_takes_raw_examples(trained):
    child = trained("class_weights", "custom_loop", seed=0, split_seed=0).children[1]
    assert child.report["notes"] == []
    model = keras.models.load_model(child.folder / "model.keras")
    dataset = class_weights.load_data(class_weights.HParams())
    found = np.asarray(model(dataset.test.x)).argmax(axis=1) == 1
    assert found[dataset.test.y == 1].mean() == pytest.approx(child.metrics["rare_recall"])
