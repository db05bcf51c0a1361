"""Raw data by name or from the user's file, before any split or scaling."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recipes.shared.errors import UsageError

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


@dataclass(frozen=True)
class Raw:
    """Examples as they came: features and targets of the same length, and the test part if the source has its own."""

    features: Features
    targets: np.ndarray
    test_features: Features | None = None
    test_targets: np.ndarray | None = None
    task: Task | None = None  # None: the source does not say


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
        " or of a folder of .npz files"
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


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by name.

    Raises:
        UsageError: it is not there, broken, or holds what only a pickle can.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:  # a pickle could run any code
            return {name: np.asarray(archive[name]) for name in archive.files}
    except FileNotFoundError:
        raise UsageError(f"no file {path}") from None
    except Exception as error:  # damaged bytes end in errors of zipfile, zlib, tokenize and NumPy's header parser
        reason = "it is no archive of plain arrays" if "pickle" in str(error) else " ".join(str(error).split())
        raise UsageError(
            f"cannot read {path}: {reason}; an .npz is written by np.savez, and never unpickled"
        ) from error


def _read_npz(path: Path) -> Raw:
    arrays = read_arrays(path)
    for name in ("x_train", "y_train"):
        if name not in arrays:
            raise UsageError(f"{path} holds {', '.join(arrays) or 'nothing'}; it needs x_train and y_train")
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise UsageError(f"{path} has only one of x_test and y_test; give both or neither")
    for part in ("train", "test"):
        if f"x_{part}" in arrays:
            check_arrays(path, arrays, f"x_{part}", f"y_{part}")
    if "x_test" in arrays and arrays["x_test"].shape[1:] != arrays["x_train"].shape[1:]:
        raise UsageError(f"{path}: examples in x_train and x_test differ in shape")
    test_targets = np.ravel(arrays["y_test"]) if "y_test" in arrays else None
    return Raw(arrays["x_train"], np.ravel(arrays["y_train"]), arrays.get("x_test"), test_targets)


def check_arrays(path: Path, arrays: Mapping[str, np.ndarray], x_name: str = "x", y_name: str = "y") -> None:
    """Raise a UsageError unless the two arrays of these names are features and targets of as many examples."""
    x, y = arrays[x_name], arrays[y_name]
    if x.dtype.kind not in "biuf":
        raise UsageError(f"{path}: {x_name} holds {x.dtype}, not numbers")
    if x.ndim < 2:
        raise UsageError(f"{path}: {x_name} has shape {x.shape}; it needs one row an example")
    if y.ndim == 0 or y.size != len(y):
        raise UsageError(
            f"{path}: {y_name} has shape {y.shape}; it needs one value an example (class indices, not one-hot)"
        )
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

    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # fields that the header has no name for
            table = pd.read_csv(path, sep=separator, header=0 if header else None, index_col=False)
    except FileNotFoundError:
        raise UsageError(f"no file {path}") from None
    except pd.errors.ParserWarning:
        raise UsageError(f"cannot read {path}: its rows have more fields than its first line has names") from None
    except (OSError, ValueError) as error:  # pandas' own errors, and a wrong encoding, are ValueErrors
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
    unusable = [name for name in table.columns if "/" in name]
    if unusable:
        raise UsageError(f"{path}: Keras cannot name an input {unusable[0]!r}; rename the column without the slash")
    features = {str(name): _column(path, str(name), table[name]) for name in table.columns if name != target}
    targets = table[target]
    return Raw(features, targets.to_numpy(str if _is_text(targets) else None))


def _is_text(column: Any) -> bool:
    return column.dtype.kind not in "biuf"


def _column(path: Path, name: str, column: Any) -> np.ndarray:
    """Return one feature column: float32 with NaN where it is empty, or text with "" where it is empty."""
    if _is_text(column):
        text = column.fillna("").astype(str).to_numpy(dtype=str)
        distinct = len(np.unique(text))
        if distinct > MOST_CATEGORIES:
            raise UsageError(
                f"{path}: the text column {name!r} has {distinct} distinct values, more than {MOST_CATEGORIES};"
                " drop it, or turn it into numbers or categories first"
            )
        return text
    with np.errstate(over="ignore"):  # a value too large for float32 becomes infinite, and is refused as such
        numbers = column.to_numpy(dtype=np.float64).astype(np.float32)
    if np.isinf(numbers).any():
        raise UsageError(f"{path}: the column {name!r} has infinite values (or too large for float32)")
    if np.isnan(numbers).all():
        raise UsageError(f"{path}: the column {name!r} is empty; drop it")
    return numbers
