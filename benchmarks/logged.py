"""Tiny tasks with their logs read: the clock stops when the caller holds a dict for each, as `get_logs()` gives it.

Rivals get a wrapper that takes the times and the process, and a loop that makes the same dicts of what comes back. That
is their cheapest way: dicts made in the workers take longer to send than to make.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Sequence
from os import getpid
from time import perf_counter, time
from typing import Any

from benchmarks.goals import Goal
from benchmarks.harness import Case, Contestant
from benchmarks.rivals import OurRun


def logged_noop(item: int) -> tuple[int, float, float, int]:
    start = time()
    return item, start, time(), getpid()


def dicts_of(rows: Sequence[Any]) -> list[dict[str, Any]]:
    numbers: dict[int, int] = {}
    return [
        {
            "task_id": task_id,
            "started_at": start,
            "ended_at": end,
            "duration": end - start,
            "result": result,
            "metadata": {},
            "status": "ok",
            "error": None,
            "attempts": 1,
            "worker": numbers.setdefault(pid, len(numbers) + 1),
            "pid": pid,
        }
        for task_id, (result, start, end, pid) in enumerate(rows, 1)
    ]


def measured(case: Case, contestant: Contestant, items: Sequence[Any], chunk: int | None) -> dict[str, float]:
    """Seconds of one call and of reading its logs, after a warm-up with a tenth of the items."""
    logs_of(case, contestant, items[: max(case.workers, len(items) // 10)], chunk)
    gc.collect()
    began = perf_counter()
    logs = logs_of(case, contestant, items, chunk)
    read = [log["duration"] for log in logs]
    seconds = perf_counter() - began
    assert len(read) == len(items)
    case.check(items, [log["result"] for log in logs])
    assert set(logs[-1]) == set(dicts_of([(0, 0.0, 0.0, 1)])[0])
    return case.figures(items, seconds) | {"seconds": seconds}


def logs_of(case: Case, contestant: Contestant, items: Sequence[Any], chunk: int | None) -> list[dict[str, Any]]:
    rows = contestant.run(case, items, chunk)
    if isinstance(rows, OurRun):
        import worker_dispatcher

        return worker_dispatcher.get_logs()
    return dicts_of(rows)


# Those that send each task by itself unless told otherwise take 100 us a task.
ONE_BY_ONE = {"ProcessPoolExecutor", "loky", "pebble", "ThreadPoolExecutor", "joblib threads", "pebble threads"}


def with_logs(case: Case, contestants: Sequence[Contestant]) -> Case:
    """The same case, with its logs read."""
    return dataclasses.replace(
        case,
        name=f"{case.name}, logs read",
        timed=logged_noop,
        measure=measured,
        goals=(Goal(times=1),),
        contestants=tuple(one for one in contestants if one.kind != "default" or one.name not in ONE_BY_ONE),
    )
