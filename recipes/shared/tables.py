"""Tables from the user's files: .csv and .tsv, also as .gz, and .parquet. pandas reads them; what we decide is said."""

import csv
import gzip
import importlib.util
import io
import re
import shlex
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recipes.shared import columns, runtime
from recipes.shared.columns import Column, Decimal, Wish
from recipes.shared.errors import UsageError
from recipes.shared.files import require_file
from recipes.shared.hparams import HParams

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
MOST_COLUMNS = 1000  # each becomes an input of the saved model, and layers of its own
SAMPLE = 2**16  # characters of a file that show how its fields are separated
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
PARTS = ("train", "validation", "test")
UNNAMED = re.compile(r"(Unnamed: \d+|__index_level_\d+__)?")  # what pandas reads, and writes, where a name is missing
# Keras names an input after its column, and wants the name of every layer in a model to be its own.
LAYER_NAMES = re.compile(
    r"(preprocessing|sequential|functional|normalization|string_lookup|concatenate|is_?nan|where)(_\d+)?"
)
SHIFTING_NAMES = re.compile(r"(cast|subtract)(_\d+)?")  # where numbers are shifted


@dataclass(frozen=True)
class Options:
    """What the user has said of a table; as `HParams` has it."""

    target: str | None = None
    header: bool = True
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    split_column: str | None = None

    @classmethod
    def of(cls, hparams: HParams) -> "Options":
        """Return those among `hparams`."""
        return cls(**{name: getattr(hparams, name) for name in cls.__dataclass_fields__})

    def require_none(self) -> None:
        """Raise a UsageError if anything is said, for data that is no table."""
        for name in self.__dataclass_fields__:
            if getattr(self, name) != getattr(Options(), name):
                flag = "--no-header" if name == "header" else "--" + name.replace("_", "-")
                raise UsageError(f"{flag} describes a table ({', '.join(SUFFIXES)}); leave it out for other data")

    def wish(self, name: str) -> Wish | None:
        """Return what the user has said that the column `name` is."""
        return "numeric" if name in self.numeric else "categorical" if name in self.categorical else None


@dataclass(frozen=True)
class Table:
    """A file as it is trained on.

    Attributes:
        path: the file.
        columns: all features, also those that cannot be trained on, in the order of the file.
        target: the name of the column to predict.
        targets: its values, one a row.
        parts: for each row train, validation or test, if a column says so.
        left_out: why a column is no feature, by its name.
        notes: what was decided, in one line each.
    """

    path: Path
    columns: dict[str, Column]
    target: str
    targets: np.ndarray
    parts: np.ndarray | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def features(self, options: Options) -> dict[str, np.ndarray]:
        """Return the values of the columns that carry something.

        Raises:
            UsageError: one cannot be trained on; columns with too many values are all named at once.
        """
        too_many = [name for name, column in self.columns.items() if column.problem and column.kind == "text"]
        if too_many:
            raise UsageError(self._too_many(too_many, options))
        for name, column in self.columns.items():
            if column.problem:
                raise UsageError(
                    f"{self.path}: the column {name!r} {column.problem}; mend the file, or leave the column out with"
                    f" {_flag('drop', [*options.drop, name])}, or take its values for categories with"
                    f" {_flag('categorical', [*options.categorical, name])}"
                )
        if not self.columns:
            why = ", ".join(f"{name!r} ({reason})" for name, reason in self.left_out.items())
            raise UsageError(f"{self.path} has no column left to learn from: {why}; it needs a target and a feature")
        _require_names(self.path, self.columns)
        return {name: column.values for name, column in self.columns.items()}

    def _too_many(self, names: list[str], options: Options) -> str:
        what = ", ".join(f"{name!r} ({self.columns[name].problem})" for name in names)
        if options.keep:
            remedy = _flag("keep", [name for name in options.keep if name not in names])
        else:
            remedy = _flag("drop", [*options.drop, *names])
        several = "the text columns" if len(names) > 1 else "the text column"
        return (
            f"{self.path}: {several} {what} cannot be encoded as categories; leave"
            f" {'them' if len(names) > 1 else 'it'} out with {remedy}"
        )


