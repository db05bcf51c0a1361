"""One column of a table: what kind it is, and its values as an array. What is not as plain as it looks is said.

pandas has read the file. What is left are columns of text that a reader would take for numbers, dates or times.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from recipes.shared import runtime

Kind = Literal["numbers", "true or false", "dates", "times", "text"]
Wish = Literal["numeric", "categorical"]  # what the user has said of a column
Decimal = Literal[".", ","]

MOST_CATEGORIES = 100  # a text column with more distinct values is prose or an identifier, not a category
MOST_LETTERS = 200  # in a category or the name of a class
Parser = Callable[[list[str], np.ndarray, Decimal], tuple[np.ndarray, tuple[str, ...]]]
# Beyond what pandas takes for missing; in lower case.
MARKS = ("", "?", "??", "-", "--", "---", ".", "..", "...", "*", "#n/a", "na", "n/a", "n.a.", "nan", "null", "nil")
MISSING = frozenset([*MARKS, "none", "missing", "unknown", "not available", "not applicable"])
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
GROUPS = r"[+-]?\d{1,3}([%s' \u00a0\u202f]\d{3})+([%s]\d*)?"  # 1,234,567.8 with any of the usual separators
GROUPED: dict[Decimal, re.Pattern[str]] = {
    ".": re.compile(GROUPS % (",", "."), re.ASCII),
    ",": re.compile(GROUPS % (".", ","), re.ASCII),
}
SEPARATORS = str.maketrans("", "", ",.' \u00a0\u202f")
SAMPLE = 1000  # distinct values, which tell what a column's decimal mark is
CLOCK = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?"
TIME = re.compile(CLOCK, re.ASCII)
DATE = re.compile(rf"\d{{4}}-\d{{2}}(-\d{{2}}([T ]{CLOCK} ?(Z|[+-]\d{{2}}(:?\d{{2}})?)?)?)?", re.ASCII)
# Of a column's spread: an error that float32 may make without harm, and which data near zero never reach.
MOST_ROUNDING = 1e-4


@dataclass(frozen=True)
class Column:
    """One column as it is trained on.

    Attributes:
        kind: what its values are.
        values: float32 with NaN where nothing is; float64 for numbers that have to be shifted before float32 can hold
            them; or text with "" where nothing is.
        notes: what was decided about it, each the rest of a sentence that begins with the column's name.
        left_out: why it carries nothing; empty if it does.
        problem: why it cannot be trained on; empty if it can.
    """

    kind: Kind
    values: np.ndarray
    notes: tuple[str, ...] = ()
    left_out: str = ""
    problem: str = ""


def read(series: Any, wish: Wish | None = None, decimal: Decimal = ".") -> Column:
    """Return the column that a pandas Series of a table holds.

    Args:
        series: the column, its text without spaces around it.
        wish: what the user has said that it is.
        decimal: which of "." and "," is the decimal mark where a column itself does not tell.
    """
    if wish == "categorical":
        return _text(series)
    if series.dtype.kind in "mM":  # a .parquet file knows dates
        return _from_dates(series)
    if not is_text(series):
        kind: Kind = "true or false" if series.dtype.kind == "b" else "numbers"
        return _checked(Column(kind, series.to_numpy(dtype=np.float64, na_value=np.nan)))
    return _checked(from_text(series, wish, decimal) or _text(series))


def is_text(series: Any) -> bool:
    """Return whether pandas has read a column as text."""
    return series.dtype.kind not in "biufmM"


def from_text(series: Any, wish: Wish | None = None, decimal: Decimal = ".") -> Column | None:
    """Return a column whose values were read as text and mostly are numbers, dates or times, or None if they are not.

    A column with other values in between is returned with its problem.
    """
    codes, distinct = _distinct(series)
    counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
    missing = np.array([text.lower() in MISSING for text in distinct], dtype=bool)
    there = counts[~missing].sum()
    parsers: dict[Kind, Parser] = {"numbers": numbers, "dates": _dates, "times": _times}
    for kind, parse in parsers.items():
        values, notes = parse(distinct, missing, decimal)
        known = ~np.isnan(values)
        forced = wish == "numeric" and kind == "numbers"
        if not forced and 2 * counts[known].sum() <= there:
            continue
        marks = [repr(text) for text, mark, count in zip(distinct, missing, counts, strict=True) if mark and text]
        if marks:
            notes = (f"takes {', '.join(marks)} for missing ({counts[missing].sum()} values)", *notes)
        column = Column(kind, np.append(values, np.nan)[codes], notes)  # the code of what pandas takes for missing: -1
        odd = np.flatnonzero(~known & ~missing)
        if len(odd):
            row = int(np.flatnonzero(np.isin(codes, odd))[0])
            most = "" if forced else f", and {kind} in most others"
            column = replace(column, problem=f"has {distinct[codes[row]]!r} in data row {row + 1}{most}")
        return column
    return None


def numbers(distinct: list[str], missing: np.ndarray, decimal: Decimal) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the numbers that texts stand for, NaN for those that are none, and what is to be said about them.

    A comma or a point means what lets more of them be numbers; `decimal` decides if that is the same.
    """
    present = ["" if mark else text for text, mark in zip(distinct, missing, strict=True)]
    sample = [text for text in present if text]
    sample = sample[:: max(1, len(sample) // SAMPLE)]  # of all of the column: a hundred thousand words take a second
    marks: tuple[Decimal, Decimal] = (".", ",") if decimal == "." else (",", ".")
    known = {mark: sum(number(text, mark) is not None for text in sample) for mark in marks}
    if not any(known.values()):
        return np.full(len(distinct), np.nan), ()
    mark = max(known, key=lambda each: known[each])  # the first of equals
    values = [number(text, mark) for text in present]
    notes = _example(present, values, "with a percent sign", lambda text: "%" in text)
    if mark == ",":
        notes += _example(present, values, "with a decimal comma", lambda text: "," in text)
    notes += _example(present, values, "with thousands apart", lambda text: bool(GROUPED[mark].fullmatch(text)))
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64), tuple(notes)


def _example(texts: list[str], values: list[float | None], what: str, chosen: Callable[[str], bool]) -> list[str]:
    """Return a note with the first number that was written in a way that is `chosen`, if any was."""
    for text, value in zip(texts, values, strict=True):
        if value is not None and chosen(text):
            return [f"has numbers {what}: {text!r} is {value:.15g}"]
    return []


def number(text: str, decimal: Decimal) -> float | None:
    """Return the number that `text` is written as, or None."""
    text = text.removesuffix("%").rstrip()
    if not text or text[0] not in "0123456789+-.,iI":
        return None  # most words end here
    if GROUPED[decimal].fullmatch(text):
        whole, point, fraction = text.partition(decimal)
        text = whole.translate(SEPARATORS) + ("." + fraction if point else "")
    elif decimal == ",":
        if "." in text:
            return None
        text = text.replace(",", ".")
    return float(text) if PLAIN.fullmatch(text) else None


def _dates(distinct: list[str], missing: np.ndarray, _: Decimal) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the seconds from 1970 on, in UTC, that ISO dates stand for, and NaN for what is none."""
    import pandas as pd

    texts = [None if mark or not DATE.fullmatch(text) else text for text, mark in zip(distinct, missing, strict=True)]
    if not any(texts):
        return np.full(len(texts), np.nan), ()
    stamps = pd.Series(pd.to_datetime(pd.Series(texts, dtype=object), format="ISO8601", utc=True, errors="coerce"))
    return _seconds(stamps), ()


def _times(distinct: list[str], missing: np.ndarray, _: Decimal) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the seconds that times such as 12:30 or 12:30:59 stand for, and NaN for what is none."""
    values = np.full(len(distinct), np.nan)
    for index, text in enumerate(distinct):
        if TIME.fullmatch(text):
            parts = [float(part) for part in text.replace(",", ".").split(":")]
            values[index] = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    return values, ("holds times: their seconds",)


def _from_dates(series: Any) -> Column:
    if series.dtype.kind == "m":
        return _checked(Column("times", series.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)))
    return _checked(Column("dates", _seconds(series)))


