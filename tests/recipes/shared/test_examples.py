"""What can be known of the data without TensorFlow: the same refusals, and the sizes of the parts."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
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


def test_a_folder_without_a_part_is_refused(tmp_path):
    np.savez(tmp_path / "train-0.npz", x=np.zeros((4, 2)), y=np.arange(4))
    with pytest.raises(UsageError, match="has no test"):
        examples.check(HParams(data=str(tmp_path)), "classification")


def test_nothing_of_it_imports_tensorflow():
    code = "import sys; from recipes.shared import examples; sys.exit(bool({'keras', 'sklearn'} & {*sys.modules}))"
    subprocess.run([sys.executable, "-c", code], check=True)
