"""Everything at once, at random, on pools that are kept: every task ends, the books add up, nothing hangs."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import threading
import time
from concurrent.futures import CancelledError

import pytest

from worker_dispatcher import PoolClosed, PoolFull, TaskHooks, WorkerPool, current_task

SECONDS = 60.0
MANY = 1000  # tasks that wait: what a busy machine does in the time that their end is waited for
KINDS = ["thread", "process", "grid", "coroutine"]


@pytest.fixture(autouse=True)
def _told_where_it_hangs():
    faulthandler.dump_traceback_later(SECONDS * 3, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def seed_of(name):
    seed = int(os.environ.get("STORM_SEED", random.SystemRandom().randrange(1 << 30)))
    print(f"STORM_SEED={seed}  # {name}")
    return random.Random(seed)


def short(x):
    return x * 2


def slow(seconds):
    time.sleep(seconds)
    return seconds


def bad(x):
    raise KeyError(x)


def asks(seconds):
    task = current_task()
    assert task is not None
    until = time.monotonic() + seconds
    while time.monotonic() < until and not task.cancelled():
        time.sleep(0.001)
    return task.id


async def short_async(x):
    return x * 2


async def slow_async(seconds):
    import asyncio

    await asyncio.sleep(seconds)
    return seconds


async def bad_async(x):
    raise KeyError(x)


async def asks_async(seconds):
    return await slow_async(seconds)


PLAIN, ASYNC = (short, slow, bad, asks), (short_async, slow_async, bad_async, asks_async)


def pool_of(kind, size=4, **settings):
    threads = 2 if kind == "grid" else 1
    return WorkerPool(size, kind=kind, threads_per_process=threads, **settings)


class Storm:
    """Threads that call everything on one pool at random. futures: of all tasks that the pool has taken."""

    def __init__(self, pool, kind, dice, *, ends):
        self.pool, self.kind, self.dice, self.ends = pool, kind, dice, ends
        self.functions = ASYNC if kind == "coroutine" else PLAIN
        self.futures, self.errors, self.hooked = [], [], []
        self.hooks = TaskHooks(self.hooked.append, self.hooked.append, self.hooked.append, self.hooked.append)

    def rage(self, threads):
        crew = [threading.Thread(target=self._live, args=(self.dice.randrange(1 << 30),)) for _ in range(threads)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        assert not self.errors, self.errors[0]

    def _live(self, seed):
        dice = random.Random(seed)
        acts = [self._submit] * 6 + [self._schedule] * 6 + [self._cancel] * 2 + [self._look, self._group, self._wait]
        acts += [self._resize, self._pause, self._rescue, self._map]
        while time.monotonic() < self.ends:
            try:
                dice.choice(acts)(dice)
            except (PoolClosed, PoolFull, CancelledError):  # a rescue takes the tasks of a map, too
                pass
            except BaseException as error:
                self.errors.append(error)
                raise

    def _call(self, dice):
        function = dice.choices(self.functions, (6, 2, 1, 1))[0]
        slowly = function in (slow, asks, slow_async, asks_async)
        return function, (dice.uniform(0, 0.02) if slowly else dice.randrange(100),)

    def _submit(self, dice):
        function, args = self._call(dice)
        self.futures.append(self.pool.submit(function, *args))

    def _schedule(self, dice):
        function, args = self._call(dice)
        how = {
            "delay": dice.choice([0, 0, dice.uniform(0, 0.05)]),
            "deadline": dice.choice([None, None, dice.uniform(0.06, 0.5)]),
            "timeout": dice.choice([None, None, None, dice.uniform(0.002, 0.1)]),
            "retries": dice.choice([0, 0, 2]),
            "backoff": lambda attempt: 0.01,
            "retry_on": dice.choice([Exception, KeyError]),
            "priority": dice.choice([0, 0, 1, -1]),
            "hooks": dice.choice([None, self.hooks]),
            "block": False,
        }
        self.futures.append(self.pool.schedule(function, args, **how))

    def _some(self, dice):
        try:
            return self.futures[-dice.randrange(1, 50)]
        except (IndexError, ValueError):
            return None

    def _cancel(self, dice):
        if (future := self._some(dice)) is not None:
            ways = [future.cancel, lambda: self.pool.cancel(future), lambda: self.pool.cancel(future, kill=True)]
            dice.choices(ways, (4, 3, 1))[0]()

    def _look(self, dice):
        stats = self.pool.stats()
        assert min(stats) >= 0
        assert self.pool.get("nobody") is None

    def _group(self, dice):
        with self.pool.group(max_workers=dice.choice([None, 1, 2]), name="g") as group:
            for _ in range(dice.randrange(6)):
                function, args = self._call(dice)
                self.futures.append(group.submit(function, *args))
            if dice.random() < 0.3:
                group.cancel()

    def _wait(self, dice):
        if (future := self._some(dice)) is not None:
            try:
                future.result(0.05)
            except (Exception, CancelledError):
                pass

    def _resize(self, dice):
        self.pool.resize(dice.randrange(1, 7))

    def _pause(self, dice):
        with self.pool.pause(timeout=0.01):
            time.sleep(dice.uniform(0, 0.005))

    def _rescue(self, dice):
        if dice.random() < 0.2:
            for task in self.pool.rescue():
                self.futures.append(self.pool.schedule(task, delay=0, id=None, block=False))

    def _map(self, dice):
        function = self.functions[0]
        results = self.pool.map(function, range(dice.randrange(20)))
        if dice.random() < 0.5:
            next(results, None)
        results.close()


def all_have_ended(futures, within=30.0):
    until = time.monotonic() + within
    for future in futures:
        try:
            future.exception(max(0.0, until - time.monotonic()))
        except CancelledError:
            pass
        assert future.done()
        outcome = future.outcome()
        assert outcome.state in ("succeeded", "failed", "timeout", "expired", "cancelled", "rescued")


def books_add_up(pool):
    stats = pool.stats()
    ends = stats.succeeded + stats.failed + stats.timeout + stats.expired + stats.cancelled + stats.rescued
    assert stats.submitted == ends + len(pool), stats
    return stats


def rage_on(kind, seconds, dice, threads=16):
    pool = pool_of(kind, capacity=dice.choice([None, 200]), max_abandoned=4)
    storm = Storm(pool, kind, dice, ends=time.monotonic() + seconds)
    storm.rage(threads)
    pool.resume()
    all_have_ended(storm.futures)
    assert pool.join(30)
    books_add_up(pool)
    assert pool.stats().hook_errors == 0
    pool.shutdown(timeout=20)
    assert books_add_up(pool).running == 0


@pytest.mark.leaves_threads
@pytest.mark.parametrize("kind", KINDS)
def test_threads_that_call_everything_at_random_lose_nothing(kind):
    rage_on(kind, 2.0, seed_of("at random"), threads=8)


@pytest.mark.slow
@pytest.mark.leaves_threads
@pytest.mark.parametrize("kind", KINDS)
def test_a_long_storm_loses_nothing(kind):
    rage_on(kind, SECONDS, seed_of("long"))


def noted(path, id):
    """A task that says that it has run; some take a little longer."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{id}\n".encode())
    os.close(descriptor)
    time.sleep(0.003 * (id % 7 == 0))
    return id


