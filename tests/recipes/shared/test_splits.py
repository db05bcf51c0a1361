"""A part of a data set in memory."""

import numpy as np
import pytest

from recipes.shared.splits import Split

X, Y, WEIGHTS = np.zeros((5, 2, 3), np.float32), np.arange(5), np.linspace(0, 1, 5)


@pytest.mark.parametrize(
    ("split", "arrays"),
    [
        (Split(X, None), (X,)),
        (Split(X, Y), (X, Y)),
        (Split(X, Y, WEIGHTS), (X, Y, WEIGHTS)),
        (Split(X, Y, shards=(2, 3)), (X, Y)),
    ],
)
def test_the_arrays_are_the_parts_of_a_batch(split, arrays):
    assert len(split.arrays) == len(arrays)
    assert all(one is other for one, other in zip(split.arrays, arrays, strict=True))
    assert len(split) == 5
    assert split.input_shape == (2, 3)


def test_first_takes_the_same_examples_of_all_arrays():
    split = Split(np.arange(10.0)[:, None], np.arange(10), np.arange(10) / 10, (4, 6))
    assert split.first(3).x.ravel().tolist() == split.first(3).y.tolist() == [0, 1, 2]
    assert split.first(3).weights.tolist() == [0, 0.1, 0.2]
    assert split.first(3).shards == ()
    assert len(split.first(99)) == 10
    several = Split(X, {"class": Y, "size": -Y}).first(2)
    assert {name: values.tolist() for name, values in several.y.items()} == {"class": [0, 1], "size": [0, -1]}
    assert Split(X, None).first(2).y is None


def test_map_targets_leaves_all_else_as_it_is():
    split = Split(X, Y, WEIGHTS, (4, 1))
    mapped = split.map_targets(lambda y: {"twice": y * 2})
    assert mapped.y["twice"].tolist() == [0, 2, 4, 6, 8]
    assert mapped.shards == (4, 1)
    assert mapped.x is X
    assert mapped.weights is WEIGHTS
    assert split.y is Y
