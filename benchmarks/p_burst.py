"""P. What does a task cost a pool that is kept, where 20 000 are submitted at once and then all results are taken?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

from benchmarks import harness
from benchmarks.goals import Goal
from benchmarks.trivial import noop, timed_noop

Submit = Callable[[Any, int], Any]  # submit(function, item): a future
COUNT = 20_000


def burst(opened: Callable[[int], AbstractContextManager[Any]], submit: str = "submit") -> Callable[..., list[Any]]:
    """opened: opened(workers) is a pool whose method `submit` gives futures. Opening and warming it is not timed."""

    def run(case: harness.Case, items: Sequence[int], chunk: int | None) -> list[Any]:
        with opened(case.workers) as pool:
            hand_in = getattr(pool, submit)
            arguments: Callable[[int], tuple[Any, ...]] = (lambda item: (item,)) if submit == "submit" else _as_args
            for future in [hand_in(timed_noop, *arguments(item)) for item in items[:200]]:
                future.result()
            began = perf_counter()
            records = [future.result() for future in [hand_in(timed_noop, *arguments(item)) for item in items]]
            took = perf_counter() - began
        case.check(items, harness.results_of(records))
        return [took]

    return run


def _as_args(item: int) -> tuple[Any, ...]:
    return ((item,),)  # pebble takes a tuple of arguments


def seconds_of(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    (took,) = contestant.run(case, items, chunk)
    return {"us_per_task": took / len(items) * 1e6}


def kept(kind: str) -> Callable[[int], Any]:
    def opened(workers: int) -> Any:
        from worker_dispatcher import WorkerPool

        return WorkerPool(workers, kind=kind)

    return opened


def process_futures(workers: int) -> Any:
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(workers)


def thread_futures(workers: int) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(workers)


class Kept:
    """loky's reusable executor outlives the block, as it is meant to."""

    def __init__(self, workers: int) -> None:
        from loky import get_reusable_executor

        self._executor = get_reusable_executor(max_workers=workers)

    def __enter__(self) -> Any:
        return self._executor

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()


class Closing:
    """pebble's pools: closed and joined."""

    def __init__(self, kind: str, workers: int) -> None:
        import pebble

        self._pool = getattr(pebble, kind)(max_workers=workers)

    def __enter__(self) -> Any:
        return self._pool

    def __exit__(self, *error: object) -> None:
        self._pool.close()
        self._pool.join()


def check(items: Sequence[int], results: Sequence[int]) -> None:
    assert list(results) == list(items)


def no_figures(items: Sequence[int], seconds: float) -> dict[str, float]:
    return {}


def contestant(name: str, kind: str, run: Callable[..., Any], needs: str | None = None) -> harness.Contestant:
    return harness.Contestant(name, kind, run, needs)


def case(name: str, goals: tuple[Goal, ...], *contestants: harness.Contestant) -> harness.Case:
    return harness.Case(
        name, COUNT, noop, timed_noop, range, check, no_figures, "us_per_task",
        measure=seconds_of, goals=goals, contestants=contestants,
    )  # fmt: skip


CASES = (
    case(
        "processes",
        (Goal(times=5, than="ProcessPoolExecutor (default)"),),
        contestant("worker_dispatcher", "ours", burst(kept("process"))),
        contestant("worker_dispatcher, a grid", "ours-grid", burst(kept("grid"))),
        contestant("ProcessPoolExecutor", "default", burst(process_futures)),
        contestant("loky", "default", burst(Kept), "loky"),
        contestant("pebble", "default", burst(lambda n: Closing("ProcessPool", n), "schedule"), "pebble"),
    ),
    case(
        "threads",
        (Goal(times=1, than="ThreadPoolExecutor (default)"),),
        contestant("worker_dispatcher", "ours", burst(kept("thread"))),
        contestant("ThreadPoolExecutor", "default", burst(thread_futures)),
        contestant("pebble threads", "default", burst(lambda n: Closing("ThreadPool", n), "schedule"), "pebble"),
    ),
)
ROW = harness.Row(str(__doc__), CASES)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.p_burst"))
