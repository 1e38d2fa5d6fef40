"""The contestants as adaptors: `run(case, items, chunk)` returns one (result, start, end) per item, in order.

"default" is what the library's own first example does; "tuned" passes the chunk size that was fastest here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Case, Contestant, Record

Items = Sequence[Any]


@dataclass(frozen=True)
class OurRun:
    """The results of `start`; the times are rendered from the run's records when they are asked for."""

    results: Sequence[Any]

    def __len__(self) -> int:
        return len(self.results)

    def times(self) -> list[tuple[float, float]]:
        import worker_dispatcher

        return [(log["started_at"], log["ended_at"]) for log in worker_dispatcher.get_logs()]


def ours(case: Case, items: Items, chunk: int | None, start_method: str | None = None) -> OurRun:
    import worker_dispatcher

    worker = {"number": case.workers, "use_processing": True, "start_method": start_method}
    task = {"list": items, "function": case.function}
    return OurRun(worker_dispatcher.start({"task": task, "worker": worker, "verbose": False}))


def ours_with_fork(case: Case, items: Items, chunk: int | None) -> OurRun:
    return ours(case, items, chunk, "fork")


def futures(case: Case, items: Items, chunk: int | None, start_method: str | None = None) -> list[Record]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context(start_method) if start_method else None
    with ProcessPoolExecutor(case.workers, mp_context=context) as executor:
        return list(executor.map(case.timed, items, chunksize=chunk or 1))


def futures_with_forkserver(case: Case, items: Items, chunk: int | None) -> list[Record]:
    return futures(case, items, chunk, "forkserver")


def pool(case: Case, items: Items, chunk: int | None) -> list[Record]:
    import multiprocessing

    with multiprocessing.Pool(case.workers) as workers:
        return workers.map(case.timed, items, chunksize=chunk)


def joblib(case: Case, items: Items, chunk: int | None) -> list[Record]:
    from joblib import Parallel, delayed

    tuning = {"batch_size": chunk, "pre_dispatch": "all"} if chunk else {}
    return list(Parallel(n_jobs=case.workers, **tuning)(delayed(case.timed)(item) for item in items))


def loky(case: Case, items: Items, chunk: int | None) -> list[Record]:
    from loky import get_reusable_executor

    return list(get_reusable_executor(max_workers=case.workers).map(case.timed, items, chunksize=chunk or 1))


def mpire(case: Case, items: Items, chunk: int | None) -> list[Record]:
    from mpire import WorkerPool

    with WorkerPool(n_jobs=case.workers) as workers:
        return list(workers.map(case.timed, items, chunk_size=chunk))


def pebble(case: Case, items: Items, chunk: int | None) -> list[Record]:
    from pebble import ProcessPool

    with ProcessPool(max_workers=case.workers) as workers:
        return list(workers.map(case.timed, items, chunksize=chunk or 1).result())


def floor(case: Case, items: Items, chunk: int | None) -> list[Record]:
    from benchmarks.floor import run

    return run(case.timed, items, case.workers)


OURS = Contestant("worker_dispatcher", "ours", ours)
OURS_WITH_FORK = Contestant("worker_dispatcher fork", "ours-fork", ours_with_fork)
FLOOR = Contestant("floor", "floor", floor)
FUTURES_WITH_FORKSERVER = Contestant("futures forkserver", "default", futures_with_forkserver)
DEFAULTS = (
    Contestant("ProcessPoolExecutor", "default", futures),
    Contestant("multiprocessing.Pool", "default", pool),
    Contestant("joblib", "default", joblib, "joblib"),
    Contestant("loky", "default", loky, "loky"),
    Contestant("mpire", "default", mpire, "mpire"),
    Contestant("pebble", "default", pebble, "pebble"),
)
TUNED = tuple(Contestant(one.name, "tuned", one.run, one.needs) for one in DEFAULTS)
EVERYBODY = (OURS, FLOOR, *DEFAULTS, *TUNED)
