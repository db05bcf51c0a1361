import math
from typing import Annotated, Literal, get_args

import annotated_types
import pytest

from recipes.shared import constraints
from recipes.shared.constraints import AtLeastOne, NotNegative, Positive, Seed, Share


@pytest.mark.parametrize(
    ("hint", "value", "says"),
    [
        (AtLeastOne, 0, "at least 1"),
        (AtLeastOne | None, -3, "at least 1"),
        (Positive, 0.0, "greater than 0"),
        (Positive, math.inf, "finite"),
        (Positive, math.nan, "greater than 0"),
        (NotNegative, -0.5, "at least 0"),
        (Share, 1.0, "below 1"),
        (Share, -0.1, "at least 0"),
        (Seed, 2**32, "below 4294967296"),
        (Annotated[float, annotated_types.Le(1)], 1.5, "at most 1"),
        (Literal["cosine", "step"], "linear", "one of cosine, step"),
    ],
)
def test_the_first_constraint_that_is_not_met_is_said(hint, value, says):
    assert constraints.broken(hint, value) == says


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (AtLeastOne, 1),
        (AtLeastOne | None, None),
        (Positive, 1e-30),
        (NotNegative, 0.0),
        (Share, 0.0),
        (Share, 0.999),
        (Seed, 2**32 - 1),
        (int, -5),
        (Literal["cosine", "step"], "step"),
        (tuple[str, ...], ("a",)),
    ],
)
def test_what_meets_all_is_right(hint, value):
    assert constraints.broken(hint, value) is None


def test_a_constraint_that_nobody_checks_is_no_constraint():
    with pytest.raises(TypeError, match="MultipleOf"):
        constraints.broken(Annotated[int, annotated_types.MultipleOf(8)], 8)


def test_each_name_is_of_the_library():
    for hint in (AtLeastOne, NotNegative, Positive, Seed, Share):
        assert all(isinstance(bound, annotated_types.BaseMetadata) for bound in get_args(hint)[1:])
