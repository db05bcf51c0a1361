"""What the fork server has imported lets a child train as a process of its own would."""

import sys

import pytest

from tests import children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


def test_the_server_has_one_thread_when_it_forks(server, result):
    """A lock that another thread holds at a fork would stay locked in the child."""
    threads = result(server, children.name_threads_of_the_server)[1].split()
    # that of pyarrow's allocator, where pandas finds pyarrow; jemalloc takes care of a fork itself
    assert len([name for name in threads if name != "jemalloc_bg_thd"]) == 1


def test_the_server_has_initialised_no_device(server, result):
    assert result(server, children.set_devices)[1] == "2\n"


def test_children_draw_other_random_numbers_where_no_seed_is_set(server, result):
    """Or two sides that draw without a seed would be called identical."""
    first, second = (result(server, children.draw)[1].split() for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]
