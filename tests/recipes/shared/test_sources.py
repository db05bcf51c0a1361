"""Raw data: embedded sets, downloads, and the user's files."""

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn import datasets

from recipes.shared import sources
from recipes.shared.errors import UsageError
from recipes.shared.tables import Options

X = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 0, 1])


@pytest.fixture
def npz(tmp_path):
    """A function that writes arrays to an .npz file and returns its path."""

    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return write


@pytest.fixture
def table(tmp_path):
    """A function that writes text to a .csv (or other) file and returns its path."""

    def write(text, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.mark.parametrize(
    ("name", "task", "shape"),
    [
        ("digits", "classification", (1797, 8, 8)),
        ("breast_cancer", "classification", (569, 30)),
        ("wine", "classification", (178, 13)),
        ("iris", "classification", (150, 4)),
        ("diabetes", "regression", (442, 10)),
    ],
)
def test_an_embedded_set_is_scikit_learns(name, task, shape):
    raw = sources.read(name)
    bunch = getattr(datasets, f"load_{name}")()
    assert raw.task == task
    assert raw.features.shape == shape
    np.testing.assert_array_equal(raw.features.reshape(len(bunch.data), -1), bunch.data)
    targets = bunch.target_names[bunch.target] if task == "classification" else bunch.target
    np.testing.assert_array_equal(raw.targets, targets)
    assert raw.test_features is None
    assert raw.test_targets is None


def test_make_regression_has_one_feature_and_little_noise():
    raw = sources.read("make_regression")
    x, y = datasets.make_regression(n_samples=100, n_features=1, noise=0.1, random_state=0)
    np.testing.assert_array_equal(raw.features, x)
    np.testing.assert_array_equal(raw.targets, y)
    assert raw.task == "regression"


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match="'digit'") as error:
        sources.read("digit")
    for name in [*sources.EMBEDDED, *sources.DOWNLOADED]:
        assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [{"target": "y"}, {"header": False}])
@pytest.mark.parametrize("data", ["digits", "mnist", "some.npz"])
def test_target_and_header_are_refused_where_there_are_no_columns(data, options):
    with pytest.raises(UsageError, match="leave it out"):
        sources.read(data, Options(**options))


@pytest.mark.parametrize("name", list(sources.DOWNLOADED))
def test_without_network_the_message_names_an_embedded_set_for_the_same_task(monkeypatch, name):
    def fail():
        raise Exception("URL fetch failure on https://storage:\n None -- [Errno -3] no name resolution")

    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", fail)
    with pytest.raises(UsageError, match=f"could not download {name} .*URL fetch failure") as error:
        sources.read(name)
    assert "\n" not in str(error.value)
    instead = str(error.value).partition("--data ")[2].split()[0]
    assert sources.EMBEDDED[instead] == sources.DOWNLOADED[name]


def test_a_downloaded_set_keeps_its_test_part_and_gets_flat_targets(monkeypatch):
    x, labels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3), np.array([[3], [1]])  # cifar10 has (n, 1) labels
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: ((x, labels), (x[:1], labels[:1])))
    raw = sources.read("cifar10")
    np.testing.assert_array_equal(raw.features, x)
    np.testing.assert_array_equal(raw.targets, [3, 1])
    np.testing.assert_array_equal(raw.test_features, x[:1])
    np.testing.assert_array_equal(raw.test_targets, [3])
    assert raw.task == "classification"


def test_an_npz_comes_back_as_it_was_written(npz):
    raw = sources.read(npz(x_train=X, y_train=Y[:, None], x_test=X[:2] + 0.5, y_test=Y[1:3]))
    np.testing.assert_array_equal(raw.features, X)
    np.testing.assert_array_equal(raw.targets, Y)
    np.testing.assert_array_equal(raw.test_features, X[:2] + 0.5)
    np.testing.assert_array_equal(raw.test_targets, [1, 0])
    assert raw.task is None


