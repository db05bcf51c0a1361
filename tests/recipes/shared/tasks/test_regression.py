"""Which targets are quantities, and the scores of their predictions, held against their formulas."""

import math

import numpy as np
import pytest

from recipes.shared.errors import UsageError
from recipes.shared.tasks.regression import TASK


@pytest.mark.parametrize(
    ("values", "says"), [(["a"], "holds text"), ([True], "true and false"), ([1, 2] * 20, "looks like 2 classes")]
)
def test_classes_are_refused_as_quantities(values, says):
    with pytest.raises(UsageError, match=says):
        TASK.of([np.array(values)], "x")


def test_quantities_become_a_column_of_float32():
    column = TASK.encode(np.array([1, 2]), "x")
    assert (column.shape, column.dtype) == ((2, 1), np.float32)
    with pytest.raises(UsageError, match="too large for float32"):
        TASK.encode(np.array([1e39]), "x")


def test_it_is_the_targets_of_all_files_that_look_like_classes():
    assert TASK.of([np.arange(5), np.arange(5, 60)], "x") is TASK
    with pytest.raises(UsageError, match="looks like 2 classes"):
        TASK.of([np.array([1, 2] * 5)] * 4, "x")


def test_regression_scores_follow_their_formulas():
    targets, predictions = np.float32([[1], [2], [3], [6]]), np.float32([[2], [2], [1], [6]])
    result = TASK.scores(targets, predictions, "logits")
    assert result == pytest.approx({"mse": 5 / 4, "mae": 3 / 4, "r2": 1 - 5 / 14})


def test_regression_of_a_single_example_has_no_r2_and_gives_no_warning():
    result = TASK.scores(np.float32([[1]]), np.float32([[3]]), "logits")
    assert (result["mse"], result["mae"]) == (4.0, 2.0)
    assert math.isnan(result.get("r2", math.nan))


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        ({"a": np.ones((4, 1))}, "the targets are a dict"),
        (np.ones((4, 2)), r"outputs of shape \(4, 1\) for targets of shape \(4, 2\)"),
        (np.ones(4), r"for targets of shape \(4,\)"),
    ],
)
def test_targets_that_the_outputs_do_not_match_are_not_scored(targets, says):
    with pytest.raises(TypeError, match=says):
        TASK.scores(targets, np.ones((4, 1)), "logits")


def test_the_labels_are_the_targets():
    assert TASK.labels(np.float32([[0.1], [-2e10], [3]])) == ["0.1", "-2e+10", "3"]
    assert TASK.labels(np.float32([[0.1, 2]])) == ["0.1, 2"]
    assert not TASK.class_names
    assert TASK.strata(np.arange(3)) is None
