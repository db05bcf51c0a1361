"""Raw data by name or from the user's file, before any split or scaling."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.shared import archives, tables
from recipes.shared.errors import UsageError

Features = np.ndarray | dict[str, np.ndarray]  # rows first; a dict holds the columns of a table

EMBEDDED = {  # and the task that each is for
    "digits": "classification",
    "breast_cancer": "classification",
    "wine": "classification",
    "iris": "classification",
    "diabetes": "regression",
    "make_regression": "regression",
}
DOWNLOADED = {
    "mnist": "classification",
    "fashion_mnist": "classification",
    "cifar10": "classification",
    "boston_housing": "regression",
    "california_housing": "regression",
}


@dataclass(frozen=True)
class Raw:
    """Examples as they came: features and targets of the same length, and the test part if the source has its own.

    `parts` says of each example that it is for train, validation or test, if a column of a table does. `notes` say in
    one line each what was decided while reading.
    """

    features: Features
    targets: np.ndarray
    test_features: Features | None = None
    test_targets: np.ndarray | None = None
    task: str | None = None  # its name; None: the source does not say
    parts: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def read(data: str, options: tables.Options | None = None, one_value: bool = True) -> Raw:
    """Return the raw examples that `data` names: an embedded set, a `keras.datasets` name, or a file.

    Args:
        data: the name.
        options: for a table.
        one_value: refuse arrays of targets that have more than one value an example.

    Raises:
        UsageError: there is no such data, the file cannot be used, or a downloaded set cannot be reached.
    """
    options = options or tables.Options()
    if tables.is_table(data):
        table = tables.read(Path(data), options)
        return Raw(table.features(options), table.targets, parts=table.parts, notes=tuple(table.notes))
    options.require_none()
    if Path(data).suffix.lower() == ".npz":
        return _read_npz(Path(data), one_value)
    if data in EMBEDDED:
        return _read_embedded(data)
    if data in DOWNLOADED:
        return _download(data)
    raise UsageError(unknown(data))


def unknown(data: str) -> str:
    """Return what to say of a name that is no data set's."""
    return (
        f"no data set named {data!r}; use one of {', '.join([*EMBEDDED, *DOWNLOADED])}, or the path of a file"
        f" (.npz, {', '.join(tables.SUFFIXES)}) or of a folder of .npz files or images"
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


def _read_npz(path: Path, one_value: bool) -> Raw:
    arrays = archives.read(path, needed=("x_train", "y_train"), optional=("x_test", "y_test"))
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise UsageError(f"{path} has only one of x_test and y_test; give both or neither")
    for part in ("train", "test"):
        if f"x_{part}" in arrays:
            check_arrays(path, arrays, f"x_{part}", f"y_{part}", one_value)
            arrays[f"y_{part}"] = flat(arrays[f"y_{part}"])
    if "x_test" in arrays and arrays["x_test"].shape[1:] != arrays["x_train"].shape[1:]:
        raise UsageError(f"{path}: examples in x_train and x_test differ in shape")
    kinds = {arrays[name].dtype.kind for name in ("y_train", "y_test") if name in arrays}
    if len(kinds) > 1 and kinds & set("US"):  # letters, and bytes
        raise UsageError(f"{path}: y_train and y_test differ in type")
    return Raw(arrays["x_train"], arrays["y_train"], arrays.get("x_test"), arrays.get("y_test"))


def flat(targets: np.ndarray) -> np.ndarray:
    """Return targets of one value an example as (examples,), others as they are."""
    return targets.ravel() if targets.size == len(targets) else targets


def check_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], x_name: str = "x", y_name: str = "y", one_value: bool = True
) -> None:
    """Raise a UsageError unless the two arrays of these names are features and targets of as many examples."""
    x, y = arrays[x_name], arrays[y_name]
    if x.dtype.kind not in "biuf":
        raise UsageError(f"{path}: {x_name} holds {x.dtype}, not numbers")
    if y.dtype.kind not in "biufUS":
        raise UsageError(f"{path}: {y_name} holds {y.dtype}; it needs class indices, numbers or text")
    if x.ndim < 2:
        raise UsageError(f"{path}: {x_name} has shape {x.shape}; it needs one row an example")
    if y.ndim == 0 or (one_value and y.size != len(y)):
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
            " only a table (.csv, .tsv, .parquet) may have missing values"
        )
