"""Images as arrays: what is said of their scale before TensorFlow is what `preprocessing` makes of them."""

import numpy as np
import pytest

from recipes.shared import pixels, preprocessing
from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams

VALUES = {
    "bytes": np.array([0, 255], np.uint8),
    "dark bytes": np.array([3, 128], np.uint8),
    "darker bytes": np.array([3, 127], np.uint8),
    "black": np.array([0, 0], np.uint8),
    "mask": np.array([0, 1], bool),
    "signed": np.array([-128, 127], np.int8),
    "bytes in wider integers": np.array([0, 255], np.int64),
    "wide": np.array([0, 40_001], np.uint16),
    "wider": np.array([1, 1_234_565], np.int64),
    "floats": np.array([0, 3], np.float64),
}


def images(name, shape):
    return np.resize(VALUES[name], shape)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("shape", [(4, 3, 3), (4, 3, 3, 3), (4, 3)])
def test_the_notes_are_those_of_the_layers_that_are_fitted(name, shape):
    array = images(name, shape)
    notes = pixels.notes([array])
    assert notes == preprocessing.scaling_notes(preprocessing.fit(array), array.dtype)
    assert bool(notes) == (len(shape) > 2 and name not in ("bytes", "dark bytes", "bytes in wider integers", "floats"))


def test_batches_count_together_and_no_more_are_read_than_it_takes():
    dark, bright = images("mask", (4, 3, 3)).astype(np.uint8), images("bytes", (4, 3, 3))

    def batches():
        yield from (dark, bright)
        pytest.fail("a byte above 127.5 decides")

    assert pixels.notes(batches()) == []
    assert pixels.notes([dark, 7 * dark]) == [
        "images of uint8 were divided by 7, the largest magnitude in the training part"
    ]


@pytest.mark.parametrize("shape", [(), (3,), (8, 8), (8, 7, 3), (3, 4, 4), (5, 8, 7), (2, 3, 8, 7)])
def test_what_has_no_channels_first_is_left_alone(shape):
    pixels.check_channels(HParams(), shape)
    if shape != (3, 4, 4) and shape != (5, 8, 7):
        with pytest.raises(UsageError, match=r"--channels-first is for images of shape .*; leave it out"):
            pixels.check_channels(HParams(channels_first=True), shape)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_that_come_first_are_found(channels):
    with pytest.raises(UsageError, match=rf"add --channels-first, and they are turned to \(8, 7, {channels}\)"):
        pixels.check_channels(HParams(), (channels, 8, 7))
    pixels.check_channels(HParams(channels_first=True), (channels, 8, 7))
