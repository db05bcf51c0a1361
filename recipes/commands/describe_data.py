"""`recipes data`: what a recipe would be trained on, shown without training and without importing TensorFlow."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from recipes.commands import catalog, flags
from recipes.shared import examples, images, pixels, sources, tables, tasks
from recipes.shared.columns import Column
from recipes.shared.errors import UsageError, in_one_line
from recipes.shared.files import kind_of
from recipes.shared.hparams import HParams
from recipes.shared.tasks.classification import class_name, look_like_classes

DESCRIPTION = "Show what would be trained on: each column, what is left out and why, the classes, the three parts."
MOST_CLASSES_SHOWN = 12
MOST_CATEGORIES_SHOWN = 3
SHEET_ROWS, SHEET_COLUMNS = 10, 12  # classes, and examples of each


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of `data` besides those that describe the data."""

    sheet: Annotated[
        Path | None, tyro.conf.arg(help="write examples of each class to this PNG, if they are images")
    ] = None


def main(args: list[str]) -> int:
    """Show the data that `args` name and return the exit code.

    Raises:
        UsageError: there is no such data, or it cannot be read.
    """
    names, rest = flags.split_names(args)
    if len(names) != 1 and not set(rest) & {"--help", "-h"}:
        raise UsageError("say which data, before any flag: recipes data FILE [--target COLUMN]")
    described = (*tables.Options.__dataclass_fields__, "image_size", "channels_first", "split_seed")
    known = [
        *flags.fields_of(catalog.shared_hparams(), described),
        *((field.name, field.type, field.default) for field in dataclasses.fields(Options)),
    ]
    both = dataclasses.make_dataclass("Flags", known)
    values: Any = flags.parse_options(both, rest, "recipes data FILE", DESCRIPTION)
    name = names[0]
    hparams = HParams(data=name, **{field: getattr(values, field) for field in described})
    if values.sheet is not None:
        from recipes.commands import side  # which takes a fifth of a second to import

        side.require_writable_file(values.sheet, "--sheet")
    if kind_of(Path(name)) == "folder" and not images.is_folder_of_images(Path(name)):
        if values.sheet is not None:
            raise UsageError(
                f"--sheet is for images in a single file or by class, and {name} is a folder of .npz files"
            )
        _show_shards(hparams)
        return 0
    examples.check_flags(hparams)
    if kind_of(Path(name)) == "folder":
        _show_images(hparams, values.sheet)
        return 0
    if tables.is_table(name):
        if values.sheet is not None:
            raise UsageError(f"--sheet is for images, and {name} is a table")
        _show_table(hparams)
        return 0
    if name in sources.DOWNLOADED:
        raise UsageError(f"{name} is downloaded by Keras; recipes data shows files and what comes with scikit-learn")
    raw = sources.read(name)
    assert isinstance(raw.features, np.ndarray)  # a dict is a table's
    if values.sheet is not None and raw.features.ndim not in (3, 4):
        raise UsageError(f"--sheet is for images, and the examples of {name} have the shape {raw.features.shape[1:]}")
    _show_arrays(hparams, raw, raw.features)
    if values.sheet is not None:
        turned = np.moveaxis(raw.features, 1, -1) if hparams.channels_first else raw.features
        write_sheet(values.sheet, turned, raw.targets)
        print(f"sheet: {values.sheet}")
    return 0


