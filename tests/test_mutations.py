"""Proof that the parity check can fail: one mistake at a time in the custom loop, each of which must be caught.

`python -m tests.test_mutations` prints the table of docs/why-results-differ.md.
"""

import dataclasses
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.commands import parity
from recipes.shared import data, losses
from recipes.shared.batches import Shuffled
from recipes.shared.hparams import HParams
from recipes.shared.logging_options import LoggingOptions
from recipes.shared.run import Run

HPARAMS = HParams(data="breast_cancer", learning_rate=0.01, batch_size=32, epochs=3, jit_compile=False)
# mistake: (whether the weights differ, whether the history differs)
MISTAKES = {
    "regularisation loss dropped": (True, True),
    "training flag wrong": (True, True),
    "loss not weighted by batch size": (False, True),
    "wrong epoch order from epoch 2": (True, True),
    "last batch dropped": (True, True),
    "metrics after the update": (False, True),
    "validation in training mode": (True, True),
    "another seed": (True, True),
}


@pytest.fixture(scope="module")
def dataset():
    return load_data()


@pytest.fixture(scope="module")
def fit_folder(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    train_by_fit(dataset, folder)
    return folder


def test_the_loop_without_a_mistake_is_identical(dataset, fit_folder, tmp_path):
    train_by_loop(dataset, tmp_path, mistake=None)
    result = parity.compare(fit_folder, tmp_path)
    assert result.identical, result.reasons


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_caught(dataset, fit_folder, tmp_path, mistake):
    train_by_loop(dataset, tmp_path, mistake)
    result = parity.compare(fit_folder, tmp_path)
    assert not result.holds
    assert (result.weights_max_abs_diff > 0, result.history_max_abs_diff > 0) == MISTAKES[mistake]


def test_the_document_explains_each_mistake():
    text = (Path(__file__).parents[1] / "docs" / "why-results-differ.md").read_text(encoding="utf-8")
    assert [mistake for mistake in MISTAKES if mistake not in text] == []


def load_data():
    return data.load(HPARAMS, task="classification")


def build_model(seed):
    """A model with everything that a loop can get wrong: L2, BatchNormalization, Dropout."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((30,)),
            keras.layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L2(0.01)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(2),
        ]
    )


def train_by_fit(dataset, folder):
    run = Run(folder, HPARAMS, logging=LoggingOptions(level="nothing"))
    model = build_model(HPARAMS.seed)
    model.compile(
        optimizer=keras.optimizers.Adam(HPARAMS.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=HPARAMS.jit_compile,
    )
    batches = dataset.batches(HPARAMS)
    model.fit(
        batches.train,
        validation_data=batches.validation,
        initial_epoch=run.first_epoch,
        epochs=HPARAMS.epochs,
        shuffle=False,
        callbacks=run.callbacks(batches),
        verbose=0,
    )
    run.finish(model, dataset, model.evaluate(batches.test, return_dict=True, verbose=0))
    run.close()


class FullBatches(Shuffled):
    """Leaves out the examples that do not fill the last batch."""

    def rows(self, seed, epoch):
        return super().rows(seed, epoch)[: self.examples // self.batch_size * self.batch_size]


class EveryOtherEpoch(Shuffled):
    """Skips epochs, as the two iterators come to that fit makes in each."""

    def rows(self, seed, epoch):
        return super().rows(seed, 2 * epoch)


def train_by_loop(dataset, folder, mistake):
    run = Run(folder, HPARAMS, logging=LoggingOptions(level="nothing"))
    seed = HPARAMS.seed + (mistake == "another seed")
    model = build_model(seed)
    optimizer = keras.optimizers.Adam(HPARAMS.learning_rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    mean_loss = keras.metrics.Mean(name="loss")
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")

    def measure(x, y, logits, total_loss):
        weight = None if mistake == "loss not weighted by batch size" else tf.shape(x)[0]
        mean_loss.update_state(total_loss, sample_weight=weight)
        accuracy.update_state(y, logits)

    def total(y, logits):
        extra = [] if mistake == "regularisation loss dropped" else model.losses
        return losses.total(loss(y, logits), extra)

    def train_step(x, y):
        with tf.GradientTape() as tape:
            logits = model(x, training=mistake != "training flag wrong")
            total_loss = total(y, logits)
        optimizer.apply(tape.gradient(total_loss, model.trainable_variables), model.trainable_variables)
        if mistake == "metrics after the update":
            logits = model(x, training=False)
        measure(x, y, logits, total_loss)
        return {"loss": total_loss}

    def test_step(x, y):
        logits = model(x, training=mistake == "validation in training mode")
        total_loss = total(y, logits)
        measure(x, y, logits, total_loss)
        return {"loss": total_loss}

    order = Shuffled(len(dataset.train), HPARAMS.batch_size)
    if mistake == "last batch dropped":
        order = FullBatches(len(dataset.train), HPARAMS.batch_size)
    elif mistake == "wrong epoch order from epoch 2":
        order = EveryOtherEpoch(len(dataset.train), HPARAMS.batch_size)
    batches = dataset.batches(dataclasses.replace(HPARAMS, seed=seed), order)
    metrics = [mean_loss, accuracy]
    loop = Loop(model, train_step, test_step, metrics, optimizer, **HPARAMS.execution)
    loop.train(batches, epochs=HPARAMS.epochs, callbacks=run.callbacks(batches))
    run.finish(model, dataset, loop.evaluate(batches))
    run.close()


if __name__ == "__main__":
    import tempfile

    from recipes.shared import runtime

    runtime.configure()
    examples = load_data()
    with tempfile.TemporaryDirectory() as folder:
        train_by_fit(examples, Path(folder) / "fit")
        for name in MISTAKES:
            train_by_loop(examples, Path(folder) / name, name)
            found = parity.compare(Path(folder) / "fit", Path(folder) / name)
            first = found.first_in_history
            sizes = f"{found.weights_max_abs_diff:.2g} | {found.history_max_abs_diff:.2g}"
            print(f"| {name} | {sizes} | {first.name if first else 'never'} |")