def is_table(data: str) -> bool:
    """Return whether `data` is named like a table."""
    return data.lower().endswith(SUFFIXES)


def read(path: Path, options: Options) -> Table:
    """Return the table in a file. A feature that cannot be trained on stands in it with its problem.

    Raises:
        UsageError: the file cannot be read, or its target, or it has not the columns that `options` names.
    """
    require_file(path)
    notes: list[str] = []
    decimal: Decimal = "."
    if path.suffix.lower() == ".parquet":
        if not options.header:
            raise UsageError("a .parquet file names its columns; leave out --no-header")
        frame = _read_parquet(path)
    else:
        frame, decimal = _read_text(path, options, notes)
    _require_columns(path, frame, options)
    left_out = {name: "by --drop" for name in frame.columns if name in options.drop}
    left_out |= _nameless(frame, options)
    names = [name for name in frame.columns if name not in left_out and name != options.split_column]
    if frame.empty or len(names) < (1 if left_out else 2):
        raise UsageError(f"{path} has {len(frame)} rows and {frame.shape[1]} columns; it needs a target and a feature")
    target = names[-1] if options.target is None else options.target
    targets = _targets(path, target, frame[target], options.wish(target), decimal, notes)
    parts = None if options.split_column is None else _parts(path, options.split_column, frame[options.split_column])
    found = _features(frame[[name for name in names if name != target]], options, decimal, left_out, notes)
    chosen = ("by --drop", "not among --keep")
    decided = {name: why for name, why in left_out.items() if why not in chosen}
    if decided:
        position = {name: f"column {index + 1}" for index, name in enumerate(frame.columns)}
        labels = {name: position[name] if UNNAMED.fullmatch(name) else repr(name) for name in decided}
        notes.append("left out: " + ", ".join(f"{labels[name]} ({why})" for name, why in decided.items()))
    return Table(path, found, target, targets, parts, left_out, [f"{path}: {note}" for note in notes])


def _features(
    frame: Any, options: Options, decimal: Decimal, left_out: dict[str, str], notes: list[str]
) -> dict[str, Column]:
    """Return the columns to learn from; add to `left_out` and `notes` what is to be said of them."""
    found: dict[str, Column] = {}
    for name in frame.columns:
        if options.keep and name not in options.keep:
            left_out[name] = "not among --keep"
            continue
        column = columns.read(frame[name], options.wish(name), decimal)
        if column.left_out == "empty" or (column.left_out and name not in options.keep):
            left_out[name] = column.left_out
            continue
        found[name] = column
        notes += [f"the column {name!r} {note}" for note in column.notes]
        if options.header and name not in options.keep and _counts_rows(frame[name]):
            flag = _flag("drop", [*options.drop, name])
            notes.append(f"the column {name!r} counts the rows; if it is no feature, leave it out with {flag}")
    return found


def _read_parquet(path: Path) -> Any:
    import pandas as pd

    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(
            f"cannot read {path}: a .parquet file needs pyarrow; pip install 'keras-training-recipes[parquet]'"
        )
    _require_memory(path, path.stat().st_size)
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except Exception as error:  # pyarrow's own errors, of damaged bytes as well
        raise UsageError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    _require_few(path, frame.shape[1])
    frame.columns = [str(name).strip() for name in frame.columns]
    _require_distinct(path, list(frame.columns), "rename them")
    return _tidy(frame.reset_index(drop=True))


def _read_text(path: Path, options: Options, notes: list[str]) -> tuple[Any, Decimal]:
    """Return what is in a file of separated values, and its decimal mark; say how it was read."""
    _require_memory(path, _size(path))
    sample = _sample(path)
    delimiter = find_delimiter(sample, "\t" if ".tsv" in path.name.lower() else ",")
    fields = next(iter(_records(sample, delimiter)), [])
    _check_first_line(path, fields, options)
    frame = _parse(path, delimiter, ".", options)
    decimal = find_decimal(frame, delimiter)
    if decimal == ",":
        if delimiter != ",":  # else they are in quotes, which is text to pandas
            frame = _parse(path, delimiter, ",", options)
        notes.append("commas are decimal marks")
    if delimiter != ("\t" if ".tsv" in path.name.lower() else ","):
        notes.insert(0, f"fields are separated by {DELIMITERS[delimiter]}")
    return frame, decimal


