"""What waits for a limiter is looked for when that lets it start, however the moments fall."""

from __future__ import annotations

from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.workpool.backlog import Backlog
from worker_dispatcher.workpool.future import QUEUED


class Settings:
    priority, timeout = 0, None

    def __init__(self, limiter: Any) -> None:
        self.limiter = limiter


class Waiting:
    """A future, as the backlog sees it."""

    def __init__(self, number: int, limiter: Any, group: Any = None) -> None:
        self.number, self.settings, self.group = number, Settings(limiter), group
        self.phase, self.due, self.stop_at, self.attempts = QUEUED, 0.0, float("inf"), 0
        self.submitted_at = self.ready_at = 0.0
        self.call = self.item = None

    def begin(self) -> bool:
        return True

    def wait_as(self, phase: int) -> bool:
        self.phase = phase
        return True


class Limit:
    """A limiter whose moments the test sets."""

    def __init__(self) -> None:
        self.due, self.taken = now() + 3600, 0

    def take(self) -> float:
        self.taken += 1
        return 0.0


class Full:
    """A group that lets nothing start."""

    running = 0

    def has_room(self) -> bool:
        return False


class Given:
    """A batch of one, as an attempt comes back."""

    first, attempt = 7, 2


def backlog_with(*futures: Any) -> Backlog:
    backlog = Backlog({}, set(), lambda future: None)
    for future in futures:
        backlog.add(future)
    return backlog


def test_a_limiter_that_lets_the_next_one_start_after_the_look_is_looked_at_again_at_once():
    limit = Limit()
    backlog = backlog_with(Waiting(1, limit))
    backlog.release()
    assert backlog.waiting() == 0
    assert backlog.next_due() == limit.due
    limit.due = now()  # its moment comes between the look and the sleep
    assert backlog.next_due() <= now()


def test_what_a_limiter_lets_start_and_finds_no_worker_wakes_nobody():
    limit = Limit()
    backlog = backlog_with(Waiting(1, limit))
    limit.due = now() - 1
    backlog.release()
    assert backlog.waiting() == 1
    assert backlog.next_due() == float("inf")


def test_a_task_whose_group_is_full_costs_its_limiter_nothing():
    limit = Limit()
    backlog = backlog_with(Waiting(1, limit, Full()))
    limit.due = now() - 1
    backlog.release()
    assert backlog.take(1) is None
    assert limit.taken == 0


def test_what_waits_for_the_end_of_its_last_attempt_is_not_looked_at_by_the_clock_and_holds_up_no_other():
    backlog, away = backlog_with(), {7}
    backlog.away = away
    for number in (7, 8):
        future = Waiting(number, None)
        backlog._given[number] = future  # what the workers had
        given = Given()
        given.first = number
        backlog.put_back_at(now() - 1, given)
    backlog.release()
    assert [future.number for future in backlog._plain] == [8]
    assert backlog.next_due() == float("inf")

    away.clear()
    backlog.release()
    assert [future.number for future in backlog._plain] == [8, 7]


def test_what_comes_back_from_several_workers_keeps_its_order() -> None:
    """Else what came later, and may be long, goes before it."""
    waiting = [Waiting(number, None) for number in range(7)]
    for future in waiting:
        future.settings = waiting[0].settings
    backlog = backlog_with(*waiting)
    given = [backlog.take(3) for _ in range(2)]
    backlog.release()
    for batch in given:
        assert batch is not None
        backlog.put_back(batch)
    taken = [backlog.take(1) for _ in range(7)]
    assert [batch and batch.first for batch in taken] == list(range(7))
