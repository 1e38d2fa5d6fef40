"""L. Open loop: how late do tasks of 20 ms start that are due 1 000 or 5 000 times a second, for 10 s?

Lateness is the start of the task, read inside the task's own thread, less the moment it was due. The rivals are what a
careful script does: a pacer that sleeps to absolute moments and hands each task to an executor or an event loop.
drift_us: how much later the last tenth starts than the first, in the median, per interval of 20 ms.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import floor, harness
from benchmarks.goals import Goal

SECONDS = 10
TASK = 0.02
INTERVAL = 0.02


def work(task: object) -> int:
    time.sleep(TASK)
    return 1


async def async_work(task: object) -> int:
    await asyncio.sleep(TASK)
    return 1


def rate_of(case: harness.Case) -> int:
    return int(case.name.split("/")[0].replace(" ", ""))


def ours(case: harness.Case, items: Sequence[Any], chunk: int | None, shape: str = "threads") -> list[harness.Record]:
    import worker_dispatcher

    worker: dict[str, Any] = {"frequency_mode": {"enabled": True, "rate": rate_of(case), "pacing": "even"}}
    if shape == "grid":
        worker["parallel_processing"] = {"enabled": True}
    function = async_work if shape == "coroutines" else work
    worker_dispatcher.start({"task": {"list": items, "function": function}, "worker": worker, "verbose": False})
    return [(log["result"], log["scheduled_at"], log["started_at"]) for log in worker_dispatcher.get_logs()]


def executor(case: harness.Case, items: Sequence[Any], chunk: int | None) -> list[harness.Record]:
    from concurrent.futures import ThreadPoolExecutor

    def timed(due: float) -> harness.Record:
        started = time.monotonic()
        return work(None), due, started

    with ThreadPoolExecutor(1000) as threads:
        futures, began, gap = [], time.monotonic() + 0.1, 1 / rate_of(case)
        for nth in range(len(items)):
            due = began + nth * gap
            if (ahead := due - time.monotonic()) > 0:
                time.sleep(ahead)
            futures.append(threads.submit(timed, due))
        return [future.result() for future in futures]


def event_loop(case: harness.Case, items: Sequence[Any], chunk: int | None) -> list[harness.Record]:
    async def timed(due: float) -> harness.Record:
        started = time.monotonic()
        return await async_work(None), due, started

    async def pace() -> list[harness.Record]:
        tasks, began, gap = [], time.monotonic() + 0.1, 1 / rate_of(case)
        for nth in range(len(items)):
            due = began + nth * gap
            if (ahead := due - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            tasks.append(asyncio.ensure_future(timed(due)))
        return list(await asyncio.gather(*tasks))

    return asyncio.run(pace())


def leader_and_followers(case: harness.Case, items: Sequence[Any], chunk: int | None) -> list[harness.Record]:
    return floor.run_open_loop(work, items, rate_of(case), 1000)


def lateness(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[Any], chunk: int | None
) -> dict[str, float]:
    contestant.run(case, items[: rate_of(case) // 5], chunk)  # a warm-up of 0.2 s
    records = contestant.run(case, items, chunk)
    assert len(records) == len(items), f"{len(records)} of {len(items)} tasks ran"
    assert all(result == 1 for result, _, _ in records)
    gap, first = 1 / rate_of(case), records[0][1]
    planned = max(abs(due - first - nth * gap) for nth, (_, due, _) in enumerate(records))
    assert planned < 5e-6, f"a due time is {planned * 1e6:.1f} us off"
    late = [(start - due) * 1e3 for _, due, start in records]
    tenth = max(1, len(late) // 10)
    drift = statistics.median(late[-tenth:]) - statistics.median(late[:tenth])
    late.sort()
    spans = len(items) * gap / INTERVAL
    return {
        "late_p99_ms": late[int(len(late) * 0.99)],
        "late_p50_ms": late[len(late) // 2],
        "late_max_ms": late[-1],
        "drift_us": abs(drift) * 1e3 / spans,
    }


def check(items: Sequence[Any], results: Sequence[Any]) -> None:
    assert list(results) == [1] * len(items)


def case(rate: int) -> harness.Case:
    return harness.Case(
        f"{rate:_}/s".replace("_", " "), rate * SECONDS, work, work, range, check, harness.no_figures, "late_p99_ms",
        measure=lateness, goals=GOALS,
    )  # fmt: skip


GOALS = tuple(
    goal
    for by in ("worker_dispatcher", "worker_dispatcher grid")
    for goal in (Goal(at_most=2, by=by), Goal("late_p50_ms", at_most=0.2, by=by), Goal("drift_us", at_most=1, by=by))
)
CONTESTANTS = (
    harness.Contestant("worker_dispatcher", "ours", ours),
    harness.Contestant("worker_dispatcher grid", "ours-grid", functools.partial(ours, shape="grid")),
    harness.Contestant("worker_dispatcher coroutines", "ours-loop", functools.partial(ours, shape="coroutines")),
    harness.Contestant("floor", "floor", leader_and_followers),
    harness.Contestant("ThreadPoolExecutor and a pacer", "default", executor),
    harness.Contestant("asyncio and a pacer", "default", event_loop),
)
ROW = harness.Row(str(__doc__), (case(1000), case(5000)), CONTESTANTS)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.l_open_loop"))