def _parse(path: Path, delimiter: str, decimal: Decimal, options: Options) -> Any:
    """Return what pandas reads, its names and texts without spaces around them."""
    import pandas as pd

    def parse(**more: Any) -> Any:
        # in one piece: of several, each would guess the types of its columns for itself
        return pd.read_csv(
            path,
            sep=delimiter,
            decimal=decimal,
            header=0 if options.header else None,
            index_col=False,
            low_memory=False,
            skipinitialspace=True,
            **more,
        )

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # fields that the header has no name for
            names = parse(nrows=0).columns if options.categorical else []
            # 007 and 1.0 are names there
            as_written = {
                name: str
                for name, plain in zip(names, _names(names, options), strict=True)
                if plain in options.categorical
            }
            frame = parse(dtype=as_written)
    except pd.errors.ParserWarning:
        raise UsageError(f"cannot read {path}: its rows have more fields than its first line has names") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {path}: {error.reason} at byte {error.start}; save it as UTF-8") from None
    except (OSError, ValueError, OverflowError, EOFError, zlib.error) as error:  # pandas' own errors are ValueErrors
        raise UsageError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    frame.columns = _names(frame.columns, options)
    _require_distinct(path, list(frame.columns), "rename them, or use --no-header")
    return _tidy(frame)


def _names(names: Iterable[Any], options: Options) -> list[str]:
    return [str(name).strip() if options.header else f"column_{index}" for index, name in enumerate(names)]


def _tidy(frame: Any) -> Any:
    """Return `frame` without spaces around its texts; a text that then is empty is missing."""
    for position, name in enumerate(frame.columns):
        series = frame.iloc[:, position]
        if not columns.is_text(series):
            continue
        codes, distinct = series.factorize()
        originals = np.asarray(distinct, dtype=object).tolist()
        plain = [text.strip() if isinstance(text, str) else text for text in originals]
        if plain != originals:
            values = np.array([*(text if text != "" else None for text in plain), None], dtype=object)
            frame[name] = values[codes]
    return frame


def _size(path: Path) -> int:
    """Return how many bytes of text a file holds; of a compressed one no more are counted than memory has room for."""
    if path.suffix.lower() != ".gz":
        return path.stat().st_size
    size, most = 0, runtime.machine_memory()
    try:
        with gzip.open(path) as file:
            while size <= most and (block := file.read(2**20)):
                size += len(block)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read {path}: {error}; it is no whole gzip file") from error
    return size


def _require_memory(path: Path, size: int) -> None:
    runtime.require_memory(f"{path}", size, "take a part of it, or make it a folder of .npz files")


def _sample(path: Path) -> str:
    """Return the beginning of a file as text, to the end of a line."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            beginning = file.read(SAMPLE) + file.readline(SAMPLE * 1024)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return beginning.decode("utf-8-sig", errors="replace")


def _records(sample: str, delimiter: str) -> Iterable[list[str]]:
    """Yield the fields of each record of `sample`, without spaces, until one cannot be read; lines may be empty."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if row:
                yield [text.strip() for text in row]
    except csv.Error:  # a field longer than csv takes, or a NUL
        return


def find_delimiter(sample: str, expected: str) -> str:
    """Return which of the usual delimiters separates the fields of `sample`; `expected` if none does.

    It is the one that cuts every record into as many fields, two at least; the first of several, commas last: a decimal
    comma may stand in every record just as often. If there is none, it is the expected one if that is in the first
    record, or else the one that is there most often: the records then are refused where they differ.
    """
    widths = {each: [len(row) for row in _records(sample, each)] for each in DELIMITERS}
    if not widths[expected]:
        return expected
    # the last record may have been cut off within quotes
    widths = {each: counts[:-1] if len(counts) > 2 else counts for each, counts in widths.items()}
    even = [each for each, counts in widths.items() if counts and counts[0] > 1 and len(set(counts)) == 1]
    if even:
        order = [*dict.fromkeys(["\t" if expected == "\t" else ";", "\t", ";", "|", ","])]
        return min(even, key=order.index)
    first = {each: counts[0] for each, counts in widths.items() if counts}
    return expected if first.get(expected, 0) > 1 else max(first, key=lambda each: (first[each], each == expected))


