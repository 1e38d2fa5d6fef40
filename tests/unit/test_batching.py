"""How large the next batch is, by what is known; and how a batch's items are packed."""

from __future__ import annotations

import os

import numpy as np
import pytest

from worker_dispatcher.pools.base import Finished
from worker_dispatcher.pools.batching import Batching, pack_items
from worker_dispatcher.wire import LARGE, from_parts, unpack

MANY = 10**9


def finished(count: int, seconds: float) -> Finished:
    """A run of tasks that took so long in all, one after the other."""
    stamps = [seconds * nth / count for nth in range(count + 1)]
    return Finished(1, stamps[:-1], stamps[1:], [None] * count, {}, 1)


def grown(batching: Batching, *, slots: int = 1, waiting: int = MANY) -> list[int]:
    """The sizes of batches handed out one after the other until they stay the same."""
    sizes = []
    while len(sizes) < 2 or sizes[-1] != sizes[-2]:
        sizes.append(batching.size(waiting, slots, slots, False))
        batching.sent(sizes[-1], sizes[-1])
    return sizes


def test_before_anything_is_known_an_idle_thread_gets_one_task():
    assert Batching().size(MANY, 4, 4, idle=True) == 1


@pytest.mark.parametrize(("slots", "size"), [(1, 1), (4, 4), (100, 8)])
def test_before_anything_is_known_a_busy_worker_gets_one_task_for_each_thread(slots, size):
    assert Batching().size(MANY, slots, slots, idle=False) == size


@pytest.mark.parametrize("waiting", [0, 1, 2])
def test_a_batch_is_never_empty(waiting):
    batching = Batching()
    batching.measure(finished(1, 100.0))
    for idle in (False, True):
        assert batching.size(waiting, 1, 64, idle) == 1


@pytest.mark.parametrize(("slots", "size"), [(1, 60), (4, 240)])
def test_a_batch_aims_at_a_time_for_each_thread(slots, size):
    batching = Batching()
    batching.last = 1000
    batching.measure(finished(100, 100 * 0.0001))
    assert abs(batching.size(MANY, slots, slots, False) - size) <= 1
    assert batching.size(MANY, slots, slots, True) == batching.size(MANY, slots, slots, False)


def test_long_tasks_go_one_by_one():
    batching = Batching()
    batching.last = 1000
    batching.measure(finished(10, 1.0))
    assert batching.size(MANY, 1, 1, False) == batching.size(MANY, 1, 1, True) == 1


def test_batches_of_quick_tasks_grow_by_steps_up_to_the_most():
    batching = Batching()
    batching.measure(finished(1000, 0.0))
    assert grown(batching) == [8, 64, 512, 4096, 10_000, 10_000]


def test_tasks_that_took_no_time_at_all_break_nothing():
    batching = Batching()
    batching.measure(Finished(1, [5.0], [5.0], [None], {}, 1))
    batching.measure(Finished(2, [5.0], [4.0], [None], {}, 1))
    assert 1 <= batching.size(MANY, 1, 1, False) <= 8


@pytest.mark.parametrize(("waiting", "all_slots", "size"), [(100, 5, 10), (99, 5, 9), (3, 1, 1), (40, 1, 20)])
def test_what_is_left_is_shared_among_all_threads(waiting, all_slots, size):
    batching = Batching()
    batching.last = 10_000
    batching.measure(finished(1000, 0.0))
    assert batching.size(waiting, 1, all_slots, False) == size


def test_large_items_make_small_batches():
    batching = Batching()
    batching.measure(finished(1000, 0.0))
    batching.sent(1000, 1000 * (1 << 16))
    assert batching.size(MANY, 1, 1, False) == 4
    batching.sent(4, 4 << 20)
    assert batching.size(MANY, 1, 1, False) == 1


def test_what_was_sent_last_is_the_measure_of_growth_only_once_times_are_known():
    batching = Batching()
    batching.sent(20, 20)
    batching.sent(1, 1)
    assert batching.last == 20
    batching.measure(finished(1000, 0.0))
    batching.sent(1, 1)
    assert batching.last == 1
    assert batching.size(MANY, 1, 1, False) == 8


def test_many_tasks_weigh_more_than_few():
    def after(count: int) -> int:
        batching = Batching()
        batching.last = 10_000
        batching.measure(finished(1000, 1000 * 1e-3))
        batching.measure(finished(count, count * 1e-6))
        return batching.size(MANY, 1, 1, False)

    assert after(1) == after(30) == 8
    assert after(60) == 14
    assert after(100) == after(1000) == pytest.approx(6000, abs=1)


@pytest.mark.parametrize(
    ("items", "shared"),
    [
        (range(10**12), False),
        ([], False),
        ([None, 1, "a", b"b" * LARGE, 2.5], False),
        ([[1], {"a": 2}, np.ones(3)], False),
        ([np.arange(LARGE), np.arange(3)], True),
        ([len, ValueError], False),
    ],
)
def test_items_arrive_as_they_were(items, shared):
    size, parts, fds = pack_items(items)
    assert len(fds) == shared
    loaded = unpack(*from_parts([memoryview(bytes(part)) for part in parts], fds))
    assert type(loaded) is type(items)
    assert len(loaded) == len(items)
    if not isinstance(items, range):
        assert all(np.array_equal(a, b) for a, b in zip(loaded, items, strict=True))
    else:
        assert loaded == items
    assert size >= len(parts[0])


def test_the_size_of_a_batch_counts_what_is_out_of_band():
    size, parts, fds = pack_items([np.zeros(LARGE, "u1"), np.zeros(100, "u1")])
    assert size == len(parts[0]) + LARGE + 100
    for fd in fds:
        os.close(fd)


def test_items_of_any_sequence_are_packed_as_a_list():
    class Rows:
        def __len__(self):
            return 2

        def __getitem__(self, nth):
            if nth > 1:
                raise IndexError
            return [nth]

        def __reduce__(self):
            raise AssertionError("the sequence itself is packed")

    _, parts, fds = pack_items(Rows())
    assert unpack(*from_parts([memoryview(bytes(part)) for part in parts], fds)) == [[0], [1]]
