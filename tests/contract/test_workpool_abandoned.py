"""Threads that a pool leaves behind with a task that is over its time: they hold their places until they return."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from worker_dispatcher import TaskTimeout, WorkerPool

PATIENCE = 30  # seconds, for what takes a moment on a machine that has nothing else to do


class Stuck:
    """A function that returns when it is told to. ran: how often it has begun."""

    def __init__(self):
        self.go, self.ran, self.threads = threading.Event(), 0, set()

    def __call__(self, value=None):
        self.ran += 1
        self.threads.add(threading.get_ident())
        assert self.go.wait(PATIENCE)
        return value


@pytest.fixture
def stuck():
    made = Stuck()
    yield made
    made.go.set()


def await_(fact):
    until = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.005)


def timed_out(pool, stuck, count=1):
    futures = [pool.schedule(stuck, timeout=0.1) for _ in range(count)]
    for future in futures:
        with pytest.raises(TaskTimeout):
            future.result(PATIENCE)
    return futures


def test_the_place_of_a_thread_that_was_left_behind_is_taken_until_it_returns(stuck):
    with WorkerPool(1) as pool:
        timed_out(pool, stuck)
        assert pool.stats().abandoned == 1
        waiting = pool.submit(abs, -3)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        stuck.go.set()
        assert waiting.result(PATIENCE) == 3
        await_(lambda: pool.stats().abandoned == 0)
        assert pool.stats().workers == 1


def test_the_caller_hears_of_the_timeout_at_once(stuck):
    with WorkerPool(1) as pool:
        began = time.monotonic()
        timed_out(pool, stuck)
        assert time.monotonic() - began < 3
        stuck.go.set()


def test_so_many_threads_as_may_stand_in_for_those_that_were_left_behind(stuck):
    with WorkerPool(1, max_abandoned=2) as pool:
        timed_out(pool, stuck)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        timed_out(pool, stuck)
        assert pool.submit(abs, -2).result(PATIENCE) == 2
        timed_out(pool, stuck)
        assert pool.stats().abandoned == 3
        waiting = pool.submit(abs, -3)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        stuck.go.set()
        assert waiting.result(PATIENCE) == 3
        await_(lambda: pool.stats().abandoned == 0)
        await_(lambda: pool.stats().workers <= 1)  # those that stood in are too many now


def test_other_places_go_on(stuck):
    with WorkerPool(3) as pool:
        timed_out(pool, stuck, 2)
        assert list(pool.map(abs, range(-200, 0))) == list(range(200, 0, -1))
        assert pool.stats().abandoned == 2
        stuck.go.set()


def test_a_retry_waits_for_the_attempt_that_was_left_behind_also_where_there_is_a_place():
    began, go = [], threading.Event()

    def once_stuck():
        began.append(time.monotonic())
        if len(began) == 1:
            assert go.wait(PATIENCE)
            returned.append(time.monotonic())
        return "well"

    returned = []
    with WorkerPool(2) as pool:
        future = pool.schedule(once_stuck, timeout=0.1, retries=1, retry_on=TaskTimeout, backoff=lambda attempt: 0.0)
        await_(lambda: pool.stats().abandoned == 1)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        time.sleep(0.2)
        assert len(began) == 1
        go.set()
        assert future.result(PATIENCE) == "well"
    assert returned[0] <= began[1]


def test_what_is_killed_while_it_runs_holds_its_place_too(stuck):
    with WorkerPool(1) as pool:
        future = pool.submit(stuck)
        await_(lambda: stuck.ran == 1)
        assert future.kill()
        assert future.cancelled()
        waiting = pool.submit(abs, -3)
        assert pool.stats().abandoned == 1
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        stuck.go.set()
        assert waiting.result(PATIENCE) == 3


def test_resize_gives_places_beside_those_that_are_taken(stuck):
    with WorkerPool(1) as pool:
        timed_out(pool, stuck)
        waiting = pool.submit(abs, -3)
        pool.resize(2)
        assert waiting.result(PATIENCE) == 3
        assert pool.stats().abandoned == 1
        stuck.go.set()


def test_tasks_that_wait_for_a_place_can_be_cancelled_and_expire(stuck):
    with WorkerPool(1) as pool:
        timed_out(pool, stuck)
        waiting = [pool.submit(abs, -3) for _ in range(5)]
        late = pool.schedule(abs, (-3,), deadline=0.2)
        assert late.outcome(PATIENCE).state == "expired"
        assert all(pool.cancel(future) for future in waiting)
        assert len(pool) == 0
        assert pool.join(PATIENCE)
        stuck.go.set()


def test_shutdown_does_not_wait_for_what_was_left_behind(stuck):
    pool = WorkerPool(1)
    timed_out(pool, stuck)
    began = time.monotonic()
    pool.shutdown()
    assert time.monotonic() - began < 10


SCRIPT = """
import time
from worker_dispatcher import WorkerPool, TaskTimeout
pool = WorkerPool(1)
try:
    pool.schedule(time.sleep, (600,), timeout=0.1).result()
except TaskTimeout:
    print("over its time", flush=True)
pool.submit(print, "never")
"""


def test_the_program_ends_though_a_task_waits_for_a_place_that_is_never_free():
    ended = subprocess.run([sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "over its time\n"
    assert ended.returncode == 0, ended.stderr
