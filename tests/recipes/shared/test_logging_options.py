"""How much a run logs: what is refused, and that the flags do not wait for TensorFlow."""

import dataclasses
import subprocess
import sys

import pytest

from recipes.shared.errors import UsageError
from recipes.shared.logging_options import LoggingOptions


def test_everything_is_logged_unless_told_otherwise():
    assert LoggingOptions() == LoggingOptions(level="everything", every=None, profile=False)


@pytest.mark.parametrize("every", [1, 2, 1000])
def test_gradients_can_be_measured_every_so_many_steps(every):
    assert LoggingOptions(every=every).every == every


@pytest.mark.parametrize("level", ["everything", "scalars", "nothing"])
@pytest.mark.parametrize("every", [0, -1])
def test_measuring_every_no_steps_is_refused(every, level):
    with pytest.raises(UsageError, match=rf"^--log-every is {every}; it must be at least 1$"):
        LoggingOptions(level=level, every=every)


@pytest.mark.parametrize("level", ["scalars", "nothing"])
def test_measuring_gradients_that_are_not_logged_is_refused(level):
    with pytest.raises(UsageError, match=rf"--log-every .*--log {level} leaves out"):
        LoggingOptions(level=level, every=5)


@pytest.mark.parametrize("level", ["everything", "scalars", "nothing"])
def test_every_level_goes_without_every(level):
    assert LoggingOptions(level=level).level == level


def test_options_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LoggingOptions().level = "nothing"


def test_the_options_are_there_without_tensorflow():
    code = "import sys, recipes.shared.logging_options; print({'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
