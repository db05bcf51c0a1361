"""One column of a table: numbers, dates, times, categories, and what it says of itself. pandas is the oracle."""

import datetime

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from recipes.shared import columns

FEW = hypothesis.settings(max_examples=25)


def read(values, wish=None, decimal="."):
    return columns.read(pd.Series(values, name="c"), wish, decimal)


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [
        ("12", ".", 12),
        ("-1.5e3", ".", -1500),
        (".5", ".", 0.5),
        ("95,164", ".", 95164),
        ("-1,234,567.25", ".", -1234567.25),
        ("1'234", ".", 1234),
        ("1 234 567", ".", 1234567),
        ("12 %", ".", 12),
        ("1.5%", ".", 1.5),
        ("1,5", ",", 1.5),
        ("1.234,5", ",", 1234.5),
        ("1\u202f234,5", ",", 1234.5),
        (",5", ",", 0.5),
        ("95.164", ",", 95164),
        ("1,5", ".", None),
        ("1,23,4", ".", None),
        ("12,3456", ".", None),
        ("1.5", ",", None),
        ("3+", ".", None),
        ("1_000", ".", None),
        ("0x10", ".", None),
        ("\u0663", ".", None),
        ("$5", ".", None),
        ("%", ".", None),
        ("", ".", None),
        ("1+2j", ".", None),
        ("word", ".", None),
        ("infinite", ".", None),
    ],
)
def test_a_number_is_read_as_it_is_written(text, decimal, number):
    assert columns.number(text, decimal) == number


def test_numbers_of_pandas_become_float32():
    for values in ([1, 2, 3], [1.5, np.nan, 2], [True, False, True]):
        column = read(values)
        assert column.values.dtype == np.float32
        np.testing.assert_array_equal(column.values, np.float32(values))
        assert (column.notes, column.left_out, column.problem) == ((), "", "")


@pytest.mark.parametrize("mark", ["?", "-", "--", "NA", "n/a", "None", ".", "unknown", "NULL"])
def test_marks_of_missing_values_among_numbers_are_missing(mark):
    column = read(["1", mark, "2.5", mark, "3"])
    np.testing.assert_array_equal(column.values, np.float32([1, np.nan, 2.5, np.nan, 3]))
    assert column.notes == (f"takes {mark!r} for missing (2 values)",)


def test_marks_of_missing_values_among_words_are_words():
    assert read(["red", "?", "blue"]).values.tolist() == ["red", "?", "blue"]


def test_thousands_percent_signs_and_decimal_commas_are_said():
    assert read(["95,164", "1,000"]).notes == ("has numbers with thousands apart: '95,164' is 95164",)
    assert read(["5%", "10%"]).notes == ("has numbers with a percent sign: '5%' is 5",)
    assert read(["1,5", "10"]).notes == ("has numbers with a decimal comma: '1,5' is 1.5",)


@pytest.mark.parametrize(("decimal", "value"), [(".", 1234), (",", 1.234)])
def test_what_a_comma_means_is_decided_by_the_file_where_the_column_does_not_tell(decimal, value):
    assert read(["1,234", "2,345"], decimal=decimal).values[0] == np.float32(value)


def test_another_value_among_numbers_is_named_with_its_row():
    column = read(["1", "2", "3+", "0"])
    assert column.problem == "has '3+' in data row 3, and numbers in most others"
    assert read(["1", "2", "3+", "0"], "categorical").values.tolist() == ["1", "2", "3+", "0"]
    assert read(["x", "y", "1"]).problem == ""
    assert read(["x", "?", "1"], "numeric").problem == "has 'x' in data row 1"


@FEW
@hypothesis.given(
    st.lists(st.one_of(st.none(), st.integers(-(10**9), 10**9), st.floats(-1e6, 1e6)), min_size=2, max_size=30),
    st.sampled_from([".", ","]),
)
def test_numbers_written_with_any_separators_are_those_that_pandas_holds(values, decimal):
    hypothesis.assume(len({each for each in values if each is not None}) > 1)
    texts = ["?" if each is None else f"{each:,}" for each in values]
    if decimal == ",":
        texts = [text.translate({ord(","): ".", ord("."): ","}) for text in texts]
    hypothesis.assume(any("," in text or "?" in text or "." in text for text in texts))
    column = read(texts, "numeric", decimal)
    hypothesis.assume(not any("e" in text for text in texts))
    exact = pd.Series(values, dtype=float).to_numpy()
    assert not column.problem
    np.testing.assert_array_equal(column.values, exact.astype(column.values.dtype))


