import numpy as np

from recipes.supervised.softmax_classifier import HParams, load_data


def test_labels_are_one_hot_and_inputs_are_scaled():
    dataset = load_data(HParams())
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.y.shape == (len(split), 10)
        np.testing.assert_array_equal(split.y.sum(axis=1), 1)
        assert split.x.min() >= 0
        assert split.x.max() <= 1.01  # the training part is scaled to its own maximum


def test_every_epoch_keeps_the_short_last_batch_and_learns(trained):
    run = trained("softmax_classifier", "custom_loop")
    examples = len(load_data(HParams()).train)
    assert examples % 32 != 0
    assert run.report["updates"] == 100 * -(-examples // 32)
    assert run.metrics["accuracy"] > 0.85
    assert run.history["val_loss"][-1] < run.history["val_loss"][0] / 2
