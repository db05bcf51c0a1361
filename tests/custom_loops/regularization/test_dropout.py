import keras
import numpy as np
import pytest
import tensorflow as tf

from custom_loops.regularization import dropout
from tests.trainings import seeds

SIDES = ("fit", "custom_loop")


@pytest.mark.parametrize("seed", seeds(3))
def test_the_gap_between_validation_and_training_loss_shrinks(trained, seed):
    summary = trained("dropout", "custom_loop", seed=seed).metrics
    assert 0 < summary["gap_with"] < summary["gap_without"] / 2
    assert summary["validation_loss_with"] < summary["validation_loss_without"]
    assert summary["test_loss_with"] < summary["test_loss_without"]


def test_both_sides_draw_the_same_masks_and_others_in_every_step(train, monkeypatch):
    """Each Dropout layer also writes the mask of every step into a variable."""
    drawn = []

    class Recording(keras.layers.Dropout):
        def build(self, shape):
            super().build(shape)
            self.masks = tf.Variable(tf.zeros((16, 32, 128)), trainable=False)
            self.step = tf.Variable(0, trainable=False)
            if self.rate:
                drawn.append(self)

        def call(self, inputs, training=False):
            outputs = super().call(inputs, training=training)
            if training and self.rate:
                mask = super().call(tf.ones((32, 128)), training=False)  # no draw: as many as without recording
                mask = tf.where(inputs > 0, outputs / inputs, -mask)  # a unit that is 0 anyway does not show its mask
                self.masks.scatter_nd_update([[self.step]], [mask])
                self.step.assign_add(1)
            return outputs

    monkeypatch.setattr(keras.layers, "Dropout", Recording)
    for side in SIDES:
        train("dropout", side, epochs=2, batch_size=32, data="make_regression", learning_rate=0.01)
    (first_fit, second_fit, first_loop, second_loop) = (layer.masks.numpy() for layer in drawn)
    assert first_fit.tobytes() == first_loop.tobytes()
    assert second_fit.tobytes() == second_loop.tobytes()
    masks = [mask for mask in first_fit if mask.any()]
    assert len(masks) == 4  # 64 examples, two epochs
    for mask in masks:
        shown = mask[mask >= 0]
        assert set(np.round(shown, 3)) == {0.0, 2.0}  # dropped, or scaled up by 1 / (1 - 0.5)
        assert (shown == 0).mean() == pytest.approx(0.5, abs=0.1)
    both = (masks[0] >= 0) & (masks[1] >= 0)
    assert (masks[0][both] != masks[1][both]).mean() > 0.3


def test_the_two_children_start_from_the_same_weights(train):
    hparams = dropout.HParams()
    dataset = dropout.load_data(hparams)
    models = [dropout.build_model(dropout.HParams(dropout=rate), dataset) for rate in (0.0, 0.5)]
    assert [w.tobytes() for w in models[0].get_weights()] == [w.tobytes() for w in models[1].get_weights()]


@pytest.mark.parametrize("side", SIDES)
def test_the_gap_is_measured_with_all_units(trained, side):
    run = trained("dropout", side, epochs=3)
    dataset = dropout.load_data(dropout.HParams())
    for child in run.children:
        model = dropout.build_model(dropout.HParams(**child.config["hparams"]), dataset)
        with np.load(child.folder / "state.npz") as state:
            model.set_weights([state[name] for name in state.files if name.startswith("weights")])
        for part, split in (("training", dataset.train), ("validation", dataset.validation)):
            expected = ((model(split.x, training=False).numpy() - split.y) ** 2).mean()
            assert run.metrics[f"{part}_loss_{child.name}"] == pytest.approx(expected, rel=1e-5)
