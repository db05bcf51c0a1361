"""Tables from files of all kinds: what is read, what is left out, what is said. pandas is the oracle."""

import gzip
import importlib.util
import shlex

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from recipes.shared import tables
from recipes.shared.errors import UsageError
from recipes.shared.tables import Options

FEW = hypothesis.settings(max_examples=30)


@pytest.fixture
def write(tmp_path):
    """A function that writes text to a file and returns its path."""

    def write(text, name="x.csv"):
        content = text if isinstance(text, bytes) else text.encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def values(path, options=None):
    """The features of a table as lists, and its targets."""
    options = options or Options()
    table = tables.read(path, options)
    features = {name: column.tolist() for name, column in table.features(options).items()}
    return features, table.targets.tolist()


def notes(path, **options):
    return [note.removeprefix(f"{path}: ") for note in tables.read(path, Options(**options)).notes]


ROWS = [["1.5", "red", "yes"], ["2", "dark blue", "no"], ["", "red", "yes"]]
PLAIN = ({"a": [1.5, 2.0, np.nan], "b c": ["red", "dark blue", "red"]}, ["yes", "no", "yes"])


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "X.CSV", "x.csv.gz", "x.tsv.gz"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_delimiter_is_found_and_spaces_and_a_mark_of_the_encoding_are_stripped(write, name, delimiter, space, mark):
    lines = [["a", "b c", "label"], *ROWS]
    text = "\n".join((space + delimiter + space).join(line) + space for line in lines)
    path = write(mark + text, name)
    features, targets = values(path)
    np.testing.assert_equal((features, targets), PLAIN)
    expected = "\t" if "tsv" in name.lower() else ","
    words = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
    said = [] if delimiter == expected else [f"fields are separated by {words[delimiter]}"]
    assert notes(path) == said


def test_newlines_and_delimiters_in_quotes_are_part_of_the_value(write):
    features, _ = values(write('a,b,y\n"one\ntwo",1,p\n"x;y,z",2,q\n"one\ntwo",3,q\n'))
    assert features["a"] == ["one\ntwo", "x;y,z", "one\ntwo"]


def test_commas_in_text_do_not_separate(write):
    features, _ = values(write("a;b;y\nx, y;1;p\nz, w;2;q\n"))
    assert features == {"a": ["x, y", "z, w"], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;b;y\n1,5;0,25;p\n2,5;1.000,5;q\n", {"a": [1.5, 2.5], "b": [0.25, 1000.5]}),
        ("a;b;y\n1,5;1.000;p\n2,5;2.000;q\n", {"a": [1.5, 2.5], "b": [1000, 2000]}),
        ("a;b;y\n1,234;1;p\n2,345;2;q\n", {"a": [1.234, 2.345], "b": [1, 2]}),
        ("a;b;y\n1,234;1.5;p\n2,345;2.5;q\n", {"a": [1234, 2345], "b": [1.5, 2.5]}),
        ("a\tb\ty\n1,234\t1\tp\n2,345\t2\tq\n", {"a": [1234, 2345], "b": [1, 2]}),
        ('a,b,y\n"1,5","1,234",p\n"2,5","2,345",q\n', {"a": [1.5, 2.5], "b": [1.234, 2.345]}),
        ('a,b,y\n"1,234",1.5,p\n"2,345",2.5,q\n', {"a": [1234, 2345], "b": [1.5, 2.5]}),
    ],
)
def test_a_decimal_comma_is_told_from_thousands(write, text, expected):
    path = write(text)
    features, _ = values(path)
    assert {name: np.float32(column).tolist() for name, column in expected.items()} == features
    assert notes(path)


def test_a_target_of_decimal_commas_is_numbers(write):
    path = write("a;y\n1;1,5\n2;2,25\n")
    assert values(path) == ({"a": [1, 2]}, [1.5, 2.25])
    assert values(write('a,y\n1,"1,000"\n2,"2,000"\n'))[1] == [1000, 2000]


@pytest.mark.parametrize(
    ("cells", "targets"),
    [
        (["1", "2", "3"], [1, 2, 3]),
        (["True", "false", "TRUE"], [True, False, True]),
        (["yes", "no", "yes"], ["yes", "no", "yes"]),
        (["0", "1", "3+"], ["0", "1", "3+"]),
    ],
)
def test_targets_are_as_pandas_reads_them(write, cells, targets):
    assert values(write("a,y\n" + "".join(f"{row},{cell}\n" for row, cell in enumerate(cells))))[1] == targets