def test_an_npz_may_have_no_test_part(npz):
    raw = sources.read(npz(x_train=X, y_train=Y))
    assert raw.test_features is None
    assert raw.test_targets is None


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, "holds nothing; it needs x_train and y_train"),
        ({"x": X, "y": Y}, "holds x, y; it needs x_train and y_train"),
        ({"x_train": X}, "it needs x_train and y_train"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "only one of x_test and y_test"),
        ({"x_train": X, "y_train": Y, "y_test": Y}, "only one of x_test and y_test"),
        ({"x_train": X.astype(str), "y_train": Y}, "x_train holds <U32, not numbers"),
        ({"x_train": X[:, 0], "y_train": Y}, r"x_train has shape \(4,\); it needs one row an example"),
        ({"x_train": np.array(3.0), "y_train": Y}, r"x_train has shape \(\); it needs one row an example"),
        ({"x_train": X, "y_train": np.eye(2)[Y]}, r"y_train has shape \(4, 2\).*not one-hot"),
        ({"x_train": X, "y_train": np.array(3)}, r"y_train has shape \(\); it needs one value an example"),
        ({"x_train": X, "y_train": Y[:3]}, "x_train has 4 examples, y_train 3"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "x_train is empty"),
        ({"x_train": X[:, :0], "y_train": Y}, "x_train is empty"),
        ({"x_train": np.where(X == 5, np.nan, X), "y_train": Y}, "x_train has NaN or infinite values"),
        ({"x_train": np.where(X == 5, -np.inf, X), "y_train": Y}, "x_train has NaN or infinite values"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "x_train and x_test differ in shape"),
        ({"x_train": X, "y_train": Y, "x_test": np.where(X == 5, np.inf, X), "y_test": Y}, "x_test has NaN"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y[:1]}, "x_test has 4 examples, y_test 1"),
        ({"x_train": X, "y_train": Y, "x_test": X[:0], "y_test": Y[:0]}, "x_test is empty"),
        ({"x_train": X, "y_train": np.array([{}] * 4, dtype=object)}, "no archive of plain arrays"),
    ],
)
def test_an_npz_that_cannot_be_used_is_refused_in_one_line(npz, arrays, says):
    path = npz(**arrays)
    with pytest.raises(UsageError, match=says) as error:
        sources.read(path)
    assert "\n" not in str(error.value)
    assert path in str(error.value)


def test_a_pickle_in_an_npz_is_never_run(npz, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    path = npz(x_train=X, y_train=np.array([Trap()] * 4, dtype=object))
    with pytest.raises(UsageError):
        sources.read(path)
    assert not (tmp_path / "sprung").exists()
    np.load(path, allow_pickle=True)["y_train"]
    assert (tmp_path / "sprung").exists()  # the trap works


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".tsv"])
def test_a_file_that_is_not_there_is_named(tmp_path, suffix):
    with pytest.raises(UsageError, match=f"no file .*nowhere{suffix}"):
        sources.read(str(tmp_path / f"nowhere{suffix}"))


@pytest.mark.parametrize("name", ["folder.npz", "folder.csv"])
def test_a_folder_is_not_a_data_set(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        sources.read(str(tmp_path / name))


@pytest.mark.parametrize("kept", [0, 10, 400, -10])
def test_a_truncated_npz_is_refused_in_one_line(npz, kept):
    path = Path(npz(x_train=X, y_train=Y))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UsageError, match="cannot read") as error:
        sources.read(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("offset", [60, 100, 150])
def test_an_npz_with_damaged_bytes_is_refused_in_one_line(tmp_path, compressed, offset):
    path = tmp_path / "damaged.npz"
    noise = np.random.default_rng(0).normal(size=(200, 3))
    (np.savez_compressed if compressed else np.savez)(path, x_train=noise, y_train=np.arange(200) % 2)
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot read") as error:
        sources.read(str(path))
    assert "\n" not in str(error.value)


def test_an_npy_file_named_npz_is_refused(tmp_path):
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, X)
    with pytest.raises(UsageError, match="cannot read"):
        sources.read(str(tmp_path / "array.npz"))


def test_a_zip_of_other_things_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("x_train", "hello")
        archive.writestr("y_train", "hello")
    with pytest.raises(UsageError):
        sources.read(str(tmp_path / "text.npz"))


def test_a_table_has_numbers_text_and_missing_values(table):
    raw = sources.read(table("size,colour,ok,label\n1.5,red,True,yes\n,,False,no\n2,blue,True,yes\n"))
    assert list(raw.features) == ["size", "colour", "ok"]
    np.testing.assert_array_equal(raw.features["size"], np.float32([1.5, np.nan, 2]))
    assert raw.features["size"].dtype == np.float32
    assert raw.features["colour"].tolist() == ["red", "", "blue"]
    np.testing.assert_array_equal(raw.features["ok"], np.float32([1, 0, 1]))
    assert raw.targets.tolist() == ["yes", "no", "yes"]
    assert raw.task is None


def test_any_column_of_a_table_can_be_the_target(table):
    path = table("a,b,c\n1,2,3\n4,5,6\n")
    raw = sources.read(path, Options(target="a"))
    assert raw.targets.tolist() == [1, 4]
    assert {name: column.tolist() for name, column in raw.features.items()} == {"b": [2, 5], "c": [3, 6]}


