"""Hostile and clumsy files of data: a data set that can be trained on, or one line that says what is wrong with them.

`make fuzz` (FUZZ=long) tries 170 times as many, and others in every call.
"""

import io
import os
import signal
import tracemalloc
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recipes.shared import data, runtime, sources
from recipes.shared.errors import UsageError, in_one_line
from recipes.shared.hparams import HParams
from recipes.shared.tables import MOST_COLUMNS, Options

MOST_SECONDS = 30

NAMES = ["a", "b", "c", "label", "", " ", "x/y", "a.1", "Unnamed: 0", "é", "\u4f60", "\U0001f600", "a b", "-", ".", "0"]
NAMES += ["preprocessing", "normalization", "where_3", "concatenate", "string_lookup", "input_layer", "keras_tensor"]
NAMES += [
    "\0",
    "\ufeff",
    "\x1b[31m",
    "$x$",
    "[/]",
    "n" * 300,
    "a\nb",
    'q"q',
    "cast",
    "functional",
    "sequential_1",
    ":0",
]
CELLS = [
    "0",
    "1",
    "2.5",
    "-3",
    "",
    "NaN",
    "inf",
    "-inf",
    "1e39",
    "1e400",
    "1e-400",
    "9" * 30,
    "yes",
    "no",
    "True",
    "red",
]
CELLS += [
    "\0",
    "[UNK]",
    "\u2028",
    "1,5",
    "0x10",
    "1_000",
    "2020-01-01",
    "NULL",
    "None",
    "$\\frac$",
    "w" * 300,
    " ",
    "é",
]
CELLS += ["-0", "1e5", "+1", "٣", "1e-50", "3.4e38", "-3.4e38", "18446744073709551615", "-9223372036854775809", "1+2j"]
LENGTHS = st.sampled_from([40, 40, 40, 0, 1, 2, 3, 5, 9])  # rows
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@pytest.fixture
def folder(cwd):
    return cwd


@pytest.fixture(autouse=True)
def patience():
    """It hangs: that is what no input may do."""

    def ring(*_):
        raise TimeoutError("it hangs")

    previous = signal.signal(signal.SIGALRM, ring)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def check_refusal(error, path=""):
    """It names the file; `--hypothesis-show-statistics` shows what was wrong how often."""
    line = in_one_line(error)
    assert str(path) in line
    assert line.isprintable()
    if hypothesis.currently_in_test_context():
        hypothesis.event(f"refused: {line[-40:]}")


@pytest.fixture
def read(tried, folder):
    """A function that reads a file, and returns what it holds; None if it was refused in one line that names it."""

    def read(path, target=None, header=True):
        tried()
        signal.alarm(MOST_SECONDS)
        before = sorted(folder.rglob("*"))
        try:
            raw = sources.read(str(path), Options(target=target, header=header))
        except UsageError as error:
            check_refusal(error, path)
            return None
        finally:
            signal.alarm(0)
        assert sorted(folder.rglob("*")) == before
        return raw

    return read


@pytest.fixture
def load(tried):
    """A function that makes a data set of a file, and checks that it can be trained on; None if it was refused."""

    def load(path, task, **options):
        tried()
        signal.alarm(MOST_SECONDS)
        try:
            dataset = data.load(HParams(data=str(path), batch_size=1, **options), task)
        except UsageError as error:
            check_refusal(error)
            return None
        finally:
            signal.alarm(0)
        for part in (dataset.train, dataset.validation, dataset.test):
            assert len(part) == len(part.y) > 0
            assert part.x.dtype == np.float32
            assert np.isfinite(part.x).all()
            if task == "classification":
                assert set(part.y.tolist()) <= set(range(dataset.num_classes))
            else:
                assert np.isfinite(part.y).all()
        "".join(dataset.class_names).encode()
        return dataset

    return load


def quoted(field):
    return '"' + field.replace('"', '""') + '"' if set(field) & set(',"\n\r') else field


CATEGORIES = st.sampled_from(CELLS) | WORDS.filter(bool)
KINDS = [CELLS[:4], ["yes", "no"], ["1.5", "2", ""], ["red", "green", "", "blue"]]  # of sound columns
SOUND_TARGETS = [["yes", "no"], ["0.5", "1.5", "2.25"]]