@pytest.mark.parametrize("cell", ["", "  ", "NA", "?"])
def test_a_number_that_is_missing_in_the_target_is_refused_with_its_row(write, cell):
    path = write(f"a,y\n1,2\n2,3\n3,{cell}\n4,5\n")
    with pytest.raises(UsageError, match="the target column 'y' is empty in data row 3"):
        tables.read(path, Options())


def test_all_columns_of_too_many_words_are_named_at_once_with_the_command(write):
    rows = "".join(f"{row},name {row},t{row},{row % 7},{row % 2}\n" for row in range(150))
    path = write("Id,The Name,Ticket,Class,y\n" + rows)
    with pytest.raises(UsageError) as error:
        values(path, Options(drop=("Id",)))
    assert "'The Name' (150 distinct values, more than 100), 'Ticket' (150" in str(error.value)
    command = str(error.value).partition("with ")[2]
    flag, *names = shlex.split(command)
    assert flag == "--drop"
    features, _ = values(path, Options(drop=tuple(names)))
    assert list(features) == ["Class"]
    with pytest.raises(UsageError, match=r"with --keep Class$"):
        values(path, Options(keep=("Ticket", "Class")))


def test_a_value_that_is_no_number_is_refused_with_column_row_value_and_remedies(write):
    path = write("a,b,y\n1,1,p\n2,2,q\n3+,3,q\n")
    with pytest.raises(UsageError, match=r"column 'a' has '3\+' in data row 3.* --drop a.* --categorical a$"):
        values(path)
    assert values(path, Options(categorical=("a",)))[0]["a"] == ["1", "2", "3+"]


def test_categories_are_taken_as_they_are_written(write):
    features, _ = values(write("a, b,y\n007,1,p\n1.0,2,q\n7,,q\n"), Options(categorical=("a", "b")))
    assert features == {"a": ["007", "1.0", "7"], "b": ["1", "2", ""]}


def test_keep_names_the_only_features(write):
    path = write("a,b,c,y\n1,2,5,p\n2,3,5,q\n")
    assert list(values(path, Options(keep=("b", "c")))[0]) == ["b", "c"]  # c is constant, but wanted
    assert list(values(path)[0]) == ["a", "b"]
    assert tables.read(path, Options(keep=("b",))).left_out == {"a": "not among --keep", "c": "not among --keep"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"drop": ("z",)}, "has no column 'z' for --drop; its columns are a, b, y"),
        ({"split_column": "z"}, "has no column 'z' for --split-column"),
        ({"target": "z"}, "has no column 'z'; its columns are a, b, y"),
        ({"drop": ("a",), "keep": ("b",)}, "leave out --drop"),
        ({"numeric": ("a",), "categorical": ("a",)}, "'a' is named by both --numeric and --categorical"),
        ({"drop": ("y",), "target": "y"}, "'y' is the target"),
        ({"drop": ("a",), "split_column": "a"}, "both --drop and --split-column"),
        ({"drop": ("a", "b")}, "no column left to learn from: 'a' .by --drop., 'b'"),
        ({"drop": ("a", "b", "y")}, "it needs a target and a feature"),
    ],
)
def test_flags_that_contradict_the_file_or_each_other_are_refused(write, options, says):
    path = write("a,b,y\n1,2,p\n2,3,q\n")
    with pytest.raises(UsageError, match=says) as error:
        values(path, Options(**options))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("header", [",a,y", "Unnamed: 0,a,y", " ,a,y"])
@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_column_without_a_name_that_counts_rows_is_left_out_and_said(write, header, first):
    path = write(header + "\n" + "".join(f"{first + row},{row % 3},{row % 2}\n" for row in range(9)))
    assert list(values(path)[0]) == ["a"]
    assert notes(path) == ["left out: column 1 (it has no name and counts the rows)"]
    name = tables.read(path, Options()).left_out.popitem()[0]
    assert list(values(path, Options(keep=(name, "a")))[0]) == [name, "a"]


def test_a_column_without_a_name_that_holds_something_stays(write):
    assert list(values(write(",a,y\n3,1,p\n1,2,q\n2,2,q\n"))[0]) == ["Unnamed: 0", "a"]


def test_a_comma_at_the_end_of_each_line_is_no_target(write):
    for header in (True, False):
        path = write(("a,b,y,\n" if header else "") + "1,2,p,\n2,3,q,\n")
        features, targets = values(path, Options(header=header))
        assert list(features.values()) == [[1, 2], [2, 3]]
        assert targets == ["p", "q"]


