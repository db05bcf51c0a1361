"""`--profile`: TensorFlow's own profiler on a few steps."""

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

SKIPPED, STEPS = 3, 5  # the first steps compile


@functools.cache  # once a process, however many trainings there are in it
def say_what_is_missing() -> None:
    """Print a line if TensorBoard cannot show profiles here."""
    if importlib.util.find_spec("tensorboard_plugin_profile") is None:
        words = "the profile is recorded, but TensorBoard needs a plugin to show it: pip install '.[profile]'"
        print(words, file=sys.stderr)


class Profiler:
    """Records updates 3 to 7 of a run, counted from 0, for the tab Profile.

    Args:
        folder: TensorBoard finds the profile in `plugins/profile` below it.
    """

    updates = frozenset(range(SKIPPED - 2, SKIPPED + STEPS))  # those that a compiled chunk shall not hide

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state = "waiting"
        say_what_is_missing()

    def before(self, update: int) -> None:
        """Begin once the steps have been compiled; `update` is the number of the one that comes."""
        if self._state == "waiting" and update >= SKIPPED:
            self._state = "recording"
            self._try(lambda: tf.profiler.experimental.start(str(self.folder)))

    def after(self, updates: int) -> None:
        """End when enough steps are recorded; `updates` is how many were made."""
        if updates >= SKIPPED + STEPS:
            self.stop()

    def stop(self) -> None:
        """Write the profile, if one is being recorded."""
        if self._state == "recording":
            self._state = "done"
            self._try(tf.profiler.experimental.stop)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (OSError, tf.errors.OpError) as error:  # another profiler is at work, or the disk is full
            self._state = "done"
            print(f"no profile: {getattr(error, 'message', error)}", file=sys.stderr)