@st.composite
def tables(draw):
    """The text of a table that was sound, before some of its fields were replaced."""
    names = [f"c{index}" for index in range(draw(st.sampled_from([3, 2, 5, 1])))]
    kinds = [*(draw(st.sampled_from(KINDS)) for _ in names[1:]), draw(st.sampled_from(SOUND_TARGETS))]
    rows = [[kind[(row + shift) % len(kind)] for shift, kind in enumerate(kinds)] for row in range(draw(LENGTHS))]
    table = [names, *rows]
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        row = draw(st.integers(0, len(rows)) | st.just(0))
        column = draw(st.integers(0, len(names) - 1))
        oddity = draw(st.sampled_from(NAMES if row == 0 else CELLS) | WORDS)
        whole = row and draw(st.integers(0, 3)) == 0  # the whole column
        for each in rows if whole else [table[row]]:
            each[column] = oddity
    if draw(st.integers(0, 9)) == 0:
        draw(st.sampled_from(table)).append("more")
    end = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"]))
    return end.join(",".join(map(quoted, row)) for row in table) + draw(st.sampled_from([end, ""]))


ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift-jis"]


@st.composite
def damage(draw, content):
    """Bytes that are nearly `content`: cut off, with others in their place, or in between."""
    content = bytearray(content)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2, 3]))):
        place = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["cut", "flip", "insert", "repeat", "remove"]))
        if kind == "cut":
            del content[place:]
        elif kind == "flip" and place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\0", b'"', b"\n", b","]))
        elif kind == "repeat":
            content[place:place] = content[place : place + 20] * draw(st.integers(1, 50))
        elif kind == "remove":
            del content[place : place + draw(st.integers(1, 20))]
    return bytes(content)


@hypothesis.given(tables(), st.sampled_from(ENCODINGS), st.booleans(), st.none() | st.sampled_from(NAMES), st.data())
def test_tables(folder, read, text, encoding, header, target, draw):
    path = folder / draw.draw(st.sampled_from(["x.csv", "x.tsv"]))
    path.write_bytes(draw.draw(damage(text.encode(encoding, errors="replace"))))
    read(path, target, header)


@hypothesis.given(tables(), st.sampled_from(["classification", "regression"]), st.booleans())
def test_tables_as_data_sets(folder, load, text, task, header):
    (folder / "x.csv").write_text(text, encoding="utf-8", newline="")
    load(folder / "x.csv", task, header=header)


@hypothesis.given(st.lists(st.sampled_from(NAMES) | WORDS, min_size=2, max_size=3, unique=True), CATEGORIES, CATEGORIES)
def test_tables_with_names_of_any_kind_as_data_sets(folder, load, names, one, other):
    rows = [names, *[[str(index), *[one if index % 2 else other] * (len(names) - 1)] for index in range(20)]]
    text = "\n".join(",".join(map(quoted, row)) for row in rows)
    (folder / "x.csv").write_text(text, encoding="utf-8", newline="")
    dataset = load(folder / "x.csv", "classification")
    if dataset is not None:  # what is saved is what was fitted
        dataset.preprocessing.save(folder / "model.keras")


@hypothesis.given(st.binary(max_size=200), st.sampled_from(["csv", "tsv", "npz"]))
def test_bytes_of_any_kind(folder, read, content, suffix):
    (folder / f"x.{suffix}").write_bytes(content)
    read(folder / f"x.{suffix}")


DTYPES = st.one_of(
    arrays.scalar_dtypes(),
    arrays.byte_string_dtypes(max_len=5),
    arrays.unicode_string_dtypes(max_len=5),
    st.sampled_from([np.dtype("g"), np.dtype("V3"), np.dtype([("a", "f4"), ("b", "i2")]), np.dtype("c16")]),
)
SOUND = [np.dtype(name) for name in ("f4", "f8", "u1", "i8", "f2", "?")]


SHAPES = [(2,), (3, 3), (2, 2, 3), (1,), (5,), (8, 8), (0,), (1,) * 5, ()]


