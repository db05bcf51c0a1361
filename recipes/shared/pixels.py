"""Images as arrays: which axis holds their channels, and what they are divided by. TensorFlow is not imported."""

from collections.abc import Iterable

import numpy as np

from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams

BYTE = 255.0  # what stands for white in nearly all files of images
CHANNELS = (1, 3, 4)  # of grey, RGB, and RGB with transparency


def check_channels(hparams: HParams, shape: tuple[int, ...]) -> None:
    """Raise a UsageError about images with the channels first, or about --channels-first for anything else.

    Args:
        hparams: which data it is, and the flag.
        shape: of one example; empty for a table.
    """
    first = len(shape) == 3 and shape[0] in CHANNELS and min(shape[1:]) > max(CHANNELS)
    last = len(shape) == 3 and shape[2] in CHANNELS and min(shape[:2]) > max(CHANNELS)
    if first and not hparams.channels_first:
        raise UsageError(
            f"{hparams.data} has examples of shape {shape}, which look like images with the channels first, and layers"
            f" here take them last; add --channels-first, and they are turned to {(*shape[1:], shape[0])}"
        )
    if hparams.channels_first and (last or len(shape) != 3):
        what = f"examples of shape {shape}" if shape else "columns"
        raise UsageError(
            f"--channels-first is for images of shape (channels, height, width), and {hparams.data} has {what};"
            " leave it out"
        )


def divisor(low: float, high: float) -> float:
    """Return what images with values from `low` to `high` are divided by; dark ones of bytes may have less than 255."""
    bytes_alike = low >= 0 and BYTE / 2 < high <= BYTE
    return BYTE if bytes_alike else float(max(-low, high)) or 1.0


def scaling_notes(dtype: np.dtype, scale: float) -> list[str]:
    """Return a line about how images of `dtype` are scaled, where their type would make one expect something else."""
    if dtype.kind == "f" or scale == 1 / BYTE:
        return []
    return [f"images of {dtype} were divided by {1 / scale:g}, the largest magnitude in the training part"]


def notes(batches: Iterable[np.ndarray]) -> list[str]:
    """Return what is to be said about the scaling of examples, if they are images; reads no more than that takes."""
    low, high = np.inf, -np.inf
    for images in batches:
        if images.ndim < 3 or images.dtype.kind == "f":
            return []
        # as floats: the magnitude of -128 is none of int8
        low, high = min(low, float(images.min())), max(high, float(images.max()))
        if images.dtype == np.uint8 and high > BYTE / 2:
            return []  # whatever follows
    return scaling_notes(images.dtype, 1 / divisor(low, high))
