"""Raw data by name or from the user's file, before any split or scaling."""

import csv
import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recipes.shared import archives, runtime
from recipes.shared.errors import UsageError
from recipes.shared.files import require_file

Task = Literal["classification", "regression"]
Features = np.ndarray | dict[str, np.ndarray]  # rows first; a dict holds the columns of a table

EMBEDDED: dict[str, Task] = {
    "digits": "classification",
    "breast_cancer": "classification",
    "wine": "classification",
    "iris": "classification",
    "diabetes": "regression",
    "make_regression": "regression",
}
DOWNLOADED: dict[str, Task] = {
    "mnist": "classification",
    "fashion_mnist": "classification",
    "cifar10": "classification",
    "boston_housing": "regression",
    "california_housing": "regression",
}
MOST_CATEGORIES = 100  # a text column with more distinct values is prose or an identifier, not a category
MOST_LETTERS = 200  # in a category or the name of a class
MOST_COLUMNS = 1000  # each becomes an input of the saved model, and layers of its own


@dataclass(frozen=True)
class Raw:
    """Examples as they came: features and targets of the same length, and the test part if the source has its own."""

    features: Features
    targets: np.ndarray
    test_features: Features | None = None
    test_targets: np.ndarray | None = None
    task: Task | None = None  # None: the source does not say
    notes: tuple[str, ...] = ()  # what was decided about them that a user may want to know


def read(data: str, target: str | None = None, header: bool = True) -> Raw:
    """Return the raw examples that `data` names: an embedded set, a `keras.datasets` name, or a file.

    Raises:
        UsageError: there is no such data, the file cannot be used, or a downloaded set cannot be reached.
    """
    suffix = Path(data).suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _read_table(Path(data), target, header)
    if target is not None or not header:
        raise UsageError("--target and --no-header describe a .csv or .tsv file; leave them out for other data")
    if suffix == ".npz":
        return _read_npz(Path(data))
    if data in EMBEDDED:
        return _read_embedded(data)
    if data in DOWNLOADED:
        return _download(data)
    names = ", ".join([*EMBEDDED, *DOWNLOADED])
    raise UsageError(
        f"no data set named {data!r}; use one of {names}, or the path of an .npz, .csv or .tsv file"
        " or of a folder of .npz files or images"
    )


def _read_embedded(name: str) -> Raw:
    from sklearn import datasets  # here, because scikit-learn takes a second to import

    if name == "make_regression":
        x, y = datasets.make_regression(n_samples=100, n_features=1, noise=0.1, random_state=0)
        return Raw(x, y, task="regression")
    bunch = getattr(datasets, f"load_{name}")()
    features = bunch.images if name == "digits" else bunch.data
    classes = EMBEDDED[name] == "classification"
    targets = np.asarray(bunch.target_names)[bunch.target] if classes else bunch.target
    return Raw(features, targets, task=EMBEDDED[name])


def _download(name: str) -> Raw:
    import keras

    try:
        (x, y), (test_x, test_y) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a plain Exception when the download fails
        task = DOWNLOADED[name]
        instead = "digits" if task == "classification" else "diabetes"
        reason = " ".join(str(error).split())
        raise UsageError(
            f"could not download {name} ({reason}); without network, the embedded set --data {instead} serves instead"
        ) from error
    return Raw(x, np.ravel(y), test_x, np.ravel(test_y), task=DOWNLOADED[name])


def _read_npz(path: Path) -> Raw:
    arrays = archives.read(path, needed=("x_train", "y_train"), optional=("x_test", "y_test"))
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise UsageError(f"{path} has only one of x_test and y_test; give both or neither")
    for part in ("train", "test"):
        if f"x_{part}" in arrays:
            check_arrays(path, arrays, f"x_{part}", f"y_{part}")
    if "x_test" in arrays and arrays["x_test"].shape[1:] != arrays["x_train"].shape[1:]:
        raise UsageError(f"{path}: examples in x_train and x_test differ in shape")
    kinds = {arrays[name].dtype.kind for name in ("y_train", "y_test") if name in arrays}
    if len(kinds) > 1 and kinds & set("US"):  # letters, and bytes
        raise UsageError(f"{path}: y_train and y_test differ in type")
    test_targets = np.ravel(arrays["y_test"]) if "y_test" in arrays else None
    return Raw(arrays["x_train"], np.ravel(arrays["y_train"]), arrays.get("x_test"), test_targets)


