"""U. What do tiny tasks cost on a Dask cluster of this machine: ours in batches, and beside it a task of Dask for each?

Four Dask workers of one thread, plain TCP; they are there before the clock starts, and so is the connection. A million
tasks of ours; of Dask's own `client.map` only so many as take some ten seconds, since its rate is the same for more.
Results are checked inside the timed run, and both deliver the start and end of each task.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from benchmarks import harness
from benchmarks.goals import Goal
from benchmarks.trivial import noop, timed_noop

COUNT = 1_000_000
THEIRS = 50  # of so many tasks Dask gets one


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """The address of the scheduler."""
    import distributed

    make: Any = distributed.LocalCluster
    with make(n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as made:
        yield made.scheduler_address


def ours(case: harness.Case, items: Sequence[int], chunk: int | None) -> list[Any]:
    import worker_dispatcher

    def config(some: Sequence[int]) -> Any:
        backend = {"type": "dask", "address": address}
        return {"task": {"list": some, "function": noop}, "worker": {"backend": backend}, "verbose": False}

    with cluster(case.workers) as address:
        worker_dispatcher.start(config(range(1000)))
        began = perf_counter()
        results = worker_dispatcher.start(config(items))
        took = perf_counter() - began
    case.check(items, results)
    return [len(items) / took]


def theirs(case: harness.Case, items: Sequence[int], chunk: int | None) -> list[Any]:
    import distributed

    make: Any = distributed.Client
    some = items[: max(1, len(items) // THEIRS)]
    with cluster(case.workers) as address, make(address) as client:
        client.gather(client.map(timed_noop, range(1000), pure=False))
        began = perf_counter()
        records = client.gather(client.map(timed_noop, some, pure=False))
        took = perf_counter() - began
    case.check(some, harness.results_of(records))
    return [len(some) / took]


def rate(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    (found,) = contestant.run(case, items, chunk)
    return {"tasks_per_second": found}


def check(items: Sequence[int], results: Sequence[int]) -> None:
    assert list(results) == list(items)


CASES = (
    harness.Case(
        "1e6 no-op tasks on 4 Dask workers", COUNT, noop, timed_noop, range, check, harness.no_figures,
        "tasks_per_second", True, measure=rate,
        goals=(Goal(at_least=100_000), Goal(times=50, than="client.map (default)")),
        contestants=(
            harness.Contestant("worker_dispatcher", "ours", ours, "distributed"),
            harness.Contestant("client.map", "default", theirs, "distributed"),
        ),
    ),
)  # fmt: skip
ROW = harness.Row(str(__doc__), CASES)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.u_dask"))