@FEW
@hypothesis.given(
    st.lists(
        st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)), min_size=2, max_size=20, unique=True
    ),
    st.sampled_from(["T", " "]),
    st.sampled_from(["", "Z", "+02:00"]),
)
def test_iso_dates_are_the_seconds_that_pandas_counts(stamps, separator, zone):
    column = read([stamp.isoformat(separator) + zone for stamp in stamps])
    hours = 2 if zone == "+02:00" else 0
    expected = [(stamp - datetime.datetime(1970, 1, 1)).total_seconds() - 3600 * hours for stamp in stamps]
    assert (column.kind, column.values.dtype) == ("dates", np.float64)
    np.testing.assert_allclose(column.values, expected, rtol=0, atol=1e-4)
    assert "holds dates" in column.notes[0]


def test_dates_may_be_missing_and_another_value_is_named():
    column = read(["2020-01-01", None, "-", "2020-01-02"])
    np.testing.assert_array_equal(column.values, [1577836800, np.nan, np.nan, 1577923200])
    assert read(["2020-01-01", "2020-02-02", "soon"]).problem == "has 'soon' in data row 3, and dates in most others"
    assert read(["2020-01-01", "2020-02-30", "2020-01-02"]).problem.startswith("has '2020-02-30' in data row 2")
    assert read(["2020-01-01", "2020-01-02"], "categorical").kind == "text"


def test_columns_that_pandas_itself_knows_as_dates_are_dates():
    stamps = pd.Series(pd.to_datetime(["2020-01-01", None, "2020-01-02"]))
    for series in (stamps, stamps.dt.tz_localize("UTC")):
        np.testing.assert_array_equal(columns.read(series).values, [1577836800, np.nan, 1577923200])
    spans = columns.read(pd.Series(pd.to_timedelta(["1h", None, "90min"])))
    np.testing.assert_array_equal(spans.values, np.float32([3600, np.nan, 5400]))


def test_times_of_day_are_seconds():
    column = read(["12:30", "00:00:01.5", "?"])
    assert column.kind == "times"
    np.testing.assert_array_equal(column.values, np.float32([45000, 1.5, np.nan]))


@pytest.mark.parametrize(
    ("values", "shifted"),
    [
        (1_700_000_000 + np.arange(100), True),
        (1e6 + np.arange(100) / 1000, True),
        (1_700_000_000 + 0.0 * np.arange(100) + (np.arange(100) == 5), True),
        (np.arange(100) / 7, False),
        (2000 + np.arange(100) % 20, False),
        (16_000_000 + np.arange(100) % 3, False),  # float32 holds whole numbers up to here
        (np.random.default_rng(0).normal(-119.5, 2, 100), False),
        (10.0 ** np.arange(30), False),
        (np.arange(100) * 1e-50, False),
    ],
)
def test_numbers_whose_spread_float32_cannot_hold_stay_float64(values, shifted):
    column = read(values)
    assert (column.values.dtype == np.float64) is shifted
    assert bool(column.notes) is shifted
    if shifted:
        centered = (column.values - column.values.mean()).astype(np.float32)
        assert len(np.unique(centered)) == len(np.unique(values))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([3, 3, 3], "always 3"),
        ([3.5, np.nan, 3.5], "always 3.5"),
        ([np.nan, np.nan], "empty"),
        ([None, None], "empty"),
        (["a", "a"], "always 'a'"),
        (["?", "?"], "always '?'"),
        (["2020-01-01"] * 2, "always 1577836800"),
        (["a", None], ""),
        ([0, 1], ""),
    ],
)
def test_a_column_that_is_constant_or_empty_says_so(values, why):
    assert read(values).left_out == why


def test_infinite_values_are_a_problem():
    for values in ([np.inf, 1], [1e39, 1], ["inf", "1"]):
        assert read(values).problem == "has infinite values (or too large for float32)"


@pytest.mark.parametrize(("distinct", "problem"), [(100, ""), (101, "101 distinct values, more than 100")])
def test_a_hundred_categories_are_the_most(distinct, problem):
    assert read([f"w{index}" for index in range(distinct)]).problem == problem
    assert read(["a", "w" * 201]).problem == "a value of 201 letters, more than 200"