def find_decimal(frame: Any, delimiter: str) -> Decimal:
    """Return the decimal mark of a file, from its columns that pandas has read with a point for it.

    A column as 1,5 or 0,998 tells. One as 1,234 does not: if nothing else does, it is thousands, but in a file with
    semicolons for delimiters, which are there for the sake of decimal commas, and no number with a point.
    """
    undecided = False
    for position in range(frame.shape[1]):
        series = frame.iloc[:, position]
        if not columns.is_text(series):
            continue
        texts = [text for text in series.dropna().unique()[: columns.SAMPLE].tolist() if isinstance(text, str)]
        commas, points = (
            sum("," in text and columns.number(text, mark) is not None for text in texts) for mark in (",", ".")
        )
        if commas > points and 2 * commas > len(texts):
            return ","
        undecided = undecided or 0 < commas == points
    fractions = any(frame.iloc[:, position].dtype.kind == "f" for position in range(frame.shape[1]))
    return "," if undecided and delimiter == ";" and not fractions else "."


def _check_first_line(path: Path, fields: Sequence[str], options: Options) -> None:
    """Raise a UsageError for too many columns, which pandas takes long to read, two of the same name, or no names."""
    _require_few(path, len(fields))
    if not options.header:
        return
    numbers = [columns.number(text, ".") is not None for text in fields]
    fractions = any(number and "." in text for number, text in zip(numbers, fields, strict=True))
    if fields and (all(numbers) or fractions) and options.target not in fields:
        raise UsageError(
            f"{path}: are there names in its first line, {', '.join(fields)}? If it is data, add --no-header;"
            f" if these are names, say which is to be predicted: {_flag('target', [fields[-1]])}"
        )
    _require_distinct(path, fields, "rename them, or use --no-header")


def _require_few(path: Path, count: int) -> None:
    if count > MOST_COLUMNS:
        raise UsageError(f"{path} has {count} columns, more than {MOST_COLUMNS}; an .npz takes any number of features")


def _require_distinct(path: Path, names: Sequence[str], remedy: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1 and name]  # pandas names empty fields
    if twice:
        raise UsageError(f"{path} has several columns with the name {twice[0]!r}; {remedy}")


def _require_columns(path: Path, frame: Any, options: Options) -> None:
    """Raise a UsageError unless the columns that the user names are there, and the flags do not contradict."""
    there = ", ".join(frame.columns)
    if options.target is not None and options.target not in frame.columns:
        raise UsageError(f"{path} has no column {options.target!r}; its columns are {there}")
    flags = {name: getattr(options, name) for name in ("drop", "keep", "numeric", "categorical")}
    flags["split_column"] = () if options.split_column is None else (options.split_column,)
    for flag, names in flags.items():
        for name in names:
            if name not in frame.columns:
                raise UsageError(
                    f"{path} has no column {name!r} for --{flag.replace('_', '-')}; its columns are {there}"
                )
    if options.drop and options.keep:
        raise UsageError("--keep names the only columns to learn from; leave out --drop")
    for one, other in (("numeric", "categorical"), ("drop", "split_column")):
        both = set(flags[one]) & set(flags[other])
        if both:
            raise UsageError(f"{both.pop()!r} is named by both --{one} and --{other.replace('_', '-')}; leave one out")
    if options.target is not None:
        for flag in ("drop", "split_column"):
            if options.target in flags[flag]:
                raise UsageError(
                    f"{options.target!r} is the target, and cannot be named by --{flag.replace('_', '-')} as well"
                )


