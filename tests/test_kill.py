"""SIGKILL in the middle of a real run, once a side; `make kill` does it at 20 moments of four pairs."""

import random

import pytest

from tests import kill


@pytest.mark.parametrize("side", kill.VERBS)
def test_a_killed_run_goes_on_and_ends_with_the_same_bits(tmp_path, side):
    whole = kill.Whole("dropout", side, ["--epochs", "60"], tmp_path)
    moment = random.Random(side).uniform(0.3, 0.7)
    while True:
        try:
            assert kill.kill_and_resume(whole, f"killed-{moment}", moment) == ""
            break
        except kill.TooLate:
            moment *= 0.7
