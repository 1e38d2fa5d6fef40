"""O. What does a journal cost: tasks of nothing, 1 ms and 10 ms, 4 processes, with and without; and to take from it?"""

from __future__ import annotations

import dataclasses
import gc
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import cpu, harness, rivals
from benchmarks.goals import Goal
from benchmarks.trivial import noop, timed_noop

WITHOUT = "without a journal"


def journaled(case: harness.Case, items: Sequence[Any], chunk: int | None) -> rivals.OurRun:
    """A new journal in the temporary folder: its disk is what is measured with it."""
    with tempfile.TemporaryDirectory() as folder:
        return into(case, items, Path(folder, "run.db"))


def into(case: harness.Case, items: Sequence[Any], journal: Path) -> rivals.OurRun:
    import worker_dispatcher

    task = {"list": items, "function": case.function}
    worker = {"number": case.workers, "use_processing": True}
    config = {"task": task, "worker": worker, "journal": journal, "verbose": False}
    return rivals.OurRun(worker_dispatcher.start(config))


def taken(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[Any], chunk: int | None
) -> dict[str, float]:
    """Seconds of the second of two calls, which finds everything done."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder, "run.db")
        into(case, items, journal)
        gc.collect()
        began = time.perf_counter()
        case.check(items, into(case, items, journal).results)
        seconds = time.perf_counter() - began
    return case.figures(items, seconds) | {"seconds": seconds}


def check(items: Sequence[int], results: Sequence[int]) -> None:
    assert list(results) == list(items)


def rate(items: Sequence[int], seconds: float) -> dict[str, float]:
    return {"tasks_per_second": len(items) / seconds}


def burning(name: str, count: int, each: float) -> harness.Case:
    return harness.Case(
        name,
        count,
        cpu.burn,
        cpu.timed_burn,
        lambda count: [each] * count,
        cpu.check,
        cpu.figures,
        "efficiency",
        higher_is_better=True,
        workers=cpu.WORKERS,
        goals=(Goal(times=0.9, than=WITHOUT),),
    )


OURS = harness.Contestant("worker_dispatcher", "ours", journaled)
PLAIN = harness.Contestant(WITHOUT, "ours-without", rivals.processes)
NOOP = harness.Case(
    "1e5 no-op tasks",
    100_000,
    noop,
    timed_noop,
    range,
    check,
    rate,
    "tasks_per_second",
    higher_is_better=True,
    goals=(Goal(at_least=50_000),),
)
TAKEN = dataclasses.replace(NOOP, name="1e5 tasks taken from it", measure=taken, goals=(), contestants=(OURS,))
CASES = (burning("2 000 x 1 ms", 2000, 0.001), burning("400 x 10 ms", 400, 0.01), NOOP, TAKEN)
ROW = harness.Row(str(__doc__), CASES, (OURS, PLAIN))

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.o_journal"))