def _require_names(path: Path, found: dict[str, Column]) -> None:
    """Raise a UsageError for a name that Keras cannot give an input."""
    shifting = any(column.values.dtype == np.float64 for column in found.values())
    for name in found:
        remedy = f"rename the column, or leave it out with {_flag('drop', [name])}"
        if "/" in name or "\0" in name:
            raise UsageError(f"{path}: Keras cannot name an input {name!r}: it has a slash or a NUL; {remedy}")
        if LAYER_NAMES.fullmatch(name) or (shifting and SHIFTING_NAMES.fullmatch(name)):
            raise UsageError(f"{path}: the column {name!r} has the name of a Keras layer; {remedy}")


def _nameless(frame: Any, options: Options) -> dict[str, str]:
    """Return why columns without a name are left out, by the name that pandas gives them: empty, or counting rows."""
    found = {}
    for name in frame.columns:
        if name in options.keep or name in options.drop or name == options.target:
            continue
        if options.header and not UNNAMED.fullmatch(name):
            continue
        series = frame[name]
        if series.isna().all():
            found[name] = "it has no name and is empty"
        elif options.header and _is_index(series):
            found[name] = "it has no name and counts the rows"
    return found if len(frame) else {}


def _counts_rows(series: Any) -> bool:
    """Return whether the values are 0, 1, 2, ... or 1, 2, 3, ..."""
    first, last = series.iloc[0], series.iloc[-1]
    return bool(_is_index(series) and first in (0, 1) and last - first == len(series) - 1)


def _is_index(series: Any) -> bool:
    """Return whether the values are those of an index: whole numbers that ascend, as rows that were kept leave them."""
    return bool(series.dtype.kind in "iu" and series.is_monotonic_increasing and series.is_unique)


def _targets(path: Path, name: str, series: Any, wish: Wish | None, decimal: Decimal, notes: list[str]) -> np.ndarray:
    """Return what is to be predicted: numbers as pandas has read them, or text.

    Raises:
        UsageError: a row has none.
    """
    _require_full(path, name, series.isna())
    if wish == "categorical" or not columns.is_text(series):
        return _as_text(path, name, series) if wish == "categorical" else series.to_numpy()
    column = columns.from_text(series, wish, decimal)
    if column is not None and column.kind == "numbers" and (not column.problem or wish):
        if column.problem:
            raise UsageError(f"{path}: the target column {name!r} {column.problem}; mend or drop such rows")
        _require_full(path, name, np.isnan(column.values))
        notes += [f"the target {name!r} {note}" for note in column.notes]
        return column.values
    return _as_text(path, name, series)


def _require_full(path: Path, name: str, missing: Any) -> None:
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise UsageError(f"{path}: the target column {name!r} is empty in data row {row + 1}; fill or drop such rows")


def _as_text(path: Path, name: str, series: Any) -> np.ndarray:
    """Return targets as text."""
    words = series.astype(str)
    longest = int(words.str.len().max())
    if longest > columns.MOST_LETTERS:
        raise UsageError(
            f"{path}: the target column {name!r} has a value of {longest} letters, more than {columns.MOST_LETTERS};"
            " shorten it, or choose another --target"
        )
    runtime.require_memory(f"the column {name!r} of {path}", 4 * longest * len(words), "shorten its longest values")
    return words.to_numpy(dtype=str)


def _parts(path: Path, name: str, series: Any) -> np.ndarray:
    """Return for each row the part that a column puts it in.

    Raises:
        UsageError: it has other values, or no row for training or for the test.
    """
    words = series.astype(object).where(series.notna(), "").astype(str).str.lower().to_numpy(dtype=object)
    odd = np.flatnonzero(~np.isin(words, PARTS))
    if len(odd):
        value = series.iloc[int(odd[0])]
        raise UsageError(
            f"{path}: the column {name!r} has {value!r} in data row {odd[0] + 1}; --split-column takes a column of"
            f" {', '.join(PARTS)}"
        )
    for part in ("train", "test"):
        if part not in words:
            raise UsageError(f"{path}: the column {name!r} puts no row into the part {part}; it needs train and test")
    return words.astype(str)


def _flag(name: str, values: Sequence[str]) -> str:
    """Return a flag with its values, as it is typed."""
    return f"--{name.replace('_', '-')} {shlex.join(values)}"
