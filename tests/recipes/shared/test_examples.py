"""What can be known of the data without TensorFlow: the same refusals, and the sizes of the parts."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

from recipes.shared import data, examples
from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams
from recipes.shared.sources import Raw


@pytest.fixture
def table(tmp_path):
    """Hyper-parameters for a small table of two classes."""
    rows = "".join(f"{row % 13},{row % 7},{row % 2}\n" for row in range(100))
    (tmp_path / "x.csv").write_text("a,b,y\n" + rows)
    return HParams(data=str(tmp_path / "x.csv"))


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7, 10, 99, 100, 101, 203, 891, 20640])
def test_the_parts_are_as_large_as_scikit_learn_makes_them(count):
    kept, test = train_test_split(np.arange(count), test_size=0.2)
    train, validation = train_test_split(kept, test_size=0.2)
    raw = Raw(np.zeros((count, 1)), np.arange(count))
    assert examples.sizes(raw) == (len(train), len(validation), len(test))


def test_a_test_part_and_a_column_of_parts_are_counted():
    x, y = np.zeros((10, 1)), np.arange(10)
    assert examples.sizes(Raw(x, y, x[:3], y[:3])) == (8, 2, 3)
    assert examples.sizes(Raw(x, y, parts=np.array(["train"] * 6 + ["validation"] + ["test"] * 3))) == (6, 1, 3)
    assert examples.sizes(Raw(x, y, parts=np.array(["train"] * 6 + ["test"] * 4))) == (4, 2, 4)


@pytest.mark.parametrize(
    ("change", "task"),
    [
        ({"target": "z"}, "classification"),
        ({"drop": ("z",)}, "classification"),
        ({"batch_size": 65}, "classification"),
        ({"target": "b"}, "regression"),
        ({"stream": True}, "classification"),
        ({"data": "nowhere.csv"}, "classification"),
        ({"data": "nowhere"}, "classification"),
        ({"data": "digits"}, "regression"),
        ({"data": "digits", "drop": ("a",)}, "classification"),
        ({"data": "digits", "stream": True}, "classification"),
        ({"data": "digits", "channels_first": True}, "classification"),
        ({"data": "digits", "image_size": (4, 4)}, "classification"),
        ({"channels_first": True}, "classification"),
        ({"image_size": (4, 4)}, "classification"),
    ],
)
def test_mistakes_are_told_beforehand_as_they_are_when_the_data_is_loaded(table, change, task):
    messages = []
    for read in (examples.check, data.load):
        with pytest.raises(UsageError) as error:
            read(replace(table, **change), task)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_what_was_decided_is_returned(table):
    assert examples.check(table, "classification") == ()
    notes = examples.check(replace(table, categorical=("a",)), "classification")
    assert notes == data.load(replace(table, categorical=("a",)), "classification").notes == ()
    assert examples.check(replace(table, batch_size=64), "classification") == ()
    assert examples.check(replace(table, batch_size=80, train_on_validation=True), "classification") == ()


def save(path, dtype=np.uint8, high=7, shape=(100, 5, 6)):
    x = np.random.default_rng(0).integers(0, high + 1, shape).astype(dtype)
    np.savez(path, x_train=x, y_train=np.arange(len(x)) % 2)
    return HParams(data=str(path))


def shards_of(folder, dtype=np.uint8, high=7, shape=(100, 5, 6)):
    folder.mkdir()
    x = np.random.default_rng(0).integers(0, high + 1, shape).astype(dtype)
    for part in ("train-0", "train-1", "validation", "test"):
        np.savez(folder / f"{part}.npz", x=x, y=np.arange(len(x)) % 2)
    return HParams(data=str(folder))


def images_of(folder, count=50, size=(5, 6)):
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full(size, index, np.uint8)).save(folder / name / f"{index:02}.png")
    return HParams(data=str(folder))


@pytest.mark.parametrize("write", [save, shards_of])
@pytest.mark.parametrize(("dtype", "high"), [(np.uint8, 7), (np.uint8, 255), (np.uint16, 900), (np.float32, 3)])
def test_the_scale_of_images_is_said_beforehand_as_it_is_when_the_data_is_loaded(tmp_path, write, dtype, high):
    hparams = write(tmp_path / "x.npz", dtype, high)
    notes = examples.check(hparams, "classification")
    assert notes == data.load(hparams, "classification").notes
    assert len(notes) == (high in (7, 900))


def test_the_scale_that_is_said_is_that_of_the_training_part_of_this_split(tmp_path):
    x, y = np.ones((100, 2, 2), np.uint8), np.arange(100) % 2
    x[41] = 5
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y)
    hparams, said = HParams(data=str(tmp_path / "x.npz")), set()
    for seed in range(12):
        each = replace(hparams, split_seed=seed)
        notes = examples.check(each, "classification")
        assert notes == data.load(each, "classification").notes
        said |= {*notes}
    assert len(said) == 2


def test_images_of_a_folder_by_class_are_said_beforehand(tmp_path):
    hparams = images_of(tmp_path / "images")
    notes = examples.check(hparams, "classification")
    assert notes == data.load(hparams, "classification").notes == ("100 images were read as 5 x 6, grey",)


@pytest.mark.parametrize(
    ("write", "change", "task"),
    [
        (save, {"channels_first": True}, "classification"),
        (save, {"image_size": (4, 4)}, "classification"),
        (save, {"drop": ("a",)}, "classification"),
        (save, {}, "regression"),
        (save, {"batch_size": 65}, "classification"),
        (shards_of, {"channels_first": True}, "classification"),
        (shards_of, {"image_size": (4, 4)}, "classification"),
        (shards_of, {"split_seed": 1}, "classification"),
        (shards_of, {"target": "a"}, "classification"),
        (shards_of, {}, "regression"),
        (images_of, {"channels_first": True}, "classification"),
        (images_of, {"keep": ("a",)}, "classification"),
        (images_of, {"stream": True}, "classification"),
        (images_of, {"batch_size": 65}, "classification"),
        (images_of, {}, "regression"),
    ],
)
def test_mistakes_about_images_are_told_beforehand_too(tmp_path, write, change, task):
    hparams = replace(write(tmp_path / "x.npz"), **change)
    messages = []
    for read in (examples.check, data.load):
        with pytest.raises(UsageError) as error:
            read(hparams, task)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("write", [save, shards_of])
def test_channels_that_come_first_are_found_beforehand(tmp_path, write):
    hparams = write(tmp_path / "x.npz", shape=(100, 3, 8, 7))
    with pytest.raises(UsageError, match="add --channels-first"):
        examples.check(hparams, "classification")
    assert examples.check(replace(hparams, channels_first=True), "classification")


def test_the_rows_are_those_of_the_parts(table):
    raw, task = examples.read(table, "classification")
    for seed in (0, 3):
        found = examples.rows(replace(table, split_seed=seed), raw, task)
        kept, test = train_test_split(np.arange(100), random_state=seed, test_size=0.2, stratify=raw.targets)
        expected = *train_test_split(kept, random_state=seed, test_size=0.2, stratify=raw.targets[kept]), test
        assert [rows.tolist() for rows in found] == [rows.tolist() for rows in expected]
        assert tuple(map(len, found)) == examples.sizes(raw)


def test_a_folder_without_a_part_is_refused(tmp_path):
    np.savez(tmp_path / "train-0.npz", x=np.zeros((4, 2)), y=np.arange(4))
    with pytest.raises(UsageError, match="has no test"):
        examples.check(HParams(data=str(tmp_path)), "classification")


def test_nothing_of_it_imports_tensorflow():
    code = "import sys; from recipes.shared import examples; sys.exit(bool({'keras', 'sklearn'} & {*sys.modules}))"
    subprocess.run([sys.executable, "-c", code], check=True)
