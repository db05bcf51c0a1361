"""A folder of images by class, read by Keras' own loader.

What the loader would be silent about is found beforehand: images of several sizes, files that it cannot read, classes
without any image, files that it leaves out. Whether images are grey is not its question, so it is asked here.
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recipes.shared import runtime
from recipes.shared.errors import UsageError
from recipes.shared.files import require_file
from recipes.shared.sources import Raw

GREY_MODES = {"1", "L", "LA", "I", "I;16"}  # Pillow's names for what a file holds
GREY_FORMATS = {"PNG", "JPEG"}  # what TensorFlow decodes into a single channel
FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")  # that Keras takes
MOST_NAMES = 5  # of files in a message
BATCH = 256  # images that are decoded at a time

Size = tuple[int, int]  # height and width


@dataclass(frozen=True)
class Listing:
    """What Keras finds in the folder of a part, in its order: the files, each with its class."""

    folder: Path
    files: tuple[Path, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """What names and headers tell of a folder of images: the files of each part, and how they are read."""

    parts: tuple[Listing, ...]
    size: Size
    grey: bool
    notes: tuple[str, ...]

    def without_pixels(self) -> Raw:
        """Return what `read` does, each example with no value."""
        classes = [np.array(part.classes) for part in self.parts]
        features = [np.empty((len(each), 0), np.float32) for each in classes]
        test_features, test_targets = (features[1], classes[1]) if len(classes) > 1 else (None, None)
        return Raw(features[0], classes[0], test_features, test_targets, task="classification", notes=self.notes)

    def first(self, classes: int, count: int) -> tuple[list[Path], np.ndarray]:
        """Return the first `count` files of each of the first `classes`, and the class of each."""
        part = self.parts[0]
        by_class: dict[str, list[Path]] = {}
        for file, name in zip(part.files, part.classes, strict=True):
            by_class.setdefault(name, []).append(file)
        chosen = [(file, name) for name in sorted(by_class)[:classes] for file in by_class[name][:count]]
        return [file for file, _ in chosen], np.array([name for _, name in chosen])


def is_folder_of_images(path: Path) -> bool:
    """Return whether the folder `path` has folders of its own, and no .npz file that is for training or testing."""
    shards = [*path.glob("train*.npz"), *path.glob("test*.npz")]
    return not shards and bool(_folders(path))


def read(path: Path, size: Size | None = None) -> Raw:
    """Return the images below `path`: a folder a class, or `train` and `test` with a folder a class in each.

    Args:
        path: the folder.
        size: what they are resized to; if not given, all must be of one size.

    Raises:
        UsageError: there are no images, or some that cannot be read; they differ in size, or take too much memory.
    """
    found = survey(path, size, _list)
    arrays = [_load(listing, found.size, found.grey) for listing in found.parts]
    test_features, test_targets = arrays[1] if len(arrays) > 1 else (None, None)
    return Raw(*arrays[0], test_features, test_targets, task="classification", notes=found.notes)


def survey(path: Path, size: Size | None = None, find: Callable[[Path], Listing] | None = None) -> Survey:
    """Return what names and headers tell of the images below `path`; with the default of `find` without TensorFlow.

    Args:
        path: as `read` takes it.
        size: likewise.
        find: from the folder of a part to its files.

    Raises:
        UsageError: as `read`, but for images whose header is sound and the rest is not.
    """
    visible = _visible(path)
    listings = [(find or _foresee)(folder) for folder in _parts(path)]
    files = [file for listing in listings for file in listing.files]
    sizes, grey = _headers(files)
    height, width = size or _only_size(path, sizes)
    numbers = len(files) * height * width * (1 if grey else 3)
    # As they were read, the rows of each part, and as the model takes them; the peak is four times what was read, for a
    # moment, and half of the machine is left free.
    runtime.require_memory(f"{path}", 3 * 4 * numbers, "choose a smaller --image-size, or take a part of the images")
    notes = [f"{len(files)} images were read as {height} x {width}, {'grey' if grey else 'RGB'}"]
    left_out = sorted(set(visible) - set(files))
    if left_out:
        notes.append(f"left out, because Keras reads no such files: {_some(path, left_out)}")
    return Survey(tuple(listings), (height, width), grey, tuple(notes))


def thumbnails(files: Iterable[Path], size: Size, grey: bool) -> np.ndarray:
    """Return images for a person to look at, bytes: Pillow reads and resizes them, so TensorFlow is not imported.

    Raises:
        UsageError: some cannot be decoded.
    """
    found, damaged = [], []
    for file in files:
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(file) as image:
                found.append(np.asarray(image.convert("L" if grey else "RGB").resize((size[1], size[0]))))
        except Exception:  # Pillow lets out what its decoders stumble over
            damaged.append(file)
    _refuse(damaged)
    images = np.stack(found)
    return images[..., None] if grey else images


def _folders(path: Path) -> list[str]:
    """Return the names of the folders in `path` that Keras looks at, in its order.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return sorted(each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
    except OSError as error:
        raise UsageError(f"cannot read the folder {path}: {error.strerror}") from error


def _parts(path: Path) -> list[Path]:
    """Return the folders that have a folder a class: `path` itself, or `train` and `test` in it.

    A class may be called "train": its folder holds images, not folders.

    Raises:
        UsageError: a part is missing, or there is something else beside them.
    """
    names = _folders(path)
    if "train" not in names or not _folders(path / "train"):
        return [path]
    if names != ["test", "train"]:
        raise UsageError(
            f"the folder {path} has the folders {', '.join(names)}; it needs train and test alone, each with a folder"
            " a class (a part of train is taken for validation), or a folder a class"
        )
    return [path / "train", path / "test"]


def _dataset(folder: Path, size: Size = (1, 1), grey: bool = False) -> Any:
    """Return Keras' data set of the images in `folder`, which reads none before it is asked.

    Raises:
        UsageError: it finds none.
    """
    import keras  # here, so that what can be known without it is

    try:
        return keras.utils.image_dataset_from_directory(
            str(folder),
            color_mode="grayscale" if grey else "rgb",
            batch_size=BATCH,
            image_size=size,
            shuffle=False,
            verbose=False,
        )
    except (ValueError, OSError) as error:
        raise UsageError(f"cannot use the folder {folder}: {' '.join(str(error).split())}") from error


def _list(folder: Path) -> Listing:
    """Return which files Keras takes from `folder`.

    Raises:
        UsageError: it finds none, or none of a class.
    """
    dataset = _dataset(folder)
    return _listing(folder, [Path(file) for file in dataset.file_paths], dataset.class_names)


def _foresee(folder: Path) -> Listing:
    """Return what `_list` will, by the same rules (`index_directory` in keras/src/utils/dataset_utils.py).

    Raises:
        UsageError: likewise.
    """
    names = _folders(folder)
    files = [
        Path(parent, file)
        for name in names
        for parent, _, found in sorted(os.walk(folder / name), key=lambda each: each[0])
        for file in sorted(found)
        if file.lower().endswith(FORMATS)
    ]
    if not files:
        raise UsageError(
            f"cannot use the folder {folder}: No images found in directory {folder}. Allowed formats: {FORMATS}"
        )
    return _listing(folder, files, names)


def _listing(folder: Path, paths: Sequence[Path], names: Sequence[str]) -> Listing:
    files = tuple(paths)
    classes = tuple(file.relative_to(folder).parts[0] for file in files)
    empty = [name for name in names if name not in set(classes)]
    if empty:
        raise UsageError(f"the folder {folder / empty[0]} has no image that Keras reads; fill it, or remove it")
    return Listing(folder, files, classes)


def _headers(files: Sequence[Path]) -> tuple[list[Size], bool]:
    """Return the size of each image, from the beginning of its file, and whether all are grey.

    Raises:
        UsageError: some are no images.
    """
    sizes: list[Size] = []
    unreadable: list[Path] = []
    grey = True
    for file in files:
        try:
            require_file(file)  # a pipe may have no end
            with warnings.catch_warnings(action="ignore"), Image.open(file) as image:  # it warns of large ones
                sizes.append((image.height, image.width))
                grey &= image.mode in GREY_MODES and image.format in GREY_FORMATS
        except Exception:  # Pillow lets out what its decoders stumble over
            unreadable.append(file)
    _refuse(unreadable)
    return sizes, grey


def _only_size(path: Path, sizes: Iterable[Size]) -> Size:
    """Return the size that all images have.

    Raises:
        UsageError: they differ.
    """
    counts = Counter(sizes)
    distinct = sorted(counts)
    if len(distinct) > 1:
        low, high, ((common, _),) = distinct[0], distinct[-1], counts.most_common(1)
        raise UsageError(
            f"the images in {path} are of {len(distinct)} sizes, from {low[0]} x {low[1]} to {high[0]} x {high[1]};"
            f" say to which height and width to resize them, such as --image-size {common[0]} {common[1]}"
        )
    return distinct[0]


def _load(listing: Listing, size: Size, grey: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of a part, float32 from 0 to 255, and their classes.

    Raises:
        UsageError: some cannot be decoded.
    """
    import tensorflow as tf

    dataset = _dataset(listing.folder, size, grey)
    images = np.empty((len(listing.files), *size, 1 if grey else 3), np.float32)
    begin, damaged = 0, []
    with runtime.quiet():  # the decoder of JPEG writes lines of its own
        try:
            for batch, _ in dataset:
                images[begin : begin + len(batch)] = batch
                begin += len(batch)
        except tf.errors.OpError:
            damaged = _undecodable(listing.files, 1 if grey else 3, tf.errors.OpError)
            if not damaged:
                raise
    _refuse(damaged)
    return images, np.array(listing.classes)


def _undecodable(files: Iterable[Path], channels: int, error: type[Exception]) -> list[Path]:
    """Return the files that the operation of Keras' loader cannot decode."""
    import tensorflow as tf

    def decodes(file: Path) -> bool:
        try:
            tf.image.decode_image(tf.io.read_file(str(file)), channels=channels, expand_animations=False)
        except error:
            return False
        return True

    return [file for file in files if not decodes(file)]


def _refuse(unreadable: Sequence[Path]) -> None:
    """Raise a UsageError that names the files, if there are any."""
    if unreadable:
        raise UsageError(f"cannot read {_some(None, unreadable)}: no images, or damaged; mend or remove them")


def _visible(path: Path) -> list[Path]:
    """Return the files that lie below `path`, without what is hidden.

    Raises:
        UsageError: TensorFlow cannot open one by its name.
    """
    found = []
    for parent, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    for file in found:
        try:
            str(file).encode()
        except UnicodeEncodeError:
            raise UsageError(f"the name {str(file)!r} is no Unicode; rename it") from None
    return found


def _some(path: Path | None, files: Sequence[Path]) -> str:
    """Return the names of the first files, and how many more there are."""
    name: Callable[[Path], str] = str if path is None else lambda file: str(file.relative_to(path))
    more = f" and {len(files) - MOST_NAMES} more" if len(files) > MOST_NAMES else ""
    return ", ".join(map(name, files[:MOST_NAMES])) + more