def test_a_named_column_that_counts_the_rows_is_a_feature_and_is_said(write):
    path = write("id,a,y\n1,1,p\n2,4,q\n3,2,q\n")
    assert list(values(path)[0]) == ["id", "a"]
    assert notes(path) == ["the column 'id' counts the rows; if it is no feature, leave it out with --drop id"]


def test_constant_and_empty_columns_are_left_out_and_said(write):
    path = write("a,b,c,d,y\n1,5,,x,p\n2,5,,x,q\n4,5,,x,q\n")
    assert list(values(path)[0]) == ["a"]
    assert notes(path) == ["left out: 'b' (always 5), 'c' (empty), 'd' (always 'x')"]


@pytest.mark.parametrize("line", ["1,2,3", "5.1,3.5,setosa", "1, 2 ,3", "-1e5,2,3", "2,2,2"])
def test_a_first_line_of_numbers_is_asked_about(write, line):
    path = write(f"{line}\n4,5,6\n7,8,9\n")
    with pytest.raises(UsageError, match=r"names in its first line.* add --no-header; .* --target "):
        tables.read(path, Options())
    assert len(tables.read(path, Options(header=False)).targets) == 3


@pytest.mark.parametrize("line", ["a,1,2", "1,2,y", "a,b,c", ",0,1"])
def test_a_first_line_with_names_is_not_asked_about(write, line):
    assert len(tables.read(write(f"{line}\n4,5,6\n7,8,9\n"), Options()).targets) == 2


def test_numbers_in_the_first_line_are_names_if_one_is_the_target(write):
    assert values(write("1990,2000\n4,5\n7,8\n"), Options(target="2000")) == ({"1990": [4, 7]}, [5, 8])


def test_a_column_says_which_part_a_row_is_in(write):
    path = write("a,part,y\n1,train,p\n2,Test ,q\n3,validation,q\n4,train,q\n")
    table = tables.read(path, Options(split_column="part"))
    assert table.parts.tolist() == ["train", "test", "validation", "train"]
    assert list(table.columns) == ["a"]
    assert tables.read(write("a,y,part\n1,p,train\n2,q,test\n"), Options(split_column="part")).target == "y"


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["train", "dev", "test"], "'dev' in data row 2; --split-column takes"),
        (["train", "", "test"], "in data row 2"),
        (["train", "train", "validation"], "no row into the part test"),
        (["test", "test", "validation"], "no row into the part train"),
    ],
)
def test_other_parts_are_refused(write, cells, says):
    path = write("a,part,y\n" + "".join(f"{row},{cell},{row}\n" for row, cell in enumerate(cells)))
    with pytest.raises(UsageError, match=says):
        tables.read(path, Options(split_column="part"))


@pytest.mark.parametrize(
    "name", ["preprocessing", "sequential", "normalization", "normalization_1", "string_lookup", "concatenate"]
)
def test_a_column_named_like_a_layer_of_keras_is_refused_by_name(write, name):
    path = write(f"{name},b,y\n1,2,p\n2,3,q\n")
    with pytest.raises(UsageError, match=f"'{name}' has the name of a Keras layer; rename .* --drop {name}"):
        values(path)


def test_a_column_may_be_named_cast_unless_another_is_shifted(write):
    assert list(values(write("cast,b,y\n1,2,p\n2,3,q\n"))[0]) == ["cast", "b"]
    with pytest.raises(UsageError, match="'cast' has the name"):
        values(write("cast,b,y\n1,2020-01-01,p\n2,2020-01-02,q\n"))


@pytest.mark.parametrize("kept", [0, 5, 15, -3])
def test_a_damaged_gzip_file_is_refused(write, kept):
    path = write("a,b\n" + "1,2\n" * 100, "x.csv.gz")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UsageError, match="cannot read"):
        tables.read(path, Options())
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(UsageError, match="no whole gzip file"):
        tables.read(path, Options())


def test_a_gzip_file_larger_than_memory_is_refused_unread(write, monkeypatch):
    path = write(b"0" * 2**24, "x.csv.gz")
    monkeypatch.setattr(tables.runtime, "machine_memory", lambda: 2**22)
    with pytest.raises(UsageError, match="more than half"):
        tables.read(path, Options())


