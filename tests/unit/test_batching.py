"""How large the next batch is, by what is known; and how a batch's items are packed."""

from __future__ import annotations

import os
import random
from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone
from worker_dispatcher.pools.parent.batching import Batching, pack_items
from worker_dispatcher.pools.parent.dealing import by_load, has_room, roomiest, unheard
from worker_dispatcher.script.main_module import FRESH
from worker_dispatcher.wire import LARGE, from_parts, unpack

MANY = 10**9


def finished(count: int, seconds: float) -> BatchDone:
    """A run of tasks that took so long in all, one after the other."""
    stamps = [seconds * nth / count for nth in range(count + 1)]
    return BatchDone(1, stamps[:-1], stamps[1:], [None] * count, {}, 1)


def grown(batching: Batching, *, slots: int = 1, waiting: int = MANY) -> list[int]:
    """The sizes of batches handed out one after the other until they stay the same."""
    sizes = []
    while len(sizes) < 2 or sizes[-1] != sizes[-2]:
        sizes.append(batching.size(waiting, slots, slots, 0))
        batching.sent(sizes[-1], sizes[-1])
    return sizes


def test_before_anything_is_known_each_idle_thread_gets_one_task():
    assert Batching().size(MANY, 1, 4, free=1) == 1
    assert Batching().size(MANY, 4, 16, free=3) == 3
    assert Batching().size(8, 4, 16, free=4) == 2  # the others' threads are to have some too


def test_a_batch_has_a_task_for_each_idle_thread_also_when_few_are_left():
    batching = Batching()
    batching.measure(finished(100, 1.0))
    assert batching.size(400, 250, 1000, free=60) == 60
    assert batching.size(8, 250, 1000, free=0) == 2


def test_what_goes_ahead_to_a_process_of_many_threads_shrinks_only_toward_the_end():
    batching = Batching()
    batching.last = 1000
    batching.measure(finished(100, 1.0))
    sizes = [batching.size(waiting, 250, 1000, free=0) for waiting in (100_000, 4000, 800, 80)]
    assert sizes == [2500, 500, 100, 20]  # 100 ms for each thread; then an eighth of what is left, and its share


def test_tasks_side_by_side_and_tasks_that_failed_are_measured_each_by_its_own_time():
    batching = Batching()
    batching.measure(BatchDone(1, array("d", [0.0] * 100), array("d", [0.5] * 100), [None] * 100, {}, [1] * 100))
    assert batching.per_task == 0.5
    batching.measure(AttemptDone(Batch(1, (None,)), 0.0, 1.5, None, None, None, 1))
    assert batching.per_task == pytest.approx(0.7 * 0.5 + 0.3 * 1.5)


@pytest.mark.parametrize(("slots", "size"), [(1, 1), (4, 4), (100, 8)])
def test_before_anything_is_known_a_busy_worker_gets_one_task_for_each_thread(slots, size):
    assert Batching().size(MANY, slots, slots, free=0) == size


@pytest.mark.parametrize("waiting", [0, 1, 2])
def test_a_batch_is_never_empty(waiting):
    batching = Batching()
    batching.measure(finished(1, 100.0))
    for free in (0, 1):
        assert batching.size(waiting, 1, 64, free) == 1


@pytest.mark.parametrize(("slots", "size"), [(1, 400), (4, 4000)])
def test_a_batch_aims_at_a_time_for_each_thread(slots, size):
    batching = Batching()
    batching.last = 1000
    batching.measure(finished(100, 100 * 0.0001))
    assert abs(batching.size(MANY, slots, slots, 0) - size) <= 1
    assert batching.size(MANY, slots, slots, 1) == batching.size(MANY, slots, slots, 0)


def test_long_tasks_go_one_by_one():
    batching = Batching()
    batching.last = 1000
    batching.measure(finished(10, 1.0))
    assert batching.size(MANY, 1, 1, 0) == batching.size(MANY, 1, 1, 1) == 1


def test_batches_of_quick_tasks_grow_by_steps_up_to_the_most():
    batching = Batching()
    batching.measure(finished(1000, 0.0))
    assert grown(batching) == [8, 64, 512, 4096, 10_000, 10_000]


def test_tasks_that_took_no_time_at_all_break_nothing():
    batching = Batching()
    batching.measure(BatchDone(1, [5.0], [5.0], [None], {}, 1))
    batching.measure(BatchDone(2, [5.0], [4.0], [None], {}, 1))
    assert 1 <= batching.size(MANY, 1, 1, 0) <= 8


