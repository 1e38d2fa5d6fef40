"""What may be said of a pool, a group and a task: what is wrong is refused, all at once and with the nearest spelling.

No worker is started: a pool has none before its first task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from worker_dispatcher import Backoff, ConfigError, TaskHooks, WorkerPool


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(1) as made:
        yield made


WRONG: list[tuple[str, Any, str]] = [
    ("timeout", 0, "expected seconds above 0, or None, got 0"),
    ("timeout", -1, "expected seconds above 0, or None, got -1"),
    ("timeout", True, "got True"),
    ("timeout", float("nan"), "got nan"),
    ("timeout", float("inf"), "got inf"),
    ("timeout", "5", "got '5'"),
    ("deadline", -1, "expected seconds of at least 0, or None, got -1"),
    ("retries", -1, "expected a whole number of at least 0, got -1"),
    ("retries", 1.5, "got 1.5"),
    ("retries", True, "got True"),
    ("backoff", 3, "expected a function or None, got 3"),
    ("retry_on", "OSError", "expected exception types"),
    ("retry_on", int, "expected exception types"),
    ("retry_on", (OSError, 3), "expected exception types"),
    ("options", [1], r"expected a dict or None, got \[1\]"),
    ("hooks", print, r"expected TaskHooks\(on_success=...\)"),
    ("hooks", TaskHooks(on_error="mail"), "got 'mail' as on_error"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("name", "value", "text"), WRONG)
def test_a_wrong_setting_is_refused_by_pool_group_and_task_alike(
    pool: WorkerPool, name: str, value: Any, text: str
) -> None:
    for call, place in (
        (lambda: WorkerPool(1, **{name: value}), "WorkerPool()"),
        (lambda: pool.group(**{name: value}), "group()"),
        (lambda: pool.schedule(abs, (1,), **{name: value}), "schedule()"),
    ):
        with pytest.raises(ConfigError, match=text) as caught:
            call()
        ((path, _),) = caught.value.problems
        assert path == name
        assert str(caught.value).startswith(f"1 problem in {place}\n  {name}")
    assert len(pool) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("priority", "high"), ("limiter", 5), ("name", 5), ("on_done", 5), ("delay", -1), ("delay", "1")],
        *[("id", []), ("block", "yes"), ("put_timeout", -1)],
    ],
)
def test_what_is_said_of_one_task_is_checked(pool: WorkerPool, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"1 problem in schedule\\(\\)\n  {name}  expected"):
        pool.schedule(abs, (1,), **{name: value})
    assert len(pool) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("max_workers", 0), ("max_workers", -3), ("max_workers", 1.5), ("max_workers", True), ("max_workers", "2")],
        *[("kind", "threads"), ("threads_per_process", 0), ("capacity", 0), ("on_full", "drop")],
        *[("max_abandoned", -1), ("idle_timeout", 0), ("max_tasks_per_child", 0), ("mp_context", "thread")],
    ],
)
def test_what_is_said_of_a_pool_is_checked(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="1 problem in WorkerPool") as caught:
        WorkerPool(**{name: value})
    assert caught.value.problems[0][0] == name


@pytest.mark.parametrize(("name", "value"), [("max_tasks_per_child", 5), ("mp_context", "spawn")])
def test_what_a_cluster_does_not_do_is_refused_of_a_pool_on_one(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"1 problem in WorkerPool\\(\\)\n  {name}  does not go with kind 'dask'"):
        WorkerPool(kind="dask", **{name: value})


@pytest.mark.parametrize(("name", "value"), [("max_workers", 0), ("deadline", -2), ("deadline", "soon")])
def test_what_is_said_of_a_group_is_checked(pool: WorkerPool, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"1 problem in group\\(\\)\n  {name}"):
        pool.group(**{name: value})


def test_all_problems_are_told_at_once_with_the_nearest_spelling(pool: WorkerPool) -> None:
    with pytest.raises(ConfigError) as caught:
        pool.schedule("no function", timout=3, retries=-1, delay=-2, id=[])  # type: ignore[call-arg, arg-type]
    assert dict(caught.value.problems) == {
        "fn": "expected a function or a Task, got 'no function'",
        "id": "expected something hashable, such as text or a number, got []",
        "delay": "expected seconds of at least 0, or None, got -2",
        "retries": "expected a whole number of at least 0, got -1",
        "timout": "unknown; did you mean 'timeout'?",
    }
    with pytest.raises(ConfigError, match=r"max_worker +unknown; did you mean 'max_workers'\?"):
        WorkerPool(max_worker=3)
    with pytest.raises(ConfigError, match=r"failfast +unknown; did you mean 'fail_fast'\?"):
        pool.group(failfast=True)
    with pytest.raises(ConfigError, match="1 problem in schedule"):
        pool.group().schedule(abs, (1,), prioritty=3)


def test_an_overflow_needs_a_capacity(pool: WorkerPool) -> None:
    with pytest.raises(ConfigError, match=r"overflow +needs a capacity"):
        WorkerPool(1, overflow=pool)
    with pytest.raises(ConfigError, match=r"overflow +expected a concurrent.futures.Executor, got 3"):
        WorkerPool(1, capacity=3, overflow=3)  # type: ignore[arg-type]


def test_an_initializer_that_is_no_function_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        WorkerPool(1, initializer=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("backoff", [Backoff(), Backoff(initial=0.0), lambda attempt: 0.0, None])
def test_a_backoff_is_anything_that_can_be_called(pool: WorkerPool, backoff: Any) -> None:
    assert pool.group(backoff=backoff).submit(abs, -1).result(30) == 1


def test_a_pool_without_a_size_has_as_many_workers_as_the_standard_library_gives() -> None:
    import concurrent.futures
    import multiprocessing

    from worker_dispatcher.osproc.cores import usable_cores

    with WorkerPool() as threads, concurrent.futures.ThreadPoolExecutor() as standard:
        assert threads.max_workers == standard._max_workers
    with WorkerPool(kind="process", mp_context=multiprocessing.get_context("spawn")) as processes:
        assert processes.max_workers == usable_cores()
    with WorkerPool(kind="coroutine") as coroutines:
        assert coroutines.max_workers == 1000
