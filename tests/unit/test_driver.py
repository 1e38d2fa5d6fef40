"""The driver of the core, with a pool, a source and a sink that are staged."""

from __future__ import annotations

from typing import Any

import pytest

from worker_dispatcher.clock import now
from worker_dispatcher.core.driver import Alarm, Driver
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Complaints, NotStarted, PoolFailed
from worker_dispatcher.records import CANCELLED, Failure

FAILED = Failure("ValueError", "no such order")


class Pool:
    """Says what it is told to say, one list after each sleep."""

    place, apart = "worker thread", False
    roomy, due = False, float("inf")

    def __init__(self, *news: list[Any], at_stop: tuple[Any, ...] = ()) -> None:
        self.news, self.at_stop = list(news), at_stop
        self.happened: list[Any] = []
        self.pids: dict[int, int] = {}
        self.complaints = Complaints()
        self.woken = self.hurried = self.fed = 0

    def prepare(self, workers: int) -> bool:
        return True

    def feed(self, source: Any) -> None:
        self.fed += 1

    def sleep(self, until: float) -> None:
        assert until <= now() + 1.0
        self.happened += self.news.pop(0)

    def collect(self) -> list[Any]:
        happened, self.happened = self.happened, []
        return happened

    def hurry(self) -> None:
        self.hurried += 1

    def wake(self) -> None:
        self.woken += 1

    def stop(self) -> list[Any]:
        return [*self.at_stop]

    def close(self) -> None: ...


class Source:
    """Notes what comes back to it."""

    def __init__(self) -> None:
        self.back: list[Any] = []

    def release(self) -> None: ...
    def next_due(self) -> float:
        return float("inf")

    def put_back(self, batch: Batch) -> None:
        self.back.append(batch)

    def put_back_at(self, due: float, batch: Batch) -> None:
        self.back.append((due, batch))

    def take(self, count: int) -> None: ...
    def take_alone(self) -> None: ...
    def call(self) -> None: ...
    def waiting(self) -> int:
        return 0

    def due(self) -> float:
        return float("inf")

    def crowd(self, within: float) -> int:
        return 0

    def alone_waiting(self) -> bool:
        return False


class Sink:
    """Notes what it is told; stops the driver at the failure of a task whose item is 'fatal'."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def finished(self, event: BatchDone, attempts: dict[int, int]) -> None:
        self.told.append((*event.task_ids, "ok", attempts))

    def ended(self, event: AttemptDone, attempts: int) -> str | None:
        self.told.append((event.task_id, event.failure and event.failure.type, attempts))
        return "failures" if event.item == "fatal" else None

    def broken(self, error: BaseException) -> str:
        self.told.append(error)
        return "exception"


class Once:
    """Retries: one more attempt, after so many seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def wait(self, event: AttemptDone, attempts: int) -> float | None:
        return self.seconds if attempts == 1 else None


class Never:
    def wait(self, event: AttemptDone, attempts: int) -> float | None:
        return None


def ended(task_id: int, failure: Failure | None = FAILED, item: Any = None) -> AttemptDone:
    return AttemptDone(Batch(task_id, (item,)), 1.0, 2.0, None, failure, None, 1)


def finished(first: int, count: int = 1) -> BatchDone:
    return BatchDone(first, [1.0] * count, [2.0] * count, [None] * count, {}, 1)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def sink() -> Sink:
    return Sink()


def test_ends_reach_the_sink_and_what_was_not_begun_the_source(source: Source, sink: Sink) -> None:
    pool = Pool([finished(1, 2), ended(3)], [NotStarted(Batch(4, ["d"]))])
    driver = Driver(pool, source, sink, Never())

    driver.run(lambda: bool(pool.news))

    assert sink.told == [(1, 2, "ok", {}), (3, "ValueError", 1)]
    assert source.back == [Batch(4, ["d"])]
    assert driver.stopped is None


def test_a_failed_task_waits_for_its_next_attempt_and_is_told_of_once(source: Source, sink: Sink) -> None:
    pool = Pool([ended(7, item="x")], [ended(8, item="y")], [finished(7)], [ended(8, item="y")])
    driver, before = Driver(pool, source, sink, Once(5.0)), now()

    driver.run(lambda: bool(pool.news))

    assert [batch for _, batch in source.back] == [Batch(7, ("x",), attempt=2), Batch(8, ("y",), attempt=2)]
    assert all(before + 5.0 <= due <= now() + 5.0 for due, _ in source.back)
    assert sink.told == [(7, "ok", {7: 2}), (8, "ValueError", 2)]


def test_what_waits_for_another_attempt_when_the_driver_ends_has_failed(source: Source, sink: Sink) -> None:
    running = ended(2, Failure("", "", status=CANCELLED))
    pool = Pool([ended(1), ended(2)], at_stop=(running, NotStarted(Batch(3, ["c"]))))
    driver = Driver(pool, source, sink, Once())
    driver.run(lambda: bool(pool.news))

    driver.stop("cancel")
    driver.end()

    assert sink.told == [(2, "", 1), (1, "ValueError", 1)]
    assert source.back[2:] == [Batch(3, ["c"])]


def test_nothing_is_tried_again_once_the_driver_was_stopped(source: Source, sink: Sink) -> None:
    pool = Pool([ended(1, item="fatal"), ended(2)])
    driver = Driver(pool, source, sink, Once())
    driver.stop("runtime")
    driver.run(lambda: True)
    assert pool.fed == 0  # nor is anything begun

    driver = Driver(pool, source, sink, Never())
    driver.run(lambda: True)
    assert (driver.stopped, sink.told) == ("failures", [(1, "ValueError", 1), (2, "ValueError", 1)])


def test_the_first_reason_to_stop_stands(source: Source, sink: Sink) -> None:
    error = RuntimeError("no workers")
    pool = Pool([PoolFailed(error), ended(1, item="fatal")])
    driver = Driver(pool, source, sink, Never())

    driver.run(lambda: True)
    driver.stop("cancel")

    assert driver.stopped == "exception"
    assert sink.told == [error, (1, "ValueError", 1)]


def test_timers_are_looked_at_when_they_are_due_and_before_the_pool_is_fed(source: Source, sink: Sink) -> None:
    class Clock:
        due, looks = 0.0, 0

        def look(self) -> None:
            self.looks += 1
            if self.looks == 2:
                self.due = float("inf")

    clock, pool = Clock(), Pool([], [], [])
    driver = Driver(pool, source, sink, Never(), [clock, Alarm(now() + 1000, "late")])
    driver.run(lambda: bool(pool.news))
    assert (clock.looks, pool.fed) == (2, 4)

    pool = Pool()
    driver = Driver(pool, source, sink, Never(), [Alarm(now(), "runtime")])
    driver.run(lambda: True)
    assert (driver.stopped, pool.fed) == ("runtime", 0)


def test_the_pool_hurries_for_who_asks_to_stop_in_a_hurry(source: Source, sink: Sink) -> None:
    pool = Pool()
    driver = Driver(pool, source, sink, Never())
    driver.stop("cancel")
    assert (pool.woken, pool.hurried) == (1, 0)
    driver.stop("interrupt", hurry=True)
    assert (pool.woken, pool.hurried) == (1, 1)
