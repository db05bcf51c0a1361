import os
import signal

import pytest

from recipes.shared import interruption

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


class Dropped:
    def __del__(self):
        send(signal.SIGTERM)  # Python drops what is raised in here


def send(number):
    os.kill(os.getpid(), number)


def stopped(work):
    """Return what `work` was stopped by, between batches."""
    with pytest.raises((KeyboardInterrupt, SystemExit)) as error, interruption.between_batches():
        work()
    return error.value


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_the_next_place_that_is_safe(number):
    reached = []

    def work():
        send(number)
        reached.append("the end of the batch")
        interruption.stop_if_asked()
        reached.append("the next batch")

    error = stopped(work)
    assert reached == ["the end of the batch"]
    assert isinstance(error, KeyboardInterrupt if number == signal.SIGINT else SystemExit)
    assert number == signal.SIGINT or error.code == 143


def test_a_signal_in_a_destructor_is_not_dropped():
    def work():
        Dropped()
        interruption.stop_if_asked()
        raise AssertionError("went on")

    assert stopped(work).code == 143


def test_work_that_ends_without_a_safe_place_is_done_first_and_then_stops():
    done = []

    def work():
        send(signal.SIGINT)
        done.append(True)

    assert isinstance(stopped(work), KeyboardInterrupt)
    assert done


@pytest.mark.parametrize("second", ["another signal", "the end of the grace"])
def test_a_second_signal_and_the_end_of_the_grace_stop_at_once(monkeypatch, second):
    monkeypatch.setattr(interruption, "GRACE", 0.01 if second == "the end of the grace" else 60)

    def work():
        send(signal.SIGINT)
        if second == "another signal":
            send(signal.SIGINT)
        signal.pause()
        raise AssertionError("went on")

    assert isinstance(stopped(work), KeyboardInterrupt)


def test_outside_nothing_is_changed():
    before = [signal.getsignal(number) for number in NUMBERS]
    interruption.stop_if_asked()
    with interruption.between_batches():
        interruption.stop_if_asked()
    assert [signal.getsignal(number) for number in NUMBERS] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_whether_a_signal_has_asked_is_known_before_it_stops():
    asked = []

    def work():
        asked.append(interruption.asked())
        send(signal.SIGTERM)
        asked.append(interruption.asked())
        interruption.stop_if_asked()

    stopped(work)
    assert asked == [False, True]
    assert not interruption.asked()
