import pytest

from recipes.commands import side
from recipes.shared.checkpointing.options import Saving
from recipes.shared.errors import UsageError


def test_what_the_flags_ask_for():
    assert side.Options().saving == Saving(active=True, resume=False, every=None)
    assert side.Options(resume=True, checkpoint_every=5).saving == Saving(active=True, resume=True, every=5)
    assert not Saving().active  # trials of a search begin anew


@pytest.mark.parametrize("every", [0, -1])
def test_a_number_that_cannot_be_meant_is_refused(every):
    with pytest.raises(UsageError, match=f"--checkpoint-every is {every}; it must be at least 1"):
        _ = side.Options(checkpoint_every=every).saving