def test_a_table_without_header_gets_column_names(table):
    path = table("1,2,3\n4,5,6\n")
    raw = sources.read(path, Options(header=False))
    assert list(raw.features) == ["column_0", "column_1"]
    assert raw.targets.tolist() == [3, 6]
    assert sources.read(path, Options(target="column_1", header=False)).targets.tolist() == [2, 5]


@pytest.mark.parametrize("name", ["data.tsv", "DATA.TSV"])
def test_a_tsv_is_separated_by_tabs(table, name):
    raw = sources.read(table("a\tb\nr,s\tx\nt,u\ty\n", name))
    assert raw.features["a"].tolist() == ["r,s", "t,u"]
    assert raw.targets.tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "target", "says"),
    [
        ("", None, "cannot read"),
        ("a,b\n", None, "has 0 rows and 2 columns"),
        ("a\n1\n2\n", None, "has 2 rows and 1 columns; it needs a target and a feature"),
        ("a,b\n1,2\n", "c", "no column 'c'; its columns are a, b"),
        ("a,b\n1,2\n3,\n", None, "the target column 'b' is empty in data row 2"),
        ("a,b\n1,2\n3,NaN\n", "b", "the target column 'b' is empty in data row 2"),
        ("a,x/y,b\n1,2,3\n4,5,6\n", None, "cannot name an input 'x/y'.* --drop x/y"),
        ("a,b\ninf,2\n1,2\n", None, "the column 'a' has infinite values"),
        ("a,b\n-1e39,2\n1,2\n", None, "the column 'a' has infinite values"),
        ("a,b\n1e400,2\n1,2\n", None, "the column 'a' has infinite values"),
        ("a,b\n,2\n,3\n", None, "no column left to learn from: 'a' \\(empty\\)"),
        ("a,b\n1,2\n3,4,5,6\n", None, "cannot read"),
        ('a,b\n"1,2\n3,4\n', None, "cannot read"),
        ("a,b\né,1\n".encode("latin-1"), None, "cannot read"),
        (bytes(range(256)), None, "cannot read"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(table, text, target, says):
    path = table(text)
    with pytest.raises(UsageError, match=says) as error:
        sources.read(path, Options(target=target))
    assert "\n" not in str(error.value)
    assert path in str(error.value)


@pytest.mark.parametrize(("distinct", "refused"), [(100, False), (101, True)])
def test_a_text_column_of_more_than_100_values_is_refused_by_name(table, distinct, refused):
    path = table("word,y\n" + "".join(f"w{row},{row}\n" for row in range(distinct)))
    if refused:
        with pytest.raises(
            UsageError, match=r"the text column 'word' .101 distinct values, more than 100. .* --drop word$"
        ):
            sources.read(path)
    else:
        assert len(sources.read(path).features["word"]) == 100


def test_mnist_as_a_file_has_its_own_test_part(real_data):
    raw = sources.read(str(real_data / "mnist.npz"))
    assert raw.features.shape == (60000, 28, 28)
    assert raw.features.dtype == np.uint8
    assert raw.test_features.shape == (10000, 28, 28)
    # The class counts that MNIST is known by.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(raw.targets).tolist() == counts
    assert np.bincount(raw.test_targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_california_housing_has_a_text_column_and_missing_values(real_data):
    path = real_data / "california_housing.csv"
    raw = sources.read(str(path), Options(target="median_house_value"))
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert len(raw.features) == 9
    assert raw.features["ocean_proximity"].tolist() == [row[9] for row in rows]
    np.testing.assert_array_equal(np.isnan(raw.features["total_bedrooms"]), [row[4] == "" for row in rows])
    assert np.isnan(raw.features["total_bedrooms"]).sum() == 207
    np.testing.assert_array_equal(raw.targets, [float(row[8]) for row in rows])


def test_the_messages_of_sms_spam_are_refused_by_name(real_data):
    path = str(real_data / "sms_spam.tsv")
    with pytest.raises(UsageError, match=r"the text column 'column_1' .5158 distinct values, more than 100"):
        sources.read(path, Options(target="column_0", header=False))


def test_the_dates_of_air_passengers_are_seconds(real_data):
    raw = sources.read(str(real_data / "air_passengers.csv"), Options(target="value"))
    dates = np.loadtxt(real_data / "air_passengers.csv", str, delimiter=",", skiprows=1, usecols=0)
    expected = dates.astype("M8[s]").astype(np.int64)
    np.testing.assert_array_equal(raw.features["date"], expected)
    assert len(raw.notes) == 1
    assert "the column 'date' holds dates" in raw.notes[0]


def test_rows_with_more_fields_than_the_header_has_names_are_refused(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("a,b\n1,2,3\n4,5,6\n")
    with pytest.raises(UsageError, match="more fields than its first line has names"):
        sources.read(str(path))
