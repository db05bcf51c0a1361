"""A streamed training part against the same folder in memory: the same examples, the same bits, on both sides."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes.__main__ import main
from recipes.shared import data, runtime, shards, streaming
from recipes.shared.batches import Misuse, epoch_order
from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams

SHARDS = (40, 7, 61, 23)  # 131 examples: no batch size below divides them, and batches cross the borders


def write(folder, kind, sizes=SHARDS):
    """Write shards and held-out parts of `kind`, and return the folder's path."""
    random = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    parts = [(f"train-{number}", size) for number, size in enumerate(sizes)] + [("validation", 20), ("test", 30)]
    for name, size in parts:
        if kind == "bytes":
            x = random.integers(0, 256, (size, 4, 4), dtype=np.uint8)
        elif kind == "images":
            x = random.normal(size=(size, 4, 4))
        else:
            x = random.normal(3, 2, (size, 5)).astype(np.float32)
            x[:, 2] = 7  # a constant feature
        np.savez(folder / f"{name}.npz", x=x, y=np.array(["a", "b", "c"])[np.arange(size) % 3])
    return str(folder)


@pytest.fixture(params=["bytes", "images", "vectors"])
def kind(request):
    return request.param


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of few examples, so that an epoch has many."""
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 30 * 16 * 4)


def both(path, **values):
    """The same folder in memory and streamed."""
    hparams = HParams(data=path, batch_size=8, **values)
    return (data.load(replace(hparams, stream=stream), "classification") for stream in (False, True))


def test_streamed_and_in_memory_are_the_same_parts(tmp_path, kind):
    memory, streamed = both(write(tmp_path / "data", kind))
    assert isinstance(streamed.train, streaming.Streamed)
    assert len(memory.train) == len(streamed.train) == sum(SHARDS)
    assert memory.train.shards == streamed.train.shards == SHARDS
    assert memory.input_shape == streamed.input_shape
    assert memory.class_names == streamed.class_names == ("a", "b", "c")
    for part in ("validation", "test"):
        assert getattr(memory, part).x.tobytes() == getattr(streamed, part).x.tobytes()
    for count in (1, 45, 1000):  # of one shard, of two, of all
        assert memory.train.first(count).x.tobytes() == streamed.train.first(count).x.tobytes()
        assert memory.train.first(count).y.tobytes() == streamed.train.first(count).y.tobytes()


@pytest.mark.parametrize("batch_size", [1, 8, 131])
@pytest.mark.parametrize("steps_per_execution", [None, 1, 3, 5, 100])
def test_blocks_are_the_examples_in_the_order_of_the_epoch(
    tmp_path, kind, small_blocks, batch_size, steps_per_execution
):
    memory, streamed = both(write(tmp_path / "data", kind))
    blocks = streamed.train.blocks(batch_size, steps_per_execution)
    for epoch in (0, 2):
        order = epoch_order(SHARDS, 5, epoch).numpy()
        xs, ys = [], []
        for (x, y), rows in blocks(5, epoch):
            xs.append(x.numpy()[rows])
            ys.append(y.numpy()[rows])
        assert np.concatenate(xs).tobytes() == memory.train.x[order].tobytes()
        assert np.concatenate(ys).tobytes() == memory.train.y[order].tobytes()
        assert all(len(x) % batch_size == 0 for x in xs[:-1])
        assert batch_size == 131 or len(xs) > 1
        if batch_size == 8:
            assert max(map(len, xs)) <= 8 * max(1, 30 * 16 // (8 * memory.train.x[0].size))


def test_blocks_take_few_shapes(tmp_path, small_blocks):
    _, streamed = both(write(tmp_path / "data", "bytes"))
    for steps_per_execution, shapes in ((None, {24, 11}), (1, {24, 11}), (2, {16, 3}), (5, {24, 16, 11})):
        found = {len(x) for (x, _), _ in streamed.train.blocks(8, steps_per_execution)(0, 0)}
        assert found == shapes, steps_per_execution


def test_fit_gets_the_same_batches(tmp_path, kind, small_blocks):
    memory, streamed = both(write(tmp_path / "data", kind))
    batches = [dataset.batches(HParams(batch_size=8, seed=3)) for dataset in (memory, streamed)]
    parts = [each.train for each in batches]
    assert parts[0].cardinality() == parts[1].cardinality() == batches[1].steps == 17
    assert parts[0].element_spec == parts[1].element_spec
    for epoch in (0, 1):
        for each in batches:
            each.on_epoch_begin(epoch)
        for (x, y), (other_x, other_y) in zip(*parts, strict=True):
            assert x.numpy().tobytes() == other_x.numpy().tobytes()
            assert y.numpy().tobytes() == other_y.numpy().tobytes()


def test_what_is_known_of_a_stream_is_what_is_known_of_the_part_in_memory(tmp_path, kind):
    memory, streamed = (dataset.batches(HParams(batch_size=8)) for dataset in both(write(tmp_path / "data", kind)))
    assert memory.examples == streamed.examples == 131
    assert [memory.examples_in(steps) for steps in (1, 17)] == [streamed.examples_in(steps) for steps in (1, 17)]
    assert memory.fingerprint() == streamed.fingerprint() == [*SHARDS]
    for one, other in zip(memory.example(45), streamed.example(45), strict=True):
        assert one.numpy().tobytes() == other.numpy().tobytes()
    assert memory.has("train")
    assert not streamed.has("train")
    with pytest.raises(Misuse, match="there is no train part in memory, only validation, test"):
        streamed.in_order("train")


def test_one_hot_targets_stream_too(tmp_path):
    memory, streamed = (data.one_hot(dataset) for dataset in both(write(tmp_path / "data", "bytes")))
    order = epoch_order(SHARDS, 0, 0).numpy()
    ys = np.concatenate([y.numpy() for (_, y), _ in streamed.train.blocks(8, None)(0, 0)])
    assert ys.tobytes() == memory.train.y[order].tobytes()


def test_at_most_two_shards_are_read_ahead_of_what_is_used(tmp_path, small_blocks):
    sizes = (30,) * 12
    _, streamed = both(write(tmp_path / "data", "bytes", sizes))
    read, original = [], streamed.train.read
    streamed.train.read = lambda shard: read.append(shard) or original(shard)
    blocks = streamed.train.blocks(8, None)(0, 0)
    next(blocks)
    threading.Event().wait(0.5)
    # one in use, one being read, and what the blocks that wait have taken: four of 24 examples at the most
    assert len(read) <= 2 + 4
    blocks.close()


def test_whoever_needs_the_whole_part_is_refused_in_one_line(tmp_path):
    _, streamed = both(write(tmp_path / "data", "bytes"))
    for attribute in ("x", "y"):
        with pytest.raises(UsageError, match="leave out --stream"):
            getattr(streamed.train, attribute)


def test_a_shard_that_breaks_while_it_trains_ends_in_one_line(tmp_path):
    path = write(tmp_path / "data", "bytes")
    _, streamed = both(path)
    blocks = streamed.train.blocks(8, None)
    list(blocks(0, 0))
    (tmp_path / "data" / "train-2.npz").write_bytes(b"PK\3\4")
    with pytest.raises(UsageError, match=r"cannot read .*train-2\.npz"):
        list(blocks(0, 1))
    np.savez(tmp_path / "data" / "train-2.npz", x=np.zeros((3, 4, 4), np.uint8), y=np.array(["a"] * 3))
    with pytest.raises(UsageError, match=r"train-2\.npz has changed"):
        list(blocks(0, 2))


@pytest.mark.parametrize(
    ("task", "change", "says"),
    [
        ("classification", {"data": "iris", "stream": True}, "--stream reads a folder of .npz files, and iris is none"),
        ("regression", {}, "this recipe predicts numbers"),
        ("classification", {"target": "y"}, "--target describes a table"),
        ("classification", {"batch_size": 132}, "--batch-size is 132, more than the 131 training examples"),
    ],
)
def test_what_a_folder_is_not_for_is_refused(tmp_path, task, change, says):
    hparams = replace(HParams(data=write(tmp_path / "data", "bytes")), **change)
    with pytest.raises(UsageError, match=says):
        data.load(hparams, task)


def test_folds_and_streams_do_not_go_together(tmp_path):
    for change in ({"data": write(tmp_path / "data", "bytes")}, {"data": "iris", "stream": True}):
        with pytest.raises(UsageError, match="folds are made of data in one piece"):
            data.folds(HParams(**change), 3)


def test_more_than_half_of_the_memory_is_refused_without_stream(tmp_path, monkeypatch):
    path = write(tmp_path / "data", "bytes")
    monkeypatch.setattr(runtime, "machine_memory", lambda: 16_000)  # a shard takes 1500, all of them 8400 as float32
    memory_or_streamed = both(path)
    with pytest.raises(UsageError, match="add --stream"):
        next(memory_or_streamed)
    assert len(data.load(HParams(data=path, stream=True), "classification").train) == sum(SHARDS)


def test_targets_that_are_no_classes_are_refused_before_all_are_read(tmp_path, monkeypatch):
    path = Path(write(tmp_path / "data", "bytes"))
    np.savez(path / "train-0.npz", x=np.zeros((200, 4, 4), np.uint8), y=np.arange(200))
    read, original = [], shards.Folder.read
    monkeypatch.setattr(shards.Folder, "read", lambda self, file: read.append(file) or original(self, file))
    with pytest.raises(UsageError, match="200 distinct values"):
        data.load(HParams(data=str(path)), "classification")
    assert {file.name for file in read} == {"train-0.npz"}


def test_statistics_of_shards_are_those_of_the_whole(tmp_path):
    memory, _ = both(write(tmp_path / "data", "vectors"))
    np.testing.assert_allclose(memory.train.x.mean(axis=0, dtype=np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(memory.train.x.var(axis=0, dtype=np.float64), [1, 1, 0, 1, 1], atol=1e-5)


@pytest.mark.process
def test_compare_is_identical_and_streamed_ends_with_the_bytes_of_in_memory(tmp_path, capsys):
    path = write(tmp_path / "data", "bytes")
    results = {}
    for flags in ([], ["--stream"]):
        logs = tmp_path / "-".join(["logs", *flags])
        arguments = ["compare", "mlp_classifier", "--data", path, "--epochs", "3", "--batch-size", "8"]
        assert main([*arguments, *flags, "--log", "nothing", "--logs", str(logs)]) in (0, None)
        assert "IDENTICAL" in capsys.readouterr().out
        for side in ("fit", "custom_loop"):
            (folder,) = logs.glob(f"mlp_classifier/*/{side}")
            results.setdefault("state", set()).add((folder / "state.npz").read_bytes())
            results.setdefault("history", set()).add((folder / "history.json").read_text())
    assert {name: len(values) for name, values in results.items()} == {"state": 1, "history": 1}
