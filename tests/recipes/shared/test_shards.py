"""Folders of .npz files: which is which, and one line for each that cannot be used."""

import subprocess
import sys

import numpy as np
import pytest

from recipes.shared import shards
from recipes.shared.errors import UsageError

X = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
Y = np.arange(6) % 2


@pytest.fixture
def folder(tmp_path):
    for name in ("train-0", "train-1", "train-2", "test"):
        np.savez(tmp_path / f"{name}.npz", x=X, y=Y)
    return tmp_path


def names(files):
    return [file.name for file in files]


def test_without_validation_the_last_shard_is_held_out(folder):
    found = shards.find(folder)
    assert names(found.train) == ["train-0.npz", "train-1.npz"]
    assert names(found.validation) == ["train-2.npz"]
    assert names(found.test) == ["test.npz"]


def test_files_for_validation_are_taken_for_it(folder):
    (folder / "test.npz").rename(folder / "test-1.npz")
    np.savez(folder / "validation.npz", x=X, y=Y)
    found = shards.find(folder)
    assert names(found.train) == ["train-0.npz", "train-1.npz", "train-2.npz"]
    assert (names(found.validation), names(found.test)) == (["validation.npz"], ["test-1.npz"])


@pytest.mark.parametrize("own", [False, True])
def test_what_is_for_validation_can_be_trained_on_too(folder, own):
    if own:
        np.savez(folder / "validation.npz", x=X, y=Y)
    found = shards.find(folder, train_on_validation=True)
    assert found.train[-1:] == found.validation
    assert len(found.train) == 3 + own


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        (["test"], "has no test.npz"),
        (["train-0", "train-1", "train-2"], r"has no train-\*.npz"),
        (["train-1", "train-2"], "has a single file for training"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused(folder, missing, says):
    for name in missing:
        (folder / f"{name}.npz").unlink()
    with pytest.raises(UsageError, match=says) as error:
        shards.find(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": X[:, :1], "y": Y}, r"has x of shape \(examples, 1, 2\) and uint8, unlike train-0.npz"),
        ({"x": X.astype(np.float32), "y": Y}, r"has x of shape \(examples, 2, 2\) and float32, unlike train-0.npz"),
        ({"x": X, "y": Y.astype(str)}, "has y of <U21, unlike train-0.npz"),
        ({"x": X, "y": Y[:4]}, "x has 6 examples, y 4"),
        ({"x": X[:0], "y": Y[:0]}, "x is empty"),
        ({"x": X, "labels": Y}, "holds x, labels; it needs x and y"),
        ({"x": X, "y": np.array([None] * 6)}, "no archive of plain arrays"),
        (b"PK\3\4 and nothing else", "cannot read"),
    ],
)
@pytest.mark.parametrize("name", ["train-1", "test"])
def test_a_file_that_is_broken_or_unlike_the_first_is_named_in_one_line(folder, name, arrays, says):
    path = folder / f"{name}.npz"
    path.write_bytes(arrays) if isinstance(arrays, bytes) else np.savez(path, **arrays)
    found = shards.find(folder)
    with pytest.raises(UsageError, match=says) as error:
        list(found.read_alike(found.train, found.validation, found.test))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.process
def test_the_command_ends_with_2_and_that_line(folder):
    (folder / "train-1.npz").write_bytes(b"PK\3\4")
    command = [sys.executable, "-m", "recipes", "loop", "mlp_classifier", "--data", str(folder), "--stream"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert str(folder / "train-1.npz") in result.stderr
