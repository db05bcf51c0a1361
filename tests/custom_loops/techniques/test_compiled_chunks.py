import itertools
import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recipes.commands import parity
from recipes.shared.data import Split
from recipes.shared.logging_options import LoggingOptions
from recipes.techniques import compiled_chunks
from recipes.techniques.compiled_chunks import Chunk, cut, stacked
from tests.trainings import seeds, slow

SIDES = ("fit", "custom_loop")
STEPS = 36  # updates in an epoch of digits in batches of 32; the last has 29 examples


def read(folder):
    """Return {tag: [(step, value), ...]} of the scalars in the event files of `folder`."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def steps_of(points):
    return [step for step, _ in points]


@pytest.fixture
def traced(monkeypatch):
    """The shapes of x that the steps of the model were traced for, by the step's name, as they come."""
    shapes = {"train_step": [], "test_step": []}

    def counted(name, step):
        def counting(self, chunk):
            shapes[name].append(chunk[0].shape.as_list())
            return step(self, chunk)

        return counting

    for name in shapes:
        step = getattr(compiled_chunks.ChunkedModel, name)
        monkeypatch.setattr(compiled_chunks.ChunkedModel, name, counted(name, step))
    return shapes


def test_an_epoch_is_cut_into_full_chunks_the_rest_and_the_short_batch():
    assert cut(29, 3, 4) == [Chunk(0, 0, 4, 3), Chunk(4, 12, 4, 3), Chunk(8, 24, 1, 3), Chunk(9, 27, 1, 2)]
    assert cut(24, 3, 4) == [Chunk(0, 0, 4, 3), Chunk(4, 12, 4, 3)]
    assert cut(24, 3, 100) == [Chunk(0, 0, 8, 3)]
    assert cut(2, 3, 4) == [Chunk(0, 0, 1, 2)]


@pytest.mark.parametrize(("batch_size", "steps"), [(3, 4), (3, 1), (3, 100), (29, 2), (1, 5)])
def test_chunks_hold_the_batches_of_an_epoch_in_its_order(batch_size, steps):
    split = Split(np.arange(58, dtype=np.float32).reshape(29, 2), np.arange(29, dtype=np.int32))
    order = tf.Variable(tf.range(29))
    chunks = stacked(split, order, batch_size, steps)
    for _ in range(2):
        rows = np.random.default_rng(0).permutation(29)
        order.assign(rows)
        batches = [batch for x, y in chunks for batch in zip(x.numpy(), y.numpy(), strict=True)]
        assert [len(y) for _, y in batches] == [
            len(rows[first : first + batch_size]) for first in range(0, 29, batch_size)
        ]
        np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), split.x[rows])
        np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), rows)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("steps", [slow(1), 8, slow(34), None])
@pytest.mark.parametrize("jit_compile", [slow(True), False], ids=["XLA", "no XLA"])
def test_chunks_of_any_length_end_with_the_bits_of_plain_fit_on_single_batches(trained, jit_compile, steps, side):
    plain = trained("mlp_classifier", "fit", steps_per_execution=1, jit_compile=jit_compile, epochs=3)
    chunks = trained("compiled_chunks", side, steps_per_execution=steps, jit_compile=jit_compile, epochs=3)
    result = parity.compare(plain.folder, chunks.folder)
    assert result.identical, result.reasons
    assert {"weights", "optimizer"} <= set(result.compared)


@pytest.mark.slow
def test_where_no_batch_is_short_too(trained):
    settings = {"batch_size": 383, "learning_rate": 0.03, "epochs": 4}  # 3 batches
    plain = trained("mlp_classifier", "fit", **settings)
    for side, steps in itertools.product(SIDES, (2, 3)):
        result = parity.compare(
            plain.folder, trained("compiled_chunks", side, steps_per_execution=steps, **settings).folder
        )
        assert result.identical, (side, steps, result.reasons)


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_steps_are_traced_for_the_first_chunk_and_no_other_shape_or_epoch(train, traced, epochs):
    train("compiled_chunks", "fit", steps_per_execution=8, epochs=epochs)  # chunks of 8, 3 and the short batch
    any_chunk = [None, None, 8, 8]
    # twice, as in any fit: the first trace makes the variables of the optimizer and the metrics
    assert traced == {"train_step": [any_chunk] * 2, "test_step": [any_chunk]}


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_loop_traces_each_step_once_for_all_chunks(train, monkeypatch, epochs):
    traced = []
    call = keras.Sequential.__call__

    def counting(self, x, **options):
        if "training" in options:  # by a step
            traced.append((options["training"], x.shape.as_list()))
        return call(self, x, **options)

    monkeypatch.setattr(keras.Sequential, "__call__", counting)
    train("compiled_chunks", "custom_loop", steps_per_execution=8, epochs=epochs)
    assert traced == [(True, [None, 8, 8]), (False, [None, 8, 8])]


