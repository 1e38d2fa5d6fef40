"""The slate: numbers that two mappings share, who is over its time, and nothing held after it is closed."""

from __future__ import annotations

import math
import os
import sys

import pytest

from worker_dispatcher.osproc import shared_status as module
from worker_dispatcher.osproc.shared_status import SharedStatus


def open_descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


@pytest.fixture(params=[1, 2, 7])
def sides(request):
    """The parent's and the worker's side of one slate."""
    parent = SharedStatus.shared(request.param)
    worker = SharedStatus.of(os.dup(parent.fd))
    yield parent, worker
    parent.close()
    worker.close()


def test_a_new_slate_says_that_nothing_runs(sides):
    for slate in sides:
        assert slate.halt[0] == 0
        assert set(slate.running) == {0}
        assert set(slate.deadline) == {math.inf}
        assert slate.begun() == {}
        assert slate.overdue(1e300) == []
        assert slate.next_deadline() == math.inf


def test_both_sides_have_as_many_rows(sides):
    parent, worker = sides
    assert len(parent.running) == len(worker.running) == len(worker.started) == len(worker.deadline)
    assert len(worker.halt) == 1


def test_every_number_has_a_place_of_its_own_and_is_seen_on_the_other_side(sides):
    parent, worker = sides
    slots = len(worker.running)
    parent.halt[0] = -(2**63)
    for slot in range(slots):
        worker.running[slot] = 2**62 + slot
        worker.started[slot] = 100.5 + slot
        worker.deadline[slot] = 1e9 + slot / 7
    assert worker.halt[0] == -(2**63)
    assert list(parent.running) == [2**62 + slot for slot in range(slots)]
    assert list(parent.started) == [100.5 + slot for slot in range(slots)]
    assert list(parent.deadline) == [1e9 + slot / 7 for slot in range(slots)]


def test_clearing_forgets_tasks_deadlines_and_halt(sides):
    parent, worker = sides
    parent.halt[0] = 1
    worker.running[-1], worker.deadline[-1] = 5, 1.0
    parent.clear()
    assert (worker.halt[0], worker.running[-1], worker.deadline[-1]) == (0, 0, math.inf)


def test_what_has_begun_is_told_with_its_moment_also_while_it_is_loaded():
    slate = SharedStatus(4)
    slate.clear()
    slate.running[1], slate.started[1] = 12, 3.5
    slate.running[2], slate.started[2] = -13, 4.5
    slate.started[3] = 9.0  # the row of an idle slot
    assert slate.begun() == {12: 3.5, -13: 4.5}
    slate.close()


def test_who_is_over_its_time_is_told_from_its_deadline_on():
    slate = SharedStatus(4)
    slate.clear()
    slate.running[0], slate.deadline[0] = 8, 10.0
    slate.running[1], slate.deadline[1] = 9, 20.0
    slate.deadline[2] = 1.0  # idle
    slate.running[3] = 11  # without a deadline
    assert slate.overdue(math.nextafter(10, 0)) == []
    assert slate.overdue(10.0) == [(0, 8)]
    assert slate.overdue(25.0) == [(0, 8), (1, 9)]
    assert slate.next_deadline() == 1.0
    slate.deadline[2] = math.inf
    assert slate.next_deadline() == 10.0
    slate.close()


class Moving:
    """A row's number that the worker changes between two looks of the parent."""

    def __init__(self, *values):
        self.values = list(values)

    def __iter__(self):
        yield self[0]

    def __getitem__(self, slot):
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]


@pytest.mark.parametrize(
    ("running", "deadlines", "late"),
    [
        ([5], [1.0], [(0, 5)]),
        ([5, 6], [1.0], []),
        ([5, 0], [1.0], []),
        ([0, 6], [1.0], []),
        ([5], [1.0, 50.0], []),
        ([5], [50.0, 1.0], []),
        ([6], [1.0, math.inf], []),
    ],
)
def test_a_slot_that_moves_on_while_it_is_looked_at_is_not_blamed(running, deadlines, late):
    slate = SharedStatus(1)
    rows = slate.running, slate.deadline
    slate.running, slate.deadline = Moving(*running), Moving(*deadlines)
    assert slate.overdue(2.0) == late
    slate.running, slate.deadline = rows
    slate.close()


def test_private_pages_need_no_descriptor():
    before = open_descriptors()
    slate = SharedStatus(3)
    assert (slate.fd, len(slate.running)) == (-1, 3)
    assert open_descriptors() == before
    slate.close()


def test_closing_gives_everything_back_and_again_is_nothing():
    before = open_descriptors()
    slate = SharedStatus.shared(5)
    assert not os.get_inheritable(slate.fd)
    assert os.fstat(slate.fd).st_size == 8 * 22
    slate.close()
    slate.close()
    assert slate.fd == -1
    assert open_descriptors() == before


def test_a_slate_outlives_the_side_that_wrote_it():
    parent = SharedStatus.shared(1)
    worker = SharedStatus.of(os.dup(parent.fd))
    worker.running[0], worker.started[0] = 7, 2.0
    worker.close()
    assert parent.begun() == {7: 2.0}
    parent.close()


@pytest.mark.parametrize("name", ["ftruncate", "mmap"])
def test_no_descriptor_is_left_where_memory_runs_out(name, monkeypatch):
    def no_memory(*arguments, **options):
        raise OSError("no memory")

    before = open_descriptors()
    monkeypatch.setattr(os if name == "ftruncate" else module.mmap, name, no_memory)
    with pytest.raises(OSError, match="no memory"):
        SharedStatus.shared(3)
    assert open_descriptors() == before


def test_a_frame_that_is_kept_keeps_no_slate_from_being_closed(monkeypatch):
    """A handler of signals, a debugger or a profiler may have found it there."""
    frames = []

    def keep(frame, event, _):
        if event == "return" and frame.f_code.co_name == "__init__":
            frames.append(frame)

    sys.setprofile(keep)
    try:
        slate = SharedStatus.shared(2)
    finally:
        sys.setprofile(None)
    assert frames
    slate.close()
