"""What is to be predicted: classes or quantities."""

import numpy as np
import pytest

from recipes.shared import targets
from recipes.shared.errors import UsageError


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([2, 1, 3, 1], [1, 2, 3]),
        ([2.0, 1.0], [1, 2]),
        ([True, False], [False, True]),
        (["no", "yes", "no"], ["no", "yes"]),
    ],
)
def test_classes_are_sorted_and_encoded_by_their_position(values, classes):
    found = targets.check_classes(np.array(values), "x")
    assert found.tolist() == classes
    indices = targets.class_indices(np.array(values), found, "x")
    assert indices.dtype == np.int32
    assert found[indices].tolist() == values


def test_a_class_that_is_a_whole_number_is_named_without_a_point():
    assert [targets.class_name(value) for value in np.array([1.0, 2.0])] == ["1", "2"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0.5, 1], "holds fractions"),
        ([np.nan, 1], "NaN or infinite"),
        (range(101), "101 distinct values"),
        ([3, 3], "every example has the target 3"),
    ],
)
def test_what_is_no_class_is_refused(values, says):
    with pytest.raises(UsageError, match=says):
        targets.check_classes(np.array(values), "x")


def test_an_unseen_class_is_refused_by_name():
    with pytest.raises(UsageError, match="the class c"):
        targets.class_indices(np.array(["a", "c"]), np.array(["a", "b"]), "x")


@pytest.mark.parametrize(
    ("values", "alike"),
    [
        (np.arange(100) % 3, True),
        (np.arange(100), False),
        (np.arange(100) % 3 + 0.0, False),
        (np.array(["a", "b"]), True),
        (np.array([True, False]), True),
    ],
)
def test_few_whole_numbers_that_are_there_often_look_like_classes(values, alike):
    assert targets.look_like_classes(values) is alike


@pytest.mark.parametrize(
    ("values", "says"), [(["a"], "holds text"), ([True], "true and false"), ([1, 2] * 20, "looks like 2 classes")]
)
def test_classes_are_refused_as_quantities(values, says):
    with pytest.raises(UsageError, match=says):
        targets.check_quantities(np.array(values), "x")


def test_quantities_become_a_column_of_float32():
    column = targets.as_column(np.array([1, 2]), "x")
    assert (column.shape, column.dtype) == ((2, 1), np.float32)
    with pytest.raises(UsageError, match="too large for float32"):
        targets.as_column(np.array([1e39]), "x")
