"""A part in memory, and the order of an epoch over shards."""

import numpy as np
import pytest

from recipes.shared.splits import Split, epoch_order, shard_order

SHARDS = (5, 1, 30, 12)


@pytest.mark.parametrize("shards", [SHARDS, (7,), (1, 1, 1)])
def test_the_order_over_shards_is_a_permutation_that_visits_one_after_the_other(shards):
    order = epoch_order(shards, 3, 4).numpy()
    assert order.dtype == np.int32
    assert sorted(order.tolist()) == list(range(sum(shards)))
    visited = np.repeat(np.arange(len(shards)), shards)[order]
    assert (np.diff(visited) != 0).sum() == len(shards) - 1


def test_it_depends_on_the_seed_and_the_epoch_alone():
    orders = {tuple(epoch_order(SHARDS, seed, epoch).numpy()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    again = {tuple(epoch_order(SHARDS, seed, epoch).numpy()) for seed in range(5) for epoch in range(5)}
    assert again == orders


def test_shards_of_one_size_are_shuffled_differently():
    orders = {tuple(shard_order(shard, 40, 0, epoch).numpy()) for shard in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_shards_come_in_another_order_in_another_epoch():
    starts = np.cumsum([0, *SHARDS])
    firsts = {int(np.searchsorted(starts, epoch_order(SHARDS, 0, e).numpy()[0], side="right")) for e in range(20)}
    assert firsts == {1, 2, 3, 4}


def test_a_split_says_what_its_order_goes_by():
    x, y = np.zeros((5, 2, 3), np.float32), np.arange(5)
    assert Split(x, y).examples == 5
    assert Split(x, y, (2, 3)).examples == (2, 3)
    assert Split(x, y).input_shape == (2, 3)


def test_first_and_map_targets():
    split = Split(np.arange(10.0)[:, None], np.arange(10), (4, 6))
    assert split.first(3).y.tolist() == [0, 1, 2]
    assert len(split.first(99)) == 10
    mapped = split.map_targets(lambda y: y * 2)
    assert mapped.y.tolist() == list(range(0, 20, 2))
    assert mapped.shards == (4, 6)
