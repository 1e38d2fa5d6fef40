"""A coroutine that ends in the moment in which it is given up has one outcome, whichever comes first."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from worker_dispatcher.call import Call
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.clock import now
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, NotStarted, Setup
from worker_dispatcher.pools.threads import ThreadPool
from worker_dispatcher.records import CANCELLED, TIMEOUT


class OneBatch:
    """A source of one batch."""

    def __init__(self, items, timeout):
        self._batch = Batch(1, items, timeout=timeout)

    def take_alone(self):
        return None

    def take(self, count):
        batch, self._batch = self._batch, None
        return batch


class HeldUp(deque):
    """Where a runner says what has ended: it is held up there, before or after it has said so."""

    def __init__(self, before):
        super().__init__()
        self._before, self.reached, self.go_on = before, threading.Event(), threading.Event()
        self.said = threading.Event()

    def append(self, what):
        if not self._before:
            super().append(what)
        self.reached.set()
        self.go_on.wait(20)
        if self._before:
            super().append(what)
        self.said.set()


async def gives_back(item):
    return item


def pool_of_one():
    return ThreadPool(Setup(Call(gives_back, CallStyle(positional=True)), coroutine=True), 1)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("timeout", [None, 60.0])
def test_what_ends_as_the_run_is_stopped_is_told_once(before, timeout):
    pool = pool_of_one()
    done = pool._runner.done = HeldUp(before)
    try:
        pool.feed(OneBatch(["first", "second"], timeout))
        assert done.reached.wait(20)
        told = pool.stop()
        done.go_on.set()
        assert done.said.wait(20)
        told += pool.stop()  # as after a Ctrl-C that comes while a run is stopped
    finally:
        done.go_on.set()
        pool.close()
    first, second = sorted(told, key=lambda event: isinstance(event, NotStarted))
    assert isinstance(second, NotStarted)
    assert list(second.batch.items) == ["second"]
    if before:
        assert isinstance(first, AttemptDone)
        assert first.failure.status == CANCELLED
    else:
        assert isinstance(first, BatchDone)
        assert first.results == ["first"]


@pytest.mark.parametrize("before", [True, False])
def test_what_ends_as_its_loop_is_left_behind_is_told_once(before):
    pool, told = pool_of_one(), []
    runner = pool._runner
    done = runner.done = HeldUp(before)
    try:
        pool.feed(OneBatch(["first"], 0.05))
        assert done.reached.wait(20)
        while pool._runner is runner:
            pool.sleep(min(now() + 20, pool.due))
            told += pool.collect()
        done.go_on.set()
        assert done.said.wait(20)
        pool.sleep(now() + 0.01)
        told += pool.collect()
        told += pool.stop()
    finally:
        done.go_on.set()
        pool.close()
    (first,) = told
    if before:
        assert first.failure.status == TIMEOUT
    else:
        assert first.results == ["first"]