def _show_table(hparams: HParams) -> None:
    """Print the columns of a table, what is predicted, the parts, and what was decided or is in the way."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    name, options = hparams.data, tables.Options.of(hparams)
    table = tables.read(Path(name), options)
    print(in_one_line(f"{name}: {len(table.targets)} rows; columns to learn from: {len(table.columns)}"))
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("column", "kind", "missing", "distinct", "values"):
        shown.add_column(heading, overflow="fold", justify="right" if heading in ("missing", "distinct") else "left")
    for column, found in table.columns.items():
        shown.add_row(*(Text(in_one_line(cell)) for cell in (column, *summary(found))))
    for column, why in table.left_out.items():
        shown.add_row(*(Text(in_one_line(cell)) for cell in (column, "left out", "", "", why)))
    Console().print(shown)
    raw = sources.Raw({}, table.targets, parts=table.parts)
    _show_target(f"target {table.target}", table.targets)
    _show_parts(examples.sizes(raw))
    for note in table.notes:
        print(in_one_line(note))
    with _problem_shown():
        pixels.check_channels(hparams, ())
        table.features(options)


def summary(column: Column) -> tuple[str, str, str, str]:
    """Return the kind, missing values, distinct values, and mean and spread or the most frequent values of a column."""
    if column.values.dtype.kind == "f":
        there = column.values[~np.isnan(column.values)].astype(np.float64)
        missing, distinct = len(column.values) - len(there), len(np.unique(there))
        values = _spread(column.kind, there)
    else:
        counts = Counter(column.values.tolist())
        missing = counts.pop("", 0)
        distinct = len(counts)
        values = ", ".join(f"{text} ({count})" for text, count in counts.most_common(MOST_CATEGORIES_SHOWN))
    return column.kind, str(missing), str(distinct), column.problem or values


def _spread(kind: str, there: np.ndarray) -> str:
    if not len(there):
        return ""
    low, high, mean = there.min(), there.max(), there.mean()
    if kind == "dates":
        first, last, middle = (str(np.datetime64(round(value), "s")).replace("T", " ") for value in (low, high, mean))
        return f"mean {middle}, {first} to {last}"
    return f"mean {mean:.4g}, standard deviation {there.std():.4g}, {low:.6g} to {high:.6g}"


def _show_arrays(hparams: HParams, raw: sources.Raw, features: np.ndarray) -> None:
    """Print what the arrays of an .npz or an embedded set hold."""
    print(f"{hparams.data}: {len(features)} examples of shape {features.shape[1:]}, {features.dtype}")
    print(f"values: {features.min():.6g} to {features.max():.6g}, mean {features.mean(dtype=np.float64):.6g}")
    _show_target("target", raw.targets)
    _show_parts(examples.sizes(raw))
    with _problem_shown():
        pixels.check_channels(hparams, features.shape[1:])
        task = raw.task or ("classification" if look_like_classes(raw.targets) else "regression")
        for note in examples.scaling_notes(hparams, raw, tasks.named(task)):
            print(in_one_line(note))


def _show_images(hparams: HParams, sheet: Path | None) -> None:
    """Print what names and headers tell of a folder of images by class, and write a sheet of examples if asked to."""
    found = images.survey(Path(hparams.data), hparams.image_size)
    raw = found.without_pixels()
    shape = (*found.size, 1 if found.grey else 3)
    count = sum(len(part.files) for part in found.parts)
    print(in_one_line(f"{hparams.data}: {count} images of shape {shape}"))
    _show_target("target", raw.targets)
    _show_parts(examples.sizes(raw))
    for note in found.notes:
        print(in_one_line(note))
    if sheet is not None:
        files, labels = found.first(SHEET_ROWS, SHEET_COLUMNS)
        write_sheet(sheet, images.thumbnails(files, found.size, found.grey), labels)
        print(f"sheet: {sheet}")


@contextlib.contextmanager
def _problem_shown() -> Iterator[None]:
    """Print what a UsageError says."""
    try:
        yield
    except UsageError as error:
        print(f"cannot be trained on like this: {in_one_line(error)}")


def _show_shards(hparams: HParams) -> None:
    """Print what a folder of .npz files holds, read one file after the other."""
    folder = examples.find_shards(hparams, tasks.named("classification"))
    sizes, counts = [], Counter[str]()
    for part in (folder.train, folder.validation, folder.test):
        size = 0
        for x, y in folder.read_alike(part):
            size += len(y)
            counts.update(map(class_name, y))
            shape, dtype = x.shape[1:], x.dtype
        sizes.append(size)
    files = len(folder.train) + len(folder.validation) + len(folder.test)
    print(f"{hparams.data}: {sum(sizes)} examples of shape {shape}, {dtype}, in {files} files")
    print(f"target: {_balance(counts)}")
    _show_parts((sizes[0], sizes[1], sizes[2]))
    with _problem_shown():
        pixels.check_channels(hparams, shape)
        for note in pixels.notes(x for x, _ in folder.read_alike(folder.train)):
            print(in_one_line(note))


def _show_target(label: str, values: np.ndarray) -> None:
    """Print the classes and how many examples each has, or the mean and spread of numbers."""
    if look_like_classes(values):
        counts = Counter(map(class_name, values))
        print(in_one_line(f"{label}: {_balance(counts)}"))
    else:
        print(in_one_line(f"{label}: numbers, {_spread('numbers', values.astype(np.float64))}"))


def _balance(counts: Counter[str]) -> str:
    most = counts.most_common(MOST_CLASSES_SHOWN)
    shares = ", ".join(f"{name} {count} ({100 * count / counts.total():.1f} %)" for name, count in most)
    more = f", and {len(counts) - len(most)} more" if len(counts) > len(most) else ""
    return f"{len(counts)} classes: {shares}{more}"


def _show_parts(sizes: tuple[int, int, int]) -> None:
    print("parts: " + ", ".join(f"{part} {size}" for part, size in zip(tables.PARTS, sizes, strict=True)))


def write_sheet(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write one row of examples for each of the first classes to a PNG.

    Raises:
        UsageError: the last axis holds no colors.
    """
    from matplotlib import image

    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] not in (1, 3, 4):
        raise UsageError(
            f"--sheet needs images of 1, 3 or 4 channels in the last axis, and these are {images.shape[1:]}"
        )
    low, high = float(images.min()), float(images.max())
    rows = []
    for label in np.unique(labels)[:SHEET_ROWS]:
        chosen = images[np.flatnonzero(labels == label)[:SHEET_COLUMNS]].astype(np.float64)
        scaled = (chosen - low) / ((high - low) or 1.0)
        missing = np.ones((SHEET_COLUMNS - len(chosen), *images.shape[1:]))
        rows.append(np.concatenate([*_framed([*scaled, *missing])], axis=1))
    sheet = np.concatenate(rows, axis=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.imsave(path, sheet if sheet.shape[-1] > 1 else np.repeat(sheet, 3, axis=-1), format="png")


def _framed(images: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the images with a white line around each."""
    for each in images:
        yield np.pad(each, ((1, 1), (1, 1), (0, 0)), constant_values=1.0)