def test_parquet_without_pyarrow_says_what_to_install(write, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs pyarrow; pip install 'keras-training-recipes\[parquet\]'"):
        tables.read(write("", "x.parquet"), Options())


def test_parquet_has_the_types_of_its_columns(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            " a ": [1, 2, 4],
            "when": pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
            "kind": pd.Categorical(["x", "y", "x"]),
            "count": pd.array([1, None, 3], dtype="Int64"),
            "ok": pd.array([True, None, False], dtype="boolean"),
            "y": ["p", "q", "q"],
        }
    )
    path = tmp_path / "x.parquet"
    frame.to_parquet(path)
    features, targets = values(path)
    expected = {
        "a": [1, 2, 4],
        "when": [1577836800, np.nan, 1578009600],
        "kind": ["x", "y", "x"],
        "count": [1, np.nan, 3],
        "ok": [1, np.nan, 0],
    }
    np.testing.assert_equal(features, expected)
    assert targets == ["p", "q", "q"]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UsageError, match="cannot read"):
        tables.read(path, Options())
    with pytest.raises(UsageError, match="leave out --no-header"):
        tables.read(path, Options(header=False))


NUMBERS = st.lists(
    st.integers(-1000, 1000) | st.floats(-1e3, 1e3).map(lambda value: round(value, 3)), min_size=8, max_size=8
)
WORDS = st.lists(
    st.sampled_from(["red", "dark blue", "ä", "a, b", 'say "x"', "two\nlines", "1st"]), min_size=8, max_size=8
)


@FEW
@hypothesis.given(
    st.lists(NUMBERS | WORDS, min_size=1, max_size=4),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([".", ","]),
    st.sampled_from(["x.csv", "x.tsv", "x.csv.gz"]),
    st.booleans(),
)
def test_what_pandas_writes_is_read_again(tmp_path_factory, columns, delimiter, decimal, name, index):
    frame = pd.DataFrame({f"c{position}": column for position, column in enumerate(columns)})
    frame["y"] = ["p", "q"] * 4
    hypothesis.assume(all(frame[name].nunique() > 1 for name in frame))
    path = tmp_path_factory.mktemp("tables") / name
    frame.to_csv(path, sep=delimiter, decimal=decimal, index=index)
    table = tables.read(path, Options())
    assert table.targets.tolist() == frame["y"].tolist()
    assert list(table.columns) == list(frame.columns[:-1])
    for column, found in table.columns.items():
        if frame[column].dtype.kind in "if":
            np.testing.assert_array_equal(found.values.astype(np.float32), frame[column].to_numpy(np.float32))
        else:
            assert found.values.tolist() == frame[column].tolist()


CASES = {  # the working controls differ from their case by name alone
    "question_age.csv": "empty_age.csv",
    "thousands_only.csv": "thousands_clean.csv",
    "index_column.csv": "no_index_column.csv",
}


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_read_as_its_working_control(cases, name):
    np.testing.assert_equal(values(cases / name), values(cases / CASES[name]))
    assert len(notes(cases / name)) == 1
    assert not notes(cases / CASES[name])


@pytest.mark.parametrize(
    ("name", "options", "names"),
    [
        ("wine_semicolon.csv", {"target": "quality"}, ["fixed acidity", "volatile acidity", "alcohol"]),
        ("spaces.csv", {"target": "income"}, ["age", "workclass", "hours"]),
        ("trailing_comma.csv", {}, ["a", "b"]),
        ("fraud2.csv", {"target": "fraud"}, ["amount", "hour"]),
    ],
)
def test_cases_have_their_columns(cases, name, options, names):
    table = tables.read(cases / name, Options(**options))
    assert list(table.features(Options(**options))) == names
    assert table.target == options.get("target", "y")


def test_the_times_of_a_case_are_those_of_its_control_once_they_are_shifted(cases):
    times = tables.read(cases / "timestamps.csv", Options()).columns["time"].values
    from_zero = tables.read(cases / "timestamps_from_zero.csv", Options()).columns["time"].values
    assert (times.dtype, from_zero.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(times - 1.7e9, from_zero)


@pytest.mark.parametrize(
    ("name", "target", "missing"),
    [("boston_housing", "medv", 0), ("california_housing", "median_house_value", 207), ("spambase", "type", 0)],
)
def test_clean_tables_are_as_pandas_reads_them_and_need_no_word(real_data, name, target, missing):
    path = real_data / f"{name}.csv"
    table = tables.read(path, Options(target=target))
    frame = pd.read_csv(path)
    assert not table.notes
    assert not table.left_out
    np.testing.assert_array_equal(table.targets, frame.pop(target))
    assert list(table.columns) == list(frame)
    for column, found in table.columns.items():
        if found.kind == "text":
            assert found.values.tolist() == frame[column].tolist()
        else:
            assert found.values.dtype == np.float32
            np.testing.assert_array_equal(found.values, frame[column].to_numpy(np.float32))
    features = [found.values for found in table.columns.values() if found.kind != "text"]
    assert sum(np.isnan(each).sum() for each in features) == missing
