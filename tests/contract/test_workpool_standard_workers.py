"""What the workers of a WorkerPool begin with, and when they end, as concurrent.futures has it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest
from gates import double, of
from pooled import APART, PLAIN

from worker_dispatcher import WorkerPool

pytestmark = pytest.mark.above_the_pools

NewPool = Callable[..., WorkerPool]
METHODS = ["forkserver", "spawn", "fork"]
_begun: dict[int, Any] = {}  # by thread


def begin(*what: Any) -> None:
    _begun[threading.get_ident()] = what


def begun() -> Any:
    return _begun.get(threading.get_ident())


def fail(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize("kind", PLAIN)
def test_each_worker_calls_the_initializer_before_its_first_task(new_pool: NewPool, kind: str) -> None:
    pool = new_pool(2, initializer=begin, initargs=("with", 1))
    assert {future.result(30) for future in [pool.submit(begun) for _ in range(20)]} == {("with", 1)}


@pytest.mark.parametrize("kind", PLAIN)
def test_an_initializer_that_raises_breaks_the_pool_and_its_words_are_the_cause(
    new_pool: NewPool, kind: str, caplog: Any
) -> None:
    pool = new_pool(2, initializer=fail, initargs=("no database",))
    future = pool.submit(double, 1)
    broken = BrokenProcessPool if kind in APART else BrokenThreadPool
    with pytest.raises(BrokenExecutor, match="no database") as raised:
        future.result(30)
    assert type(raised.value) is broken
    assert "no database" in str(raised.value.__cause__)
    with pytest.raises(BrokenExecutor, match="no database"):
        pool.submit(double, 1)
    pool.shutdown()
    if kind == "thread":  # as concurrent.futures does; what processes log is their own
        (record,) = [record for record in caplog.records if record.name == "concurrent.futures"]
        assert record.levelno == logging.CRITICAL
        assert "no database" in caplog.text


def test_an_initializer_that_is_no_function_is_refused(kind: str, new_pool: NewPool) -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        new_pool(initializer=3)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_pool_that_has_ended_keeps_no_arguments_of_its_initializer(new_pool: NewPool, kind: str) -> None:
    import weakref

    held = threading.Thread() if kind == "thread" else multiprocessing.get_context("fork").Event()
    alive = weakref.ref(held)
    pool = new_pool(1, initializer=begin, initargs=(held,), mp_context=None if kind == "thread" else "fork")
    pool.submit(double, 1).result(30)
    _begun.clear()
    pool.shutdown()
    del held
    assert alive() is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", APART)
def test_a_lone_task_is_begun_at_once_however_workers_are_started(new_pool: NewPool, kind: str, method: str) -> None:
    for _ in range(2):
        began = time.monotonic()
        with new_pool(1, mp_context=method) as pool:
            assert pool.submit(double, 2).result(30) == 4
        assert time.monotonic() - began < 9  # a worker of which nobody had taken notice was looked at after 10 s


@pytest.mark.parametrize("kind", APART)
def test_workers_are_started_as_the_context_says(new_pool: NewPool, kind: str) -> None:
    assert new_pool(1, mp_context=multiprocessing.get_context("fork")).submit(os.getppid).result(30) == os.getpid()
    for method in ("spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        assert new_pool(1, mp_context=context).submit(os.getppid).result(30) != os.getpid()


@pytest.mark.parametrize("kind", APART)
@pytest.mark.parametrize("context", ["fork", multiprocessing.get_context("fork")])
def test_processes_that_are_forked_are_not_replaced_after_so_many_tasks(kind: str, context: Any) -> None:
    with pytest.raises(ValueError, match=r"max_tasks_per_child +does not go with the start method 'fork'"):
        WorkerPool(1, kind=kind, mp_context=context, max_tasks_per_child=3)


@pytest.mark.parametrize("method", [None, "spawn"])
@pytest.mark.parametrize("kind", ["process"])
def test_a_process_is_replaced_after_so_many_tasks(new_pool: NewPool, kind: str, method: str | None) -> None:
    pool = new_pool(1, mp_context=method, max_tasks_per_child=3)
    pids = [pool.submit(os.getpid).result(30) for _ in range(7)]
    assert len(set(pids[:3])) == len(set(pids[3:6])) == 1
    assert len(set(pids)) == 3


def test_workers_are_started_as_tasks_come(kind: str, new_pool: NewPool) -> None:
    pool = new_pool(4)
    assert pool.stats().workers == 0
    for number in range(3):
        assert pool.submit(of(kind, double), number).result(30) == 2 * number
    if kind != "coroutine":
        assert pool.stats().workers <= (2 if kind == "grid" else 1)
