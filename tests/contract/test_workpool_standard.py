"""The standard face of a WorkerPool in every kind: what code that was written for concurrent.futures relies on."""

from __future__ import annotations

import asyncio
import functools
import gc
import pickle
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import pytest
from gates import Gate, double, of, wrong
from pooled import APART, KINDS, PLAIN

from worker_dispatcher import (
    DeadlineExceeded,
    DuplicateTask,
    PoolClosed,
    PoolFull,
    TaskTimeout,
    WorkerDied,
    WorkerPool,
)

pytestmark = pytest.mark.above_the_pools

NewPool = Callable[..., WorkerPool]


def add(left: int, right: int) -> int:
    return left + right


class Thing:
    def method(self) -> None:
        pass


def thing(_: Any) -> Thing:
    return Thing()


def test_a_pool_is_an_executor_and_its_futures_are_futures(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    assert isinstance(pool, futures.Executor)
    future = pool.submit(of(kind, double), 4)
    assert isinstance(future, futures.Future)
    assert future.result(30) == 8
    assert future.exception(0) is None
    assert future.done()
    assert not future.running()
    assert not future.cancelled()
    assert not future.cancel()


def test_map_gives_results_in_order_until_the_shortest_is_empty(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    assert list(pool.map(of(kind, add), range(100), range(10))) == [2 * number for number in range(10)]
    assert list(pool.map(of(kind, add), range(10), range(10), chunksize=3)) == [2 * number for number in range(10)]
    assert list(pool.map(of(kind, add), range(10), range(10), chunksize=100)) == [2 * number for number in range(10)]
    assert list(pool.map(of(kind, add), [], [])) == []


@pytest.mark.parametrize("size", [{"chunksize": 0}, {"chunksize": -1}, {"buffersize": 0}])
def test_map_refuses_sizes_below_one_before_it_draws(kind: str, new_pool: NewPool, size: dict[str, int]) -> None:
    drawn: list[int] = []
    with pytest.raises(ValueError, match="size"):
        new_pool().map(of(kind, double), (drawn.append(number) for number in range(3)), **size)
    assert not drawn


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_with_a_buffer_draws_no_further_ahead(kind: str, new_pool: NewPool, chunksize: int) -> None:
    drawn: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            drawn.append(number)
            yield number

    results = new_pool().map(of(kind, double), numbers(), buffersize=4, chunksize=chunksize)
    assert len(drawn) == 4
    assert next(results) == 0
    assert len(drawn) <= 4 + chunksize
    assert [*results] == [2 * number for number in range(1, 20)]


def test_map_raises_an_exception_where_its_result_would_be(kind: str, new_pool: NewPool) -> None:
    results = new_pool().map(of(kind, divmod_), [1, 1, 1], [2, 3, 0])
    assert next(results) == (0, 1)
    assert next(results) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)


def divmod_(left: int, right: int) -> tuple[int, int]:
    return divmod(left, right)


def test_results_that_were_taken_are_kept_alive_by_nobody(kind: str, new_pool: NewPool) -> None:
    pool = new_pool()
    gc.disable()
    try:
        for taken in pool.map(of(kind, thing), range(6)):
            alive = weakref.ref(taken)
            del taken
            _await_end_of(alive)
        future = pool.submit(of(kind, thing), 0)
        alive = weakref.ref(future.result(30))
        del future
        _await_end_of(alive)
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", PLAIN)
def test_a_pool_keeps_neither_the_object_of_a_method_nor_what_a_function_holds(new_pool: NewPool, kind: str) -> None:
    pool, held = new_pool(), Thing()
    alive = weakref.ref(held)
    pool.submit(held.method).result(30)
    if kind == "thread":  # to processes a closure goes once, so the pool keeps it
        pool.submit(lambda default=held: str(default)).result(30)
        pool.submit(functools.partial(str, held)).result(30)
    pool.submit(str, held).result(30)
    del held
    _await_end_of(alive)


def _await_end_of(alive: weakref.ref[Any]) -> None:
    """A thread may be about to let go of it; nothing comes that would make it."""
    until = time.monotonic() + 10
    while alive() is not None:
        assert time.monotonic() < until, gc.get_referrers(alive())
        time.sleep(0.001)


def test_callbacks_are_called_once_in_order_whatever_they_raise(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any, caplog: Any
) -> None:
    told: list[Any] = []

    def raises(future: Any) -> None:
        told.append("raises")
        raise KeyError("of a callback")

    future = new_pool().submit(of(kind, gate.hold), "held")
    future.add_done_callback(raises)
    future.add_done_callback(told.append)
    gate.open()
    wait_until(lambda: len(told) == 2)
    assert told == ["raises", future]
    future.add_done_callback(told.append)  # it is done: at once
    assert told == ["raises", future, future]
    assert "of a callback" in caplog.text


@pytest.mark.parametrize("kind", ["thread"])  # elsewhere, as in the standard library, one thread calls them all
def test_a_callback_sees_the_result_and_other_futures_wait_for_none(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool, seen, go_on = new_pool(), list[Any](), threading.Event()

    def look(future: Any) -> None:
        seen.append(future.result(0))
        go_on.wait(30)

    first = pool.submit(of(kind, gate.hold), "first")
    first.add_done_callback(look)
    gate.open()
    wait_until(lambda: seen == ["first"])
    try:
        assert pool.submit(of(kind, double), 2).result(30) == 4
    finally:
        go_on.set()


def test_an_exception_comes_out_as_it_is(kind: str, new_pool: NewPool) -> None:
    future = new_pool().submit(of(kind, wrong), "text")
    error = future.exception(30)
    assert type(error) is KeyError
    assert error.args == ("text",)
    with pytest.raises(KeyError, match="text"):
        future.result(0)
    text = "".join(traceback.format_exception(error))
    assert "raise KeyError(text)" in text
    if kind in APART:
        assert "raise KeyError(text)" in str(error.__cause__)
        assert "raise KeyError(text)" in error.__cause__.tb  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1)])
