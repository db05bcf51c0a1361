import io
import json

import pytest

from recipes.commands.benchmark import turns


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])
    return now


def test_each_turn_is_timed_from_its_line_to_the_next_request(clock):
    answers = io.StringIO()
    epochs = turns.Epochs(3, io.StringIO("\n\n\n"), answers)
    seen = []
    for epoch in epochs:
        seen.append((epoch, epochs.epoch))
        clock[0] += 10 * (epoch + 1)
    assert seen == [(0, 0), (1, 1), (2, 2)]
    assert [json.loads(line)["seconds"] for line in answers.getvalue().splitlines()] == [10, 20, 30]


def test_what_happens_after_a_turn_has_ended_does_not_count(clock):
    answers = io.StringIO()
    epochs = turns.Epochs(2, io.StringIO("\n\n"), answers)
    for _ in range(2):
        next(epochs)
        clock[0] += 1
        epochs.end_turn()
        clock[0] += 100
        epochs.end_turn()
    assert [json.loads(line)["seconds"] for line in answers.getvalue().splitlines()] == [1, 1]


def test_a_contestant_ends_when_nobody_gives_turns_any_more():
    epochs = turns.Epochs(2, io.StringIO("\n"), io.StringIO())
    next(epochs)
    with pytest.raises(SystemExit):
        next(epochs)