def targets(draw, count):
    """What `y` may be: mostly classes or numbers."""
    raw = draw(st.binary(min_size=2, max_size=8)) * 8
    numbers = np.arange(count)
    sound = [numbers % 2, numbers / 3, np.array(["no", "yes"])[numbers % 2]]
    odd = [
        (numbers % 3).astype(np.uint64) + np.uint64(2**63),
        numbers[:, None] % 2,
        np.eye(count),
        np.zeros(count),
        np.resize(np.frombuffer(raw, "<U1"), count),
        np.resize(np.frombuffer(raw, "<f8"), count),
        np.resize(np.array([b"a", b"\xff"]), count),
        numbers.astype("M8[s]"),
        numbers * 1j,
        np.resize(np.array([True, False]), count),
        np.array(1),
        (numbers % 2).astype(">i2"),
        (numbers / 3).astype("g"),
    ]
    return draw(st.sampled_from([*sound * 4, *odd]))


@st.composite
def contents(draw):
    """Arrays by name, most often such as a recipe takes."""
    found = {}
    shape = draw(st.sampled_from(SHAPES))
    for part in draw(st.sampled_from([("train",), ("train", "test")])):
        count = draw(LENGTHS)
        dtype = draw(st.sampled_from(SOUND) | DTYPES)
        raw = np.frombuffer(draw(st.binary(min_size=2, max_size=8)) * 8, np.uint8)
        if draw(st.integers(0, 5)) == 0:  # other bits than any number has
            bits = np.resize(raw, max(1, count * int(np.prod(shape))) * dtype.itemsize)
            x = bits.view(dtype)[: count * int(np.prod(shape))].reshape(count, *shape) if dtype.itemsize else raw
        else:
            x = np.resize(raw, (count, *shape)).astype(dtype if dtype.kind in "biuf" else np.float32)
        found |= {f"x_{part}": x, f"y_{part}": targets(draw, count)}
        if draw(st.integers(0, 9)) == 0:
            shape = draw(st.sampled_from(SHAPES))
    return found


def saved(found, compressed=False):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **found)
    return file.getvalue()


@hypothesis.given(contents(), st.booleans(), st.data())
def test_archives(folder, read, found, compressed, draw):
    (folder / "x.npz").write_bytes(draw.draw(damage(saved(found, compressed))))
    read(folder / "x.npz")


@hypothesis.given(contents(), st.sampled_from(["classification", "regression"]))
def test_archives_as_data_sets(folder, load, found, task):
    (folder / "x.npz").write_bytes(saved(found))
    load(folder / "x.npz", task)


SIZES = st.integers(-3, 40) | st.sampled_from([2**power for power in (20, 31, 32, 62, 63, 64, 100)]) | st.booleans()
CLAIMS = {
    "descr": st.sampled_from(
        ["|u1", "|O", "<U4", "|S0", "|V0", "<f9", ">f2", "<M8[s]", "O", "<U2000000000", "<f4", ">i8"]
    )
    | st.sampled_from([[("a", "<f8")], [("a", "O")], "(3,4)f8", "f8,f8", None, 3, [], "a" * 5000, {"names": []}])
    | st.text(max_size=5),
    "fortran_order": st.sampled_from([True, 0, None, "no"]),
    "shape": st.lists(SIZES, max_size=4).map(tuple) | st.sampled_from([3, None, "x", (1.5,), [2, 2], (0,) * 100]),
    "more": st.none(),
}


@st.composite
def members(draw, array):
    """The .npy file of `array`, of which some claims were changed."""
    claims = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    for name in draw(st.sets(st.sampled_from([*CLAIMS]), max_size=2)):
        claims[name] = draw(CLAIMS[name])
    text = repr(claims)
    if draw(st.integers(0, 4)) == 0:
        text = draw(
            st.text(max_size=100) | st.sampled_from(["(" * 9000, "-" * 9000 + "1", "{}" * 4000, text + " " * 11_000])
        )
    header = text.encode("utf-8", errors="replace")
    version = draw(st.sampled_from([(1, 0), (1, 0), (1, 0), (1, 0), (2, 0), (2, 0), (3, 0), (255, 255)]))
    length = max(0, len(header) + draw(st.sampled_from([0] * 10 + [-1, 1, 10_000, 2**31])))
    width = 2 if version == (1, 0) else 4
    packed = min(length, 256**width - 1).to_bytes(width, "little")
    magic = draw(st.sampled_from([b"\x93NUMPY"] * 8 + [b"PK\x03\x04", b""]))
    content = array.tobytes()
    return (
        magic + bytes(version) + packed + header + content[: len(content) + draw(st.sampled_from([0] * 5 + [-1, -50]))]
    )