def test_what_a_task_raises_is_its_own_error_whatever_it_is(new_pool: NewPool, kind: str, error: BaseException) -> None:
    pool = new_pool()
    found = pool.submit(_raise, error).exception(30)
    assert type(found) is type(error)
    assert found.args == error.args
    assert pool.submit(double, 1).result(30) == 2


def _raise(error: BaseException) -> None:
    raise error


def test_wait_and_as_completed_take_futures_of_ours_and_of_others(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool()
    with futures.ThreadPoolExecutor(2) as others:
        held = {pool.submit(of(kind, gate.hold), "ours"), others.submit(gate.hold, "another's")}
        quick = {pool.submit(of(kind, double), 1), others.submit(double, 1)}
        assert futures.wait(held | quick, timeout=1, return_when=futures.FIRST_COMPLETED).done <= quick
        assert futures.wait(quick, timeout=30) == (quick, set())
        assert futures.wait(held | quick, timeout=0.05) == (quick, held)
        gate.open()
        assert set(futures.as_completed(held | quick, timeout=30)) == held | quick
        failed = pool.submit(of(kind, wrong), "x")
        late = others.submit(time.sleep, 0.5)
        done = futures.wait([failed, late], timeout=30, return_when=futures.FIRST_EXCEPTION).done
        assert failed in done


def test_a_future_of_the_pool_is_told_of_in_the_thread_that_waits(kind: str, new_pool: NewPool, gate: Gate) -> None:
    future = new_pool().submit(of(kind, gate.hold), "held")
    with pytest.raises(futures.TimeoutError):
        future.result(0.05)
    with pytest.raises(futures.TimeoutError):
        future.exception(0)
    threading.Timer(0.05, gate.open).start()
    assert future.result(30) == "held"


@pytest.mark.parametrize(
    "error",
    [
        PoolClosed("closed"),
        PoolFull("full"),
        DuplicateTask("id"),
        TaskTimeout("name", 1.5),
        DeadlineExceeded("name", 1.5),
        WorkerDied("name", "was killed by signal 9 (SIGKILL)", 3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_a_pool_survive_pickle(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_a_pool_itself_is_not_pickled_and_says_so(kind: str, new_pool: NewPool) -> None:
    with pytest.raises(TypeError, match="WorkerPool"):
        pickle.dumps(new_pool())


def test_submit_takes_no_function_by_keyword(new_pool: NewPool, kind: str) -> None:
    with pytest.raises(TypeError):
        new_pool().submit(fn=double)  # type: ignore[call-arg]


@pytest.mark.parametrize("number", [0, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_no_workers_are_refused_in_the_words_of_the_standard(kind: str, number: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        WorkerPool(number, kind=kind)


def test_map_over_its_time_cancels_what_has_not_begun(kind: str, new_pool: NewPool, gate: Gate) -> None:
    pool = new_pool(1)
    pool.submit(of(kind, double), 1).result(30)
    results = pool.map(of(kind, gate.hold), ["held", "never", "nor this"], timeout=0.5)
    with pytest.raises(TimeoutError):
        next(results)
    gate.open()
    assert pool.join(30)
    assert gate.begun() == ["held"]
    assert pool.stats().cancelled == 2


@pytest.mark.differs_on_a_cluster("what was sent there is not taken back")
def test_map_that_is_left_early_cancels_what_has_not_begun(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool = new_pool(1)
    results = pool.map(of(kind, gate.note_or_hold), ["noted", "held", "never", "nor this"])
    assert next(results) == "noted"
    wait_until(lambda: gate.begun() == ["noted", "held"])
    results.close()  # type: ignore[attr-defined]
    gate.open()
    assert pool.join(30)
    assert gate.begun() == ["noted", "held"]


def test_what_has_not_begun_is_cancelled_and_what_runs_is_not(
    kind: str, new_pool: NewPool, gate: Gate, wait_until: Any
) -> None:
    pool, told = new_pool(1), list[Any]()
    runs = pool.submit(of(kind, gate.hold), "runs")
    waits = pool.submit(of(kind, gate.hold), "waits")
    waits.add_done_callback(told.append)
    wait_until(lambda: gate.begun() == ["runs"])
    assert waits.cancel()
    assert waits.cancel()
    assert waits.cancelled()
    assert told == [waits]
    assert not runs.cancel()
    with pytest.raises(futures.CancelledError):
        waits.result(0)
    with pytest.raises(futures.CancelledError):
        waits.exception(0)
    gate.open()
    assert runs.result(30) == "runs"
    assert gate.begun() == ["runs"]


def test_as_completed_tells_of_a_cancelled_one(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1)
    held, cancelled = pool.submit(of(kind, gate.hold), "held"), pool.submit(of(kind, double), 1)
    wait_until(gate.begun)
    threading.Timer(0.05, cancelled.cancel).start()
    assert next(futures.as_completed([held, cancelled], timeout=30)) is cancelled
    gate.open()


def test_asyncio_runs_tasks_in_it(kind: str, new_pool: NewPool, gate: Gate, wait_until: Any) -> None:
    pool = new_pool(1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(pool, of(kind, double), 4) == 8
        assert await asyncio.wrap_future(pool.submit(of(kind, double), 5)) == 10
        with pytest.raises(KeyError):
            await loop.run_in_executor(pool, of(kind, wrong), "x")
        held = loop.run_in_executor(pool, of(kind, gate.hold), "held")
        waiting = loop.run_in_executor(pool, of(kind, gate.hold), "never")
        await asyncio.to_thread(wait_until, gate.begun)
        waiting.cancel()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(held), 0.05)
        gate.open()
        assert await held == "held"

    asyncio.run(main())
    assert gate.begun() == ["held"]
