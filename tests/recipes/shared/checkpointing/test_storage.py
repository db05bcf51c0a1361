import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from recipes.shared.checkpointing import storage
from recipes.shared.checkpointing.storage import Damaged, Folder, Position
from recipes.shared.errors import UsageError

CONTENT = {
    "variables": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(7)},
    "states": {"stop": {"best": -math.inf, "rate": 0.1 + 0.2, "weights": [np.ones(2), np.zeros(0)], "none": None}},
    "scalar": np.float32(0.1),
    "text": "ä",
}


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | np.generic):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b and type(a) is type(b)


def test_content_comes_back_with_its_bits_and_types(tmp_path):
    folder = Folder(tmp_path / "new")
    folder.save(Position(3, 17), storage.encode(CONTENT))
    assert same(folder.load(Position(3, 17)), CONTENT)


def test_names_tell_the_position_and_the_newest_two_are_kept(tmp_path):
    folder = Folder(tmp_path)
    positions = [Position(1), Position(1, 5), Position(2), Position(9), Position(10), Position(10, ended=True)]
    for position in positions:
        folder.save(position, storage.encode({"epoch": position.epoch}))
    assert folder.positions() == positions[-2:]
    position, content, damaged = folder.newest()
    assert (position, content, damaged) == (positions[-1], {"epoch": 10}, [])


def test_what_else_lies_there_is_left_alone(tmp_path):
    (tmp_path / "mine.npz").write_bytes(b"")
    for epoch in range(4):
        Folder(tmp_path).save(Position(epoch), storage.encode({}))
    assert (tmp_path / "mine.npz").exists()


def test_a_folder_that_is_not_there_has_none(tmp_path):
    assert Folder(tmp_path / "none").newest() is None


@pytest.mark.parametrize("seed", range(30))
def test_any_damage_is_found_out_and_the_one_before_is_used(tmp_path, seed):
    folder = Folder(tmp_path)
    for epoch in (1, 2):
        folder.save(Position(epoch), storage.encode(CONTENT | {"epoch": epoch}))
    path = tmp_path / Position(2).file_name
    whole = path.read_bytes()
    random = np.random.default_rng(seed)
    if seed % 3 == 0:
        path.write_bytes(whole[: random.integers(len(whole))])
    else:
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
    try:
        content = folder.load(Position(2))
    except Damaged:
        position, content, lines = folder.newest()
        assert position == Position(1)
        assert len(lines) == 1
        assert str(path) in lines[0]
        assert "\n" not in lines[0]
        assert content["epoch"] == 1
    else:  # a byte of the archive that nobody reads, such as a time
        assert same(content, CONTENT | {"epoch": 2})


def test_if_all_are_damaged_the_line_says_so(tmp_path):
    folder = Folder(tmp_path)
    folder.save(Position(1), storage.encode(CONTENT))
    (tmp_path / Position(1).file_name).write_bytes(b"no archive")
    with pytest.raises(
        UsageError, match=r"epoch-000001-step-000000000.safetensors is damaged .*; delete the run's folder"
    ):
        folder.newest()


def test_a_pickle_is_never_loaded(tmp_path):
    (tmp_path / Position(1).file_name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(Damaged):
        Folder(tmp_path).load(Position(1))


def test_another_digest_is_damage():
    arrays = safetensors.numpy.load(storage.encode(CONTENT))
    arrays["variables/kernel"] = arrays["variables/kernel"] + np.float32(1e-7)
    with pytest.raises(ValueError, match="its digest is another"):
        storage.decode(safetensors.numpy.save(arrays))


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.save(Position(1), storage.encode(CONTENT))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        folder.save(Position(2), storage.encode(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == [Position(1).file_name]
    assert same(folder.newest()[1], CONTENT)
