"""Ends training between two batches when Ctrl-C or SIGTERM asks for it.

Python raises what a signal handler raises wherever the main thread happens to be. Where that is a call back from
TensorFlow's C++, the process aborts; where it is a destructor, Python drops the exception and the training goes on for
ever. Both were seen, about once in fifty stops. So the handler only takes a note, and the recorder raises.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

GRACE = 5.0  # seconds until the next batch; past them the handler raises wherever it is, as Python does by itself


class _Handler:
    """Notes the first signal; raises at the second, or when `GRACE` is over."""

    def __init__(self) -> None:
        self.asked: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = number
            signal.setitimer(signal.ITIMER_REAL, GRACE, GRACE)  # and again, if what it raises is dropped
        else:
            self.stop()

    def stop(self) -> None:
        """Raise what the signal means, if there was one."""
        if self.asked == signal.SIGINT:
            raise KeyboardInterrupt
        if self.asked is not None:
            sys.exit(128 + self.asked)


def asked() -> bool:
    """Return whether a signal has asked for the end, which the next `stop_if_asked` brings."""
    handler = signal.getsignal(signal.SIGTERM)
    return isinstance(handler, _Handler) and handler.asked is not None


def stop_if_asked() -> None:
    """Raise what a signal asked for inside `between_batches`; call it where stopping is safe.

    Raises:
        KeyboardInterrupt: after SIGINT.
        SystemExit: with 128 + 15, after SIGTERM.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, _Handler):
        handler.stop()


@contextlib.contextmanager
def between_batches() -> Iterator[None]:
    """Let SIGINT and SIGTERM end what runs in here at its next `stop_if_asked`, or when it is done.

    Raises:
        KeyboardInterrupt, SystemExit: as `stop_if_asked` does.
    """
    handler = _Handler()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    previous = [signal.signal(number, handler) for number in numbers]
    try:
        yield
        handler.stop()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handle in zip(numbers, previous, strict=True):
            signal.signal(number, handle)
