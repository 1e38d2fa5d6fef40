"""V. What does a batch of ours cost Dask's scheduler with 10, 50 and 200 workers, and what a task of Dask?

One real scheduler, a program of its own, whose processor time counts; simulated is where the workers are: they are
Dask's own, of one thread each, and live together in two processes (`dask_parts.py`). Tasks sleep 50 ms, so that each is
a batch, and Dask's own do the same. Cores are too few for so many workers, so the rates are those of this machine, and
the scheduler's time for a task is what carries over. open_s: until all have had a task.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any

import psutil

from benchmarks import harness

NAP = 0.05
COUNT = 1000
PROGRAMS = 2  # that have the workers


def nap(item: int) -> int:
    time.sleep(NAP)
    return item


def timed_nap(item: int) -> harness.Record:
    began = perf_counter()
    return nap(item), began, perf_counter()


@contextmanager
def part(*arguments: str) -> Iterator[tuple[str, int]]:
    """(what it says once it is ready, its process id)."""
    command = [sys.executable, "-m", "benchmarks.dask_parts", *arguments]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, text=True, cwd=harness.ROOT) as it:
        assert it.stdout is not None
        yield it.stdout.readline().strip(), it.pid
        it.kill()  # its workers need not say good-bye


@contextmanager
def cluster(workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """The address of the scheduler, and its process."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        address, pid = stack.enter_context(part("scheduler"))
        for nth in range(PROGRAMS):
            count = workers // PROGRAMS + (nth < workers % PROGRAMS)
            stack.enter_context(part("workers", address, str(count), folder))
        yield address, psutil.Process(pid)


def used(process: psutil.Process) -> float:
    """Seconds of processor time so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def ours(case: harness.Case, items: Sequence[int], chunk: int | None) -> list[Any]:
    import worker_dispatcher

    def at(count: int) -> tuple[float, float]:
        """Now, and what the scheduler has used, once so many have ended."""
        while run.info["counts"]["ok"] < count:
            time.sleep(0.005)
        return perf_counter(), used(scheduler)

    with cluster(case.workers) as (address, scheduler):
        began = perf_counter()
        worker = {"backend": {"type": "dask", "address": address}}
        config: Any = {"task": {"list": items, "function": nap}, "worker": worker, "verbose": False}
        run = worker_dispatcher.launch(config)
        (opened, before), (ended, after) = at(case.workers), at(len(items))
        size = scheduler.memory_info().rss
        case.check(items, run.wait().results)
    more = {"open_s": opened - began, "scheduler_mb": size / 1e6}
    return [len(items) - case.workers, ended - opened, after - before, more]


def theirs(case: harness.Case, items: Sequence[int], chunk: int | None) -> list[Any]:
    import distributed

    make: Any = distributed.Client
    with cluster(case.workers) as (address, scheduler), make(address) as client:
        results = client.gather(client.map(nap, items[: case.workers], pure=False))
        before, began = used(scheduler), perf_counter()
        results += client.gather(client.map(nap, items[case.workers :], pure=False))
        took, spent = perf_counter() - began, used(scheduler) - before
    case.check(items, results)
    return [len(items) - case.workers, took, spent, {}]


def rates(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    count, took, spent, more = contestant.run(case, items, chunk)
    return {"scheduler_ms_per_task": 1000 * spent / count, "tasks_per_second": count / took, **more}


def check(items: Sequence[int], results: Sequence[int]) -> None:
    assert list(results) == list(items)


def case_of(workers: int) -> harness.Case:
    return harness.Case(
        f"batches of one task on {workers} Dask workers", COUNT, nap, timed_nap, range, check, harness.no_figures,
        "scheduler_ms_per_task", workers=workers, measure=rates,
        contestants=(
            harness.Contestant("worker_dispatcher", "ours", ours, "distributed"),
            harness.Contestant("client.map", "default", theirs, "distributed"),
        ),
    )  # fmt: skip


ROW = harness.Row(str(__doc__), tuple(case_of(workers) for workers in (10, 50, 200)))

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.v_dask_scheduler"))
