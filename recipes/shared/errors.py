"""The two ways a run ends early that are not bugs, and how they are told."""

import contextlib
from collections.abc import Iterator

LONGEST_LINE = 2000  # characters; a message may quote a path or the names of all columns


class UsageError(Exception):
    """A mistake of the user's. Its text is one line: what is wrong and what to do. The command exits with 2."""


class TrainingDiverged(Exception):
    """The loss stopped being a finite number. The command exits with 1; the run's logs stay."""


class NoRoom(UsageError):
    """What a run gave could not be written where it belongs: a full disk, or one that cannot be written to."""


class WorkerLost(Exception):
    """Another worker of a multi-worker run has ended or cannot be reached. The command exits with 1."""


def in_one_line(error: object) -> str:
    """Return the text of `error` without what a terminal would not print as it is, its middle left out if it is long.

    What is wrong stands at the beginning and what to do at the end; in between may be anything that a file holds.
    """
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(error))
    half = LONGEST_LINE // 2
    return text if len(text) <= LONGEST_LINE else f"{text[:half]} ... {text[-half:]}"


@contextlib.contextmanager
def noted(notes: list[str], lost: str, raised: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn what fails meanwhile into one of `notes`, on what is `lost` and why; errors of the kinds `raised` pass."""
    try:
        yield
    except raised:
        raise
    except Exception as error:  # whatever a model of the user's may raise
        notes.append(f"{lost}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Return in one line why something failed that can be done without.

    That is the first line of a message or, where TensorFlow says first where in the user's code it was, the last one.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return in_one_line(lines[-1] if lines[0] == "in user code:" else lines[0])
