"""Coroutine functions in workers that are threads or processes: each worker keeps one loop for all of them."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

import pytest

from worker_dispatcher import WorkerPool

PATIENCE = 30  # seconds, for what takes a moment on a machine that has nothing else to do
KINDS = ["thread", "process", "grid"]
kept = threading.local()


async def loop_of_worker():
    await asyncio.sleep(0)
    return os.getpid(), threading.get_ident(), id(asyncio.get_running_loop())


async def uses_what_another_made():
    """An event of asyncio and a task, made by the first that came to this worker."""
    if not hasattr(kept, "event"):
        kept.event = asyncio.Event()
        kept.task = asyncio.ensure_future(kept.event.wait())
        return "made"
    kept.event.set()
    return await asyncio.wait_for(kept.task, 5)


async def add(x, y):
    await asyncio.sleep(0.001)
    return x + y


async def raises(error):
    await asyncio.sleep(0)
    raise error


async def stops_its_loop():
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "went on"


async def leaves_a_task():
    kept.left = asyncio.ensure_future(asyncio.sleep(3600))


async def agen():
    try:
        yield 1
        yield 2
    finally:
        pass


async def leaves_a_generator():
    kept.generator = agen()
    return await kept.generator.__anext__()


@pytest.fixture(params=KINDS)
def pool(request):
    with WorkerPool(1, kind=request.param) as made:
        yield made


def test_each_worker_has_one_loop_for_all_coroutines(pool):
    assert len({pool.submit(loop_of_worker).result(PATIENCE) for _ in range(20)}) == 1


def test_what_one_task_makes_on_the_loop_another_of_the_same_worker_can_use(pool):
    assert pool.submit(uses_what_another_made).result(PATIENCE) == "made"
    assert pool.submit(uses_what_another_made).result(PATIENCE) is True


@pytest.mark.parametrize("error", [KeyError("it"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_whatever_a_coroutine_raises_is_its_own_error_and_the_loop_goes_on(pool, error):
    first = pool.submit(loop_of_worker).result(PATIENCE)
    with pytest.raises(type(error)):
        pool.submit(raises, error).result(PATIENCE)
    assert pool.submit(loop_of_worker).result(PATIENCE) == first


def test_a_task_that_stops_the_loop_is_awaited_nevertheless(pool):
    assert pool.submit(stops_its_loop).result(PATIENCE) == "went on"
    assert pool.submit(add, 1, 2).result(PATIENCE) == 3


def test_what_tasks_leave_on_the_loop_ends_with_the_worker():
    before = set(os.listdir("/proc/self/fd"))
    with WorkerPool(2) as pool:
        pool.submit(leaves_a_task).result(PATIENCE)
        assert pool.submit(leaves_a_generator).result(PATIENCE) == 1
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_threads_of_a_grid_have_a_loop_each():
    with WorkerPool(2, kind="grid", threads_per_process=2) as pool:
        found = {pool.submit(slow_loop).result(PATIENCE) for _ in range(5)}
        both = {future.result(PATIENCE) for future in [pool.submit(slow_loop) for _ in range(2)]}
    assert len(both) == 2
    assert found <= both | found


async def slow_loop():
    time.sleep(0.1)
    return os.getpid(), threading.get_ident(), id(asyncio.get_running_loop())


def test_mixed_with_plain_functions(pool):
    futures = [pool.submit(add, n, 1) if n % 2 else pool.submit(abs, -n) for n in range(40)]
    assert [future.result(PATIENCE) for future in futures] == [n + 1 if n % 2 else n for n in range(40)]
