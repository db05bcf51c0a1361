"""A folder of .npz files as data: which file is which part, each checked against the first of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.shared import archives, sources
from recipes.shared.errors import UsageError


@dataclass(frozen=True)
class Folder:
    """The files of the three parts, in the order of their names. Each holds arrays `x` and `y`, one row an example.

    `one_value` is whether a target that is not a single value is refused.
    """

    path: Path
    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    test: tuple[Path, ...]
    one_value: bool = True

    def read(self, file: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return `x` and `y` of a file, targets of a single value as (examples,).

        Raises:
            UsageError: it is broken, or its arrays cannot be examples.
        """
        arrays = archives.read(file, needed=("x", "y"))
        sources.check_arrays(file, arrays, one_value=self.one_value)
        return arrays["x"], sources.flat(arrays["y"])

    def read_alike(self, *parts: tuple[Path, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield `x` and `y` of every file of `parts`, checked to be alike.

        Raises:
            UsageError: as `read`, or a file differs from the first one for training.
        """
        first = None
        for file in (self.train[0], *(file for part in parts for file in part)):
            x, y = self.read(file)
            # texts may differ in length, and so in dtype
            kind = f"x of shape (examples, {', '.join(map(str, x.shape[1:]))}) and {x.dtype}", y.dtype.kind
            if first is not None and kind != first:
                what = kind[0] if kind[0] != first[0] else f"y of {y.dtype}"
                raise UsageError(f"{file} has {what}, unlike {self.train[0].name}")
            if first is not None:
                yield x, y
            first = kind


def find(path: Path, train_on_validation: bool = False, one_value: bool = True) -> Folder:
    """Return the files in the folder `path`: train-*.npz, validation.npz or validation-*.npz, test.npz or test-*.npz.

    Without files for validation the last one for training is held out. With `train_on_validation` what is for
    validation is trained on too.

    Raises:
        UsageError: a part is missing.
    """
    train, validation, test = (
        tuple(sorted([*path.glob(f"{part}.npz"), *path.glob(f"{part}-*.npz")]))
        for part in ("train", "validation", "test")
    )
    for part, files in (("train-*", train), ("test", test)):
        if not files:
            raise UsageError(
                f"the folder {path} has no {part}.npz; it needs train-*.npz and test.npz, each with x and y,"
                " or a folder of images for each class"
            )
    if not validation:
        train, validation = train[:-1], train[-1:]
    if not train:
        raise UsageError(f"the folder {path} has a single file for training; it needs two, or a validation.npz")
    return Folder(path, train + validation if train_on_validation else train, validation, test, one_value)
