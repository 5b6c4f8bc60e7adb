"""Working ahead keeps the order, is bounded, and stops when nobody reads."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import UserError
from likeness.threads import prefetched


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 4), st.integers(1, 5))
def test_results_come_in_the_order_of_the_items(items, threads, ahead):
    def work(item):
        time.sleep(item / 1000)
        return item * 2

    results = list(prefetched(items, work, threads=threads, ahead=ahead))
    assert results == [item * 2 for item in items]


def test_never_further_ahead_than_asked():
    taken, read = [], []

    def items():
        for index in range(50):
            taken.append(index)
            assert len(taken) - len(read) <= 7
            yield index

    stream = prefetched(items(), lambda item: item * 2, threads=3, ahead=6)
    while (result := next(stream, None)) is not None:
        read.append(result)
    assert read == list(range(0, 100, 2))


def test_it_does_work_ahead_of_the_reader():
    """The first read starts as many as `ahead`: they run together, or this would time out."""
    barrier = threading.Barrier(4, timeout=20)
    stream = prefetched(range(4), lambda _: barrier.wait(), threads=4, ahead=4)
    assert sorted(stream) == [0, 1, 2, 3]


def test_an_error_comes_at_its_turn():
    stream = prefetched([1, 0, 2], lambda item: 1 / item, threads=2, ahead=3)
    assert next(stream) == 1
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_closing_drops_what_has_not_begun():
    begun = []

    def work(item):
        begun.append(item)
        time.sleep(0.05)  # a hundred of them take longer than any delay before `close`

    stream = prefetched(range(1000), work, threads=1, ahead=100)
    next(stream)
    stream.close()
    assert len(begun) < 100
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("name", ["threads", "ahead"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(UserError, match=f"{name} must be >= 1, got 0"):
        list(prefetched([1], abs, **{"threads": 1, "ahead": 1, name: 0}))


def test_torch_computes_with_one_thread_in_each_of_these():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        inside = list(prefetched(range(8), lambda _: torch.get_num_threads(), threads=2))
        later = []
        fresh = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        fresh.start()
        fresh.join()
        assert inside == [1] * 8
        assert (torch.get_num_threads(), later) == (3, [3])
    finally:
        torch.set_num_threads(before)