def _seconds(stamps: Any) -> np.ndarray:
    import pandas as pd

    start = pd.Timestamp(0, tz=stamps.dt.tz)
    return ((stamps - start) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64, na_value=np.nan)


def _checked(column: Column) -> Column:
    """Return the column in the type that it is trained in, with what keeps it from that."""
    if column.kind == "text" or column.problem:
        return column
    values = column.values
    with np.errstate(over="ignore"):  # a value too large for float32 becomes infinite, and is refused as such
        narrow = values.astype(np.float32)
    there = ~np.isnan(values)
    if not there.any():
        return replace(column, values=narrow, left_out="empty")
    if np.isinf(narrow[there]).any():
        return replace(column, problem="has infinite values (or too large for float32)")
    lowest, highest = values[there].min(), values[there].max()
    if lowest == highest:
        return replace(column, values=narrow, left_out=f"always {lowest:.15g}")
    if column.kind == "dates":
        note = "holds dates: their seconds since 1970, shifted before they become float32"
        return replace(column, notes=(*column.notes, note))
    if _loses(values[there], narrow[there]):
        note = f"has values so far from 0 ({lowest:.15g} to {highest:.15g}) that they are shifted before float32"
        return replace(column, notes=(*column.notes, note))
    return replace(column, values=narrow)


def _loses(values: np.ndarray, narrow: np.ndarray) -> bool:
    """Return whether `narrow`, which is `values` as float32, lacks what tells them apart."""
    largest = float(np.abs(values).max())
    if largest * np.finfo(np.float32).eps / 2 <= MOST_ROUNDING * float(values.std()):
        return False
    return bool((narrow != values).any())


def _text(series: Any) -> Column:
    """Return a column as text with "" where it is empty. NumPy gives every row the room of the longest."""
    words = series.astype(object).where(series.notna(), "").astype(str)
    distinct = words.unique()
    longest = max(map(len, distinct))
    problem = ""
    if len(distinct) > MOST_CATEGORIES:
        problem = f"{len(distinct)} distinct values, more than {MOST_CATEGORIES}"
    elif longest > MOST_LETTERS:
        problem = f"a value of {longest} letters, more than {MOST_LETTERS}"
    if problem:
        return Column("text", words.to_numpy(dtype=object), problem=problem)
    runtime.require_memory(f"the column {series.name!r}", 4 * longest * len(words), "shorten its longest values")
    left_out = "" if len(distinct) > 1 else f"always {distinct[0]!r}" if distinct[0] else "empty"
    return Column("text", words.to_numpy(dtype=str), left_out=left_out)


def _distinct(series: Any) -> tuple[np.ndarray, list[str]]:
    """Return for each row the position of its value, -1 where pandas takes it for missing, and the distinct values."""
    codes, distinct = series.factorize()
    return codes, [str(value) for value in np.asarray(distinct, dtype=object).tolist()]
