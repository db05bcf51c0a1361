"""The reading of a range test, on curves made by hand."""

import struct
import zlib

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

from recipes.shared.errors import UsageError
from recipes.shared.range_test import DIVERGED, MARGIN, RangeTest

BROKEN = [np.nan, np.inf]


def curve(losses):
    """A test at the rates 1, 2, 3, ..."""
    return RangeTest(np.arange(1.0, len(losses) + 1), np.array(losses, np.float64))


def bowl(steps=60, lowest=30, end=()):
    """A loss that falls from 2 to nearly 0.5 at the step `lowest`, then explodes."""
    step = np.arange(steps)
    falling = 0.5 + 1.5 * np.exp(-step / 8)
    return curve([*np.where(step <= lowest, falling, falling * 1.5 ** (step - lowest)), *end])


def size_of_png(path):
    """Width and height of a PNG whose chunks all have the checksum that they state."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    position, kinds = 8, []
    while position < len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        chunk = content[position + 4 : position + 8 + length]
        assert zlib.crc32(chunk) == struct.unpack(">I", content[position + 8 + length : position + 12 + length])[0]
        kinds.append(chunk[:4])
        position += 12 + length
    assert kinds[-1] == b"IEND"
    return struct.unpack(">II", content[16:24])


def test_three_losses_are_smoothed_as_by_hand():
    # means 0.1 * 4 = 0.4, 0.36 + 0.2 = 0.56, 0.504 + 0.8 = 1.304; shares 0.1, 0.19, 0.271
    np.testing.assert_allclose(curve([4, 2, 8]).smoothed, [4, 0.56 / 0.19, 1.304 / 0.271], rtol=1e-12)


def test_the_smoothed_loss_is_the_weighted_mean_of_all_before():
    losses = np.random.default_rng(0).uniform(0, 5, 40)
    expected = [np.average(losses[: step + 1], weights=0.9 ** np.arange(step, -1, -1.0)) for step in range(len(losses))]
    np.testing.assert_allclose(curve(losses).smoothed, expected, rtol=1e-12)


def test_constant_losses_stay_as_they_are_and_do_not_diverge():
    test = curve([3.0] * 25)
    np.testing.assert_allclose(test.smoothed, 3.0, rtol=1e-12)
    assert test.diverged is None
    with pytest.raises(UsageError, match="did not diverge"):
        test.summary()


@pytest.mark.parametrize("broken", [*BROKEN, -np.inf])
def test_what_is_not_finite_makes_all_that_follows_infinite(broken):
    smoothed = curve([1, 1, broken, 1, np.nan, 1]).smoothed
    np.testing.assert_allclose(smoothed[:2], 1)
    assert smoothed[2:].tolist() == [np.inf] * 4


def test_the_curve_diverged_at_the_first_step_above_twice_the_lowest_before():
    assert curve([1, 1, 4.4, 1]).diverged == 2  # (0.171 + 0.44) / 0.271 = 2.25
    assert curve([1, 1, 3.5, 1]).diverged is None  # (0.171 + 0.35) / 0.271 = 1.92
    assert curve([8, 1, 0, 0]).diverged is None
    assert DIVERGED == 2


def test_the_lowest_loss_counts_from_the_start_on_not_from_the_end():
    test = curve([1, *[30] * 5, *[0] * 60])
    assert test.diverged == 1
    assert test.smoothed[-1] < 1


@pytest.mark.parametrize("broken", BROKEN)
def test_losses_that_end_in_nan_or_infinity_diverged_there_at_the_latest(broken):
    assert curve([2, 1.5, 1, broken, broken]).diverged == 3
    assert curve([2, 1.5, 1, 50, broken]).diverged == 3
    assert curve([2, broken]).diverged == 1
    assert curve([broken, 1]).diverged == 0


def test_the_suggestion_is_a_third_of_the_rate_at_the_lowest_loss():
    test = curve([*np.linspace(5, 1, 20), np.inf])
    assert test.suggestion == pytest.approx(20 / 3)
    assert test.summary() == {"suggested_learning_rate": pytest.approx(20 / 3), "diverged_at": 21}
    assert MARGIN == 3


def test_a_curve_that_turns_is_read_before_its_turn():
    test = bowl()
    step = np.argmin(test.smoothed)
    assert 30 <= step < test.diverged < 45
    assert test.smoothed[test.diverged] > 2 * test.smoothed[step] >= test.smoothed[test.diverged - 1]
    assert test.summary() == {
        "suggested_learning_rate": pytest.approx((step + 1) / 3),
        "diverged_at": test.diverged + 1.0,
    }


def test_a_dip_after_the_divergence_is_not_chosen():
    test = curve([2, 1.5, 1, *[40] * 4, *[0] * 80])
    assert np.argmin(test.smoothed) > test.diverged == 3
    assert test.suggestion == pytest.approx(3 / 3)


def test_the_rates_are_those_of_the_schedule():
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-4, 4, decay_rate=1e4)
    test = RangeTest.of(schedule, np.array([3.0, 2, 1, 2, 90]))
    np.testing.assert_allclose(test.rates, [1e-4, 1e-3, 1e-2, 1e-1, 1], rtol=1e-5)
    assert test.losses.tolist() == [3, 2, 1, 2, 90]
    assert test.summary()["diverged_at"] == pytest.approx(1)


@pytest.mark.parametrize(
    "test",
    [
        bowl(),
        bowl(end=[np.nan] * 5),
        bowl(end=[1e300, np.inf, np.nan]),
        curve([2.0, *[np.nan] * 20]),
        curve([2.0, *[np.inf] * 20]),
        curve(np.linspace(2, 1, 30)),
        curve([0.7] * 30),
    ],
    ids=["diverged", "nan", "infinite", "all_but_the_first_nan", "all_but_the_first_infinite", "falling", "constant"],
)
def test_the_picture_is_a_png_with_finite_limits_and_both_rates(test, tmp_path):
    figure = test.plot()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "picture.png")
    assert size_of_png(tmp_path / "picture.png") == (840, 480)
    (axes,) = figure.axes
    assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
    assert axes.get_xlim()[0] > 0
    marked = {float(line.get_xdata()[0]) for line in axes.lines[2:]}
    assert marked == (set() if test.diverged is None else set(test.summary().values()))
    for line, values in zip(axes.lines, (test.losses, test.smoothed), strict=False):
        kept = np.isfinite(test.smoothed)
        np.testing.assert_array_equal(line.get_xydata(), np.column_stack([test.rates, values])[kept])


def test_the_picture_shows_the_start_of_the_curve_and_not_the_whole_explosion():
    bottom, top = bowl(end=[1e30]).plot().axes[0].get_ylim()
    assert bottom == 0
    assert 2 < top < 20