@pytest.mark.parametrize(
    ("steps", "ends", "logging"),
    [
        (8, [8, 16, 24, 32, 35, 36], "scalars"),
        slow(8, [8, 16, 24, 32, 35, 36], "everything"),
        slow(None, [35, 36], "scalars"),
        (None, [35, 36], "everything"),
    ],
)
@pytest.mark.parametrize("side", SIDES)
def test_what_is_logged_counts_updates_not_chunks(trained, side, steps, ends, logging):
    logging_options = LoggingOptions(level=logging)
    run = trained("compiled_chunks", side, logging_options, steps_per_execution=steps, epochs=2)
    report = json.loads((run.folder / "report.json").read_text())
    assert report["updates"] == 2 * STEPS
    assert report["steps_per_execution"] == (steps or 35)
    with np.load(run.folder / "state.npz") as arrays:
        (iterations,) = [arrays[name] for name in arrays if name.endswith("iteration")]
    assert iterations == 2 * STEPS
    train = read(run.folder / "train")
    assert steps_of(train["execution_loss"]) == [*ends, *(STEPS + end for end in ends)]
    assert "step_loss" not in train
    assert steps_of(train["step_learning_rate"]) == list(range(1, 2 * STEPS + 1))
    assert steps_of(train["epoch_loss"]) == [STEPS, 2 * STEPS]
    assert steps_of(read(run.folder / "validation")["epoch_loss"]) == [STEPS, 2 * STEPS]
    if logging == "everything":  # the last update of each epoch is the short batch's, alone in its chunk
        assert steps_of(train["update_to_weight"]) == [STEPS, 2 * STEPS]
        # and of the execution before, which is shorter than the others and might have had the last update
        assert {0, STEPS, 2 * STEPS} <= set(steps_of(train["probe_gradient_norm"]))


@pytest.mark.parametrize("side", SIDES)
def test_chunks_of_one_step_log_the_loss_of_each_as_the_driver_does(trained, side):
    chunks = trained("compiled_chunks", side, steps_per_execution=1, epochs=2)
    driven = trained("mlp_classifier", "custom_loop", epochs=2)
    losses, expected = (read(run.folder / "train")["step_loss"] for run in (chunks, driven))
    assert steps_of(losses) == steps_of(expected) == list(range(1, 2 * STEPS + 1))
    np.testing.assert_allclose(losses, expected, rtol=1e-3)


@pytest.mark.parametrize("side", SIDES)
def test_the_losses_of_chunks_are_the_means_over_those_of_the_steps(trained, side):
    chunks = trained("compiled_chunks", side, steps_per_execution=8, epochs=1)
    steps = trained("mlp_classifier", "custom_loop", epochs=1)
    losses = [value for _, value in read(steps.folder / "train")["step_loss"]]
    expected = [
        *(np.mean(losses[first:last]) for first, last in [(0, 8), (8, 16), (16, 24), (24, 32), (32, 35)]),
        losses[35],
    ]
    np.testing.assert_allclose(
        [value for _, value in read(chunks.folder / "train")["execution_loss"]], expected, rtol=1e-4
    )


def test_the_saved_model_knows_nothing_of_chunks(trained):
    run = trained("compiled_chunks", "fit", epochs=1)
    with zipfile.ZipFile(run.folder / "model.keras") as saved:
        config = saved.read("config.json").decode()
    assert "ChunkedModel" not in config
    assert "recipes" not in config


@pytest.mark.parametrize("side", SIDES)
def test_a_loss_that_is_no_longer_finite_stops_at_the_chunk_and_names_its_last_step(tmp_path, train_into, side):
    with pytest.raises(Exception, match="at or before step 8 of epoch 1"):
        train_into(tmp_path, "compiled_chunks", side, steps_per_execution=8, epochs=2, learning_rate=1e30)
    assert json.loads((tmp_path / "report.json").read_text())["updates"] == 8


@pytest.mark.parametrize("seed", seeds(2))
def test_learns_the_digits(trained, seed):
    run = trained("compiled_chunks", "fit", seed=seed)
    assert run.metrics["accuracy"] >= 0.93
