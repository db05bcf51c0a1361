"""How a contestant, in its own process, waits for its turns: one line of stdin is one epoch."""

import json
import sys
import time
from collections.abc import Iterator
from typing import IO, Any


class Epochs(Iterator[int]):
    """The epochs to train, in turn with other processes: `for epoch in epochs: ...` trains one in each.

    What happens between two turns is timed, from the moment that the turn is given to the next request for one, or to
    `end_turn`.

    Attributes:
        count: how many epochs there will be.
        epoch: the present one, from 0; -1 before the first.
    """

    def __init__(self, count: int, turns: IO[str], answers: IO[str]) -> None:
        self.count = count
        self.epoch = -1
        self._turns = turns
        self._answers = answers
        self._began: float | None = None

    def __next__(self) -> int:
        self.end_turn()
        if self.epoch + 1 == self.count:
            raise StopIteration
        if not self._turns.readline():
            sys.exit(1)  # whoever gives the turns has gone
        self.epoch += 1
        self._began = time.perf_counter()
        return self.epoch

    def end_turn(self) -> None:
        """Stop the clock and say what the turn took; without a turn, nothing."""
        if self._began is not None:
            seconds = time.perf_counter() - self._began
            self._began = None
            self.say(seconds=seconds)

    def say(self, **values: Any) -> None:
        """Send one line to whoever gives the turns."""
        self._answers.write(json.dumps(values) + "\n")
        self._answers.flush()