def check_arrays(path: Path, arrays: Mapping[str, np.ndarray], x_name: str = "x", y_name: str = "y") -> None:
    """Raise a UsageError unless the two arrays of these names are features and targets of as many examples."""
    x, y = arrays[x_name], arrays[y_name]
    if x.dtype.kind not in "biuf":
        raise UsageError(f"{path}: {x_name} holds {x.dtype}, not numbers")
    if y.dtype.kind not in "biufUS":
        raise UsageError(f"{path}: {y_name} holds {y.dtype}; it needs class indices, numbers or text")
    if x.ndim < 2:
        raise UsageError(f"{path}: {x_name} has shape {x.shape}; it needs one row an example")
    if y.ndim == 0 or y.size != len(y):
        raise UsageError(
            f"{path}: {y_name} has shape {y.shape}; it needs one value an example (class indices, not one-hot)"
        )
    if y.dtype.kind == "U":  # NumPy keeps any four bytes as a letter, and Python fails to show it
        letters = np.ascontiguousarray(y.ravel()).view(np.uint32)
        if ((letters > sys.maxunicode) | ((letters >= 0xD800) & (letters <= 0xDFFF))).any():
            raise UsageError(f"{path}: {y_name} has letters that are no Unicode; write other names")
    if len(x) != len(y):
        raise UsageError(f"{path}: {x_name} has {len(x)} examples, {y_name} {len(y)}")
    if x.size == 0:
        raise UsageError(f"{path}: {x_name} is empty")
    if x.dtype.kind != "f":
        return  # whole numbers are finite in float32, whatever their width
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as such
        finite = np.isfinite(x.astype(np.float32)).all()
    if not finite:
        raise UsageError(
            f"{path}: {x_name} has NaN or infinite values (or too large for float32); clean them first:"
            " only a .csv or .tsv may have missing values"
        )


def _read_table(path: Path, target: str | None, header: bool) -> Raw:
    import pandas as pd

    require_file(path)
    runtime.require_memory(f"{path}", path.stat().st_size, "take a part of it, or make it a folder of .npz files")
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    _check_first_line(path, separator, header)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # fields that the header has no name for
            # in one piece: of several, each would guess the types of its columns for itself
            table = pd.read_csv(path, sep=separator, header=0 if header else None, index_col=False, low_memory=False)
    except pd.errors.ParserWarning:
        raise UsageError(f"cannot read {path}: its rows have more fields than its first line has names") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {path}: {error.reason} at byte {error.start}; save it as UTF-8") from None
    except (OSError, ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
        raise UsageError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not header:
        table.columns = [f"column_{index}" for index in range(table.shape[1])]
    table.columns = [str(column) for column in table.columns]
    if table.shape[1] < 2 or table.empty:
        raise UsageError(f"{path} has {len(table)} rows and {table.shape[1]} columns; it needs a target and a feature")

    target = str(table.columns[-1]) if target is None else target
    if target not in table.columns:
        raise UsageError(f"{path} has no column {target!r}; its columns are {', '.join(table.columns)}")
    if table[target].isna().any():
        row = int(np.flatnonzero(table[target].isna())[0])
        raise UsageError(f"{path}: the target column {target!r} is empty in data row {row + 1}; fill or drop such rows")
    unusable = [name for name in table.columns if "/" in name or "\0" in name]
    if unusable:
        raise UsageError(
            f"{path}: Keras cannot name an input {unusable[0]!r}; rename the column without the slash or the NUL"
        )
    features = {str(name): _column(path, str(name), table[name]) for name in table.columns if name != target}
    targets = table[target]
    return Raw(features, _as_text(path, target, targets) if _is_text(targets) else targets.to_numpy())


def _check_first_line(path: Path, separator: str, header: bool) -> None:
    """Raise a UsageError for too many columns, which pandas takes long to read, or two of the same name."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            fields = next((row for row in csv.reader(file, delimiter=separator) if row), [])
    except (OSError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if len(fields) > MOST_COLUMNS:
        raise UsageError(
            f"{path} has {len(fields)} columns, more than {MOST_COLUMNS}; an .npz takes any number of features"
        )
    twice = [name for name, count in Counter(fields).items() if count > 1 and name]  # pandas names empty fields
    if header and twice:
        raise UsageError(f"{path} has several columns with the name {twice[0]!r}; rename them, or use --no-header")


def _is_text(column: Any) -> bool:
    return column.dtype.kind not in "biuf"


def _column(path: Path, name: str, column: Any) -> np.ndarray:
    """Return one feature column: float32 with NaN where it is empty, or text with "" where it is empty."""
    if _is_text(column):
        distinct = column.fillna("").astype(str).nunique()
        if distinct > MOST_CATEGORIES:
            raise UsageError(
                f"{path}: the text column {name!r} has {distinct} distinct values, more than {MOST_CATEGORIES};"
                " drop it, or turn it into numbers or categories first"
            )
        return _as_text(path, name, column)
    with np.errstate(over="ignore"):  # a value too large for float32 becomes infinite, and is refused as such
        numbers = column.to_numpy(dtype=np.float64).astype(np.float32)
    if np.isinf(numbers).any():
        raise UsageError(f"{path}: the column {name!r} has infinite values (or too large for float32)")
    if np.isnan(numbers).all():
        raise UsageError(f"{path}: the column {name!r} is empty; drop it")
    return numbers


def _as_text(path: Path, name: str, column: Any) -> np.ndarray:
    """Return a column as text with "" where it is empty. NumPy gives every row the room of the longest."""
    words = column.fillna("").astype(str)
    longest = int(words.str.len().max())
    if longest > MOST_LETTERS:
        raise UsageError(
            f"{path}: the text column {name!r} has a value of {longest} letters, more than {MOST_LETTERS}; drop it, or"
            " turn it into numbers or categories first"
        )
    runtime.require_memory(f"the column {name!r} of {path}", 4 * longest * len(words), "shorten its longest values")
    return words.to_numpy(dtype=str)