async def noted_async(path, id):
    return noted(path, id)


def cancel_at_random(kind, seconds, dice, path):
    """What is told to be cancelled has not run, and never does; what is rescued likewise; the rest runs once."""
    pool, until = pool_of(kind), time.monotonic() + seconds
    function, futures, gone = noted_async if kind == "coroutine" else noted, [], set()
    while time.monotonic() < until:
        first = len(futures)
        futures += [pool.submit(function, str(path), id) for id in range(first, first + dice.randrange(1, 60))]
        time.sleep(dice.choice([0, 0, dice.uniform(0, 0.003)]))
        for id in dice.sample(range(first, len(futures)), (len(futures) - first) // 2):
            if futures[id].cancel():
                gone.add(id)
        if dice.random() < 0.1:
            gone |= {task.args[1] for task in pool.rescue()}
    assert pool.join(60)
    pool.shutdown(timeout=20)
    ran = list(map(int, path.read_text().split()))
    assert sorted(ran) == sorted(set(range(len(futures))) - gone)
    assert {id for id, future in enumerate(futures) if future.cancelled()} == gone
    assert gone
    assert ran


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cancelled_at_random_never_runs_and_the_rest_runs_once(kind, tmp_path):
    cancel_at_random(kind, 2.0, seed_of("cancelled"), tmp_path / "ran")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cancelled_at_random_for_long_never_runs_and_the_rest_runs_once(kind, tmp_path):
    cancel_at_random(kind, SECONDS, seed_of("cancelled for long"), tmp_path / "ran")


def start_and_stop(kind, seconds, dice):
    until = time.monotonic() + seconds
    function = short_async if kind == "coroutine" else short
    while time.monotonic() < until:
        pool = pool_of(kind, dice.randrange(2, 5))
        futures = [pool.submit(function, at) for at in range(dice.randrange(30))]
        how = {"wait": dice.random() < 0.7, "cancel_futures": dice.random() < 0.3, "kill": dice.random() < 0.3}
        time.sleep(dice.choice([0, dice.uniform(0, 0.01)]))
        pool.shutdown(**how)
        with pytest.raises(PoolClosed):
            pool.submit(function, 1)
        all_have_ended(futures)
        pool.shutdown()
        books_add_up(pool)


@pytest.mark.parametrize("kind", KINDS)
def test_pools_that_are_started_and_stopped_at_once_end_every_task(kind):
    start_and_stop(kind, 2.0, seed_of("start and stop"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_long_storm_of_starts_and_stops_ends_every_task(kind):
    start_and_stop(kind, SECONDS, seed_of("start and stop"))


def resize_under_load(kind, seconds, dice, most):
    pool = pool_of(kind)
    function = short_async if kind == "coroutine" else short
    until = time.monotonic() + seconds
    futures = []
    while time.monotonic() < until:
        pool.resize(dice.choice([1, 2, most]))
        if len(pool) < MANY:
            futures += [pool.submit(function, at) for at in range(50)]
        time.sleep(dice.uniform(0, 0.02))
    all_have_ended(futures)
    assert [future.result() for future in futures] == [at * 2 for _ in range(len(futures) // 50) for at in range(50)]
    books_add_up(pool)
    pool.shutdown()


@pytest.mark.parametrize("kind", KINDS)
def test_resizing_under_load_loses_nothing(kind):
    resize_under_load(kind, 2.0, seed_of("resize"), 6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_resizing_to_many_workers_and_back_for_long_loses_nothing(kind):
    resize_under_load(kind, SECONDS, seed_of("resize"), 64)


def kill_under_load(kind, seconds, dice):
    """Kill random workers: only what ran in one may end badly, and in a process that is one task for each kill."""
    pool = pool_of(kind)
    pool.submit(short, 1).result()
    until, killed = time.monotonic() + seconds, 0
    futures = []
    while time.monotonic() < until:
        if len(pool) < MANY:
            futures += [pool.submit(slow, 0.001) for _ in range(20)]
        if pids := list(set(pool._scheduler.pool.pids.values())):
            try:
                os.kill(dice.choice(pids), signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        time.sleep(dice.uniform(0, 0.05))
    all_have_ended(futures)
    stats = books_add_up(pool)
    assert stats.failed <= killed, stats
    assert stats.succeeded >= len(futures) - killed
    pool.shutdown()


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_killed_workers_cost_one_task_each_at_most(kind):
    kill_under_load(kind, 2.0, seed_of("kills"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["process", "grid"])
def test_killed_workers_cost_one_task_each_at_most_for_long(kind):
    kill_under_load(kind, SECONDS, seed_of("kills"))