X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


@hypothesis.given(members(X), members(Y), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
def test_headers_of_arrays(folder, read, x, y, compression):
    names = {"x_train.npy": x, "y_train.npy": y}
    with zipfile.ZipFile(folder / "x.npz", "w", compression) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    tracemalloc.start()
    try:
        read(folder / "x.npz")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@hypothesis.given(contents(), st.data(), st.booleans())
def test_folders(folder, load, tried, found, draw, stream):
    place = folder / "shards"
    place.mkdir(exist_ok=True)
    whole = saved({"x": X, "y": Y})
    for name in ("train-0", "train-1", "validation", "test"):
        (place / f"{name}.npz").write_bytes(whole)
    hostile = saved(draw.draw(st.sampled_from([{"x": X, "y": Y}, {"x": found["x_train"], "y": found["y_train"]}])))
    (place / draw.draw(st.sampled_from(["train-0.npz", "train-1.npz", "validation.npz", "test.npz"]))).write_bytes(
        draw.draw(damage(hostile))
    )
    if not stream:
        load(place, "classification")
        return
    tried()
    signal.alarm(MOST_SECONDS)
    try:
        dataset = data.load(HParams(data=str(place), batch_size=1, stream=True), "classification")
    except UsageError as error:
        check_refusal(error, place)
        return
    blocks = list(dataset.train.blocks(1, None)(0, 0))
    assert sum(len(rows) for _, rows in blocks) == len(dataset.train)


def table(folder, text, **encoding):
    (folder / "x.csv").write_text(text, **({"encoding": "utf-8"} | encoding))
    return folder / "x.csv"


ROWS = "".join(f"{index},{index % 3},{'ab'[index % 2]}\n" for index in range(40))


def test_a_byte_order_mark_is_no_part_of_the_first_name(folder, read):
    raw = read(table(folder, "é,b,label\n" + ROWS, encoding="utf-8-sig"))
    assert list(raw.features) == ["é", "b"]
    assert read(table(folder, '"a","b",label\n' + ROWS, encoding="utf-8-sig")).features.keys() == {"a", "b"}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_in_another_encoding_is_told_to_be_saved_as_utf_8(folder, encoding):
    with pytest.raises(UsageError, match=r"at byte .*; save it as UTF-8"):
        sources.read(str(table(folder, "é,b,label\n" + ROWS, encoding=encoding)))
    mixed = ("a,b,label\n" + ROWS).encode() + "1,2,é\n".encode("latin-1")
    (folder / "x.csv").write_bytes(mixed)
    with pytest.raises(UsageError, match=r"at byte .*; save it as UTF-8"):
        sources.read(str(folder / "x.csv"))


def test_columns_of_the_same_name_are_refused(folder):
    path = table(folder, "a,b,a\n" + ROWS)
    with pytest.raises(UsageError, match="several columns with the name 'a'; rename them"):
        sources.read(str(path))
    path = table(folder, "2,2,a\n" + ROWS)
    assert sources.read(str(path), Options(header=False)).features.keys() == {"column_0", "column_1"}


@pytest.mark.parametrize("header", [True, False])
def test_a_hundred_thousand_columns_are_refused_at_once(folder, header):
    line = ",".join(map(str, range(100_000)))
    path = table(folder, f"{line}\n" * 20)
    signal.alarm(5)
    with pytest.raises(UsageError, match=r"has 100000 columns, more than 1000; an \.npz takes any number"):
        sources.read(str(path), Options(header=header))


def test_as_many_columns_as_there_may_be_are_taken(folder, read):
    lines = [",".join(f"c{column}" for column in range(MOST_COLUMNS))]
    lines += [",".join(str(row + column) for column in range(MOST_COLUMNS)) for row in range(10)]
    raw = read(table(folder, "\n".join(lines)))
    assert len(raw.features) == MOST_COLUMNS - 1


def test_a_long_value_in_a_column_of_text_does_not_widen_every_row(folder):
    rows = "".join(f"{index},a,{'w' * 10**6 if index == 5 else 'no'}\n" for index in range(30_000))
    for target in ("label", "b"):
        tracemalloc.start()
        with pytest.raises(UsageError, match=r"'label' .*a value of 1000000 letters, more than 200"):
            sources.read(
                str(table(folder, "a,b,label\n" + rows)), Options(target=target)
            )  # as text of one width: 120 GB
        assert tracemalloc.get_traced_memory()[1] < 2**28
        tracemalloc.stop()


def test_a_column_is_of_one_type_however_long_it_is(folder, read):
    """In pieces of 256 KiB, as pandas reads by default, the first half would be numbers and the second words."""
    rows = "".join(f"{1 if index < 50_000 else 'many'},{index}\n" for index in range(100_000))
    assert set(read(table(folder, "a,b\n" + rows)).features["a"].tolist()) == {"1", "many"}


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_few_rows_are_a_data_set_or_are_told_to_be_too_few(folder, load, rows, task):
    text = "a,b\n" + "".join(f"{index},{index / 3 if task == 'regression' else index % 2}\n" for index in range(rows))
    dataset = load(table(folder, text), task)
    if rows < 3:
        assert dataset is None


def test_a_single_class_is_refused(folder):
    for text in ("a,b\n1,yes\n2,yes\n3,yes\n", "a,b\n1,1\n2,1\n3,1\n"):
        with pytest.raises(UsageError, match="there is nothing to tell apart"):
            data.load(HParams(data=str(table(folder, text))), "classification")


def test_a_file_larger_than_memory_is_refused_unread(folder, monkeypatch):
    monkeypatch.setattr(runtime, "machine_memory", lambda: 2**20)
    path = folder / "x.csv"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no room
    with pytest.raises(UsageError, match=r"takes 1024\.0 GiB in memory, more than half"):
        sources.read(str(path))


def test_bytes_that_would_not_fit_as_float32_are_refused(folder, monkeypatch):
    np.savez(folder / "x.npz", x_train=np.zeros((100, 1000), np.uint8), y_train=np.arange(100) % 2)
    monkeypatch.setattr(runtime, "machine_memory", lambda: 500_000)
    with pytest.raises(UsageError, match="add --stream"):
        data.load(HParams(data=str(folder / "x.npz")), "classification")


def test_letters_that_are_no_unicode_are_refused_in_names_of_classes(folder):
    for letter in (0x110000, 0xD800):
        names = np.array([letter, 65], np.uint32).view("<U1")
        np.savez(folder / "x.npz", x_train=np.zeros((20, 2)), y_train=np.resize(names, 20))
        with pytest.raises(UsageError, match="letters that are no Unicode"):
            data.load(HParams(data=str(folder / "x.npz"), batch_size=2), "classification")


def test_features_whose_variance_is_infinite_are_refused(folder):
    x = np.array([[3e38, 1], [-3e38, 2]] * 20)
    np.savez(folder / "x.npz", x_train=x, y_train=np.arange(40) % 2)
    rows = "".join(f"{a},{index % 2}\n" for index, (a, _) in enumerate(x))
    for path in (folder / "x.npz", table(folder, "a,b\n" + rows)):
        with pytest.raises(UsageError, match="too far apart for float32"):
            data.load(HParams(data=str(path), batch_size=2), "classification")


@pytest.mark.parametrize("kind", ["fifo", "zero"])
def test_a_folder_with_a_file_that_has_no_end_is_refused(folder, kind):
    for name in ("train-0", "train-1", "test"):
        np.savez(folder / f"{name}.npz", x=np.zeros((20, 2)), y=np.arange(20) % 2)
    (folder / "train-1.npz").unlink()
    if kind == "fifo":
        os.mkfifo(folder / "train-1.npz")
    else:
        (folder / "train-1.npz").symlink_to("/dev/zero")
    signal.alarm(MOST_SECONDS)
    with pytest.raises(UsageError, match="it is a pipe or a device"):
        data.load(HParams(data=str(folder), batch_size=2), "classification")