@pytest.mark.parametrize(("waiting", "all_slots", "size"), [(100, 5, 10), (99, 5, 9), (3, 1, 1), (40, 1, 20)])
def test_what_is_left_is_shared_among_all_threads(waiting, all_slots, size):
    batching = Batching()
    batching.last = 10_000
    batching.measure(finished(1000, 0.0))
    assert batching.size(waiting, 1, all_slots, 0) == size


def test_large_items_make_small_batches():
    batching = Batching()
    batching.measure(finished(1000, 0.0))
    batching.sent(1000, 1000 * (1 << 16))
    assert batching.size(MANY, 1, 1, 0) == 4
    batching.sent(4, 4 << 20)
    assert batching.size(MANY, 1, 1, 0) == 1


def test_what_was_sent_last_is_the_measure_of_growth_only_once_times_are_known():
    batching = Batching()
    batching.sent(20, 20)
    batching.sent(1, 1)
    assert batching.last == 20
    batching.measure(finished(1000, 0.0))
    batching.sent(1, 1)
    assert batching.last == 1
    assert batching.size(MANY, 1, 1, 0) == 8


def test_many_tasks_weigh_more_than_few():
    def after(count: int) -> int:
        batching = Batching()
        batching.last = 10_000
        batching.measure(finished(1000, 1000 * 1e-3))
        batching.measure(finished(count, count * 1e-6))
        return batching.size(MANY, 1, 1, 0)

    assert after(1) == after(30) == 57
    assert after(60) == 99
    assert after(100) == after(1000) == 10_000


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
    size, parts, fds = pack_items(items, FRESH)
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
    size, parts, fds = pack_items([np.zeros(LARGE, "u1"), np.zeros(100, "u1")], FRESH)
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

    _, parts, fds = pack_items(Rows(), FRESH)
    assert unpack(*from_parts([memoryview(bytes(part)) for part in parts], fds)) == [[0], [1]]


def busy(held: int = 9, slots: int = 1, **what: object) -> SimpleNamespace:
    """A worker with so many tasks, as the pool sees it."""
    plain = {"terse": True, "open": True}
    return SimpleNamespace(
        held=SimpleNamespace(count=held),
        slots=slots,
        channel=SimpleNamespace(unsent=what.pop("unsent", False)),
        **(plain | what),
    )


def test_nobody_need_listen_while_all_have_several_times_as_much_work_ahead():
    assert unheard([busy(9), busy(5)], 0.002) == pytest.approx(4 * 0.002 / 4)
    assert unheard([busy(36, slots=4)], 0.002) == pytest.approx(8 * 0.002 / 4)
    assert unheard([busy(9), busy(5)], 10.0) == 0.01
    assert unheard([busy(9), busy(1)], 10.0) == 0.0
    assert unheard([busy(9), busy(0)], 10.0) == 0.0
    assert unheard([busy(9)], 0.0) == 0.0
    assert unheard([], 10.0) == 0.0


@pytest.mark.parametrize(
    "state",
    [{"terse": False}, {"open": False}, {"unsent": True}],
    ids=lambda state: next(iter(state)),
)
def test_one_worker_in_a_special_state_is_listened_to(state):
    assert unheard([busy(9), busy(9, **state)], 10.0) == 0.0


def test_each_batch_goes_to_the_worker_with_the_fewest_tasks_for_each_thread_of_those_with_room():
    dice = random.Random(3)
    for _ in range(200):
        workers = [worker(dice) for _ in range(dice.randrange(9))]
        loads, ahead = by_load(workers), dice.randrange(6)
        while (chosen := roomiest(workers, loads, ahead)) is not None:
            able = [one for one in workers if has_room(one, ahead)]
            assert chosen is min(able, key=lambda one: one.held.count / one.slots)
            chosen.held.count += dice.randrange(3)
            chosen.open = dice.random() < 0.9
        assert not any(has_room(one, ahead) for one in workers)


def worker(dice: random.Random) -> SimpleNamespace:
    """What is asked of a WorkerHandle, now and then one that must be given nothing."""
    held, slots = SimpleNamespace(count=dice.randrange(9)), dice.choice([1, 3, 4])
    life = SimpleNamespace(was_ready=dice.random() < 0.9)
    return SimpleNamespace(held=held, slots=slots, life=life, open=dice.random() < 0.6)
