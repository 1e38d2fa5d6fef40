"""The contestants as adaptors: `run(case, items, chunk)` returns one (result, start, end) per item, in order.

"default" is what the library's own first example does; "tuned" passes the chunk size that was fastest here.
"""

from __future__ import annotations

import functools
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


def ours(case: Case, items: Items, chunk: int | None, **options: Any) -> OurRun:
    """options: further keys of `worker`, or of `task` for those that are its own."""
    import worker_dispatcher

    task = {"list": items, "function": case.function}
    task |= {key: options.pop(key) for key in ("function", "config") if key in options}
    worker = {"number": case.workers} | options
    return OurRun(worker_dispatcher.start({"task": task, "worker": worker, "verbose": False}))


processes = functools.partial(ours, use_processing=True)


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


def joblib(case: Case, items: Items, chunk: int | None, **options: Any) -> list[Record]:
    from joblib import Parallel, delayed

    tuning = {"batch_size": chunk, "pre_dispatch": "all"} if chunk else {}
    return list(Parallel(n_jobs=case.workers, **tuning, **options)(delayed(case.timed)(item) for item in items))


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


def ray(case: Case, items: Items, chunk: int | None) -> list[Record]:
    """Its cluster is started by the warm-up and stays, as it is meant to."""
    import ray

    if not ray.is_initialized():
        ray.init(num_cpus=case.workers, include_dashboard=False, log_to_driver=False)
    remote = ray.remote(case.timed)
    return list(ray.get([remote.remote(item) for item in items]))


def dask(case: Case, items: Items, chunk: int | None) -> list[Record]:
    import dask.bag

    bag = dask.bag.from_sequence(items, partition_size=chunk).map(case.timed)
    return list(bag.compute(scheduler="processes", num_workers=case.workers))


def tuned(contestants: Sequence[Contestant]) -> tuple[Contestant, ...]:
    """The same again, with the chunk size that is fastest here."""
    return tuple(Contestant(one.name, "tuned", one.run, one.needs) for one in contestants)


OURS = Contestant("worker_dispatcher", "ours", processes)
OURS_WITH_FORK = Contestant("worker_dispatcher fork", "ours-fork", functools.partial(processes, start_method="fork"))
FLOOR = Contestant("floor", "floor", floor)
FUTURES_WITH_FORKSERVER = Contestant("futures forkserver", "default", futures_with_forkserver)
IN_CHUNKS = (
    Contestant("ProcessPoolExecutor", "default", futures),
    Contestant("multiprocessing.Pool", "default", pool),
    Contestant("joblib", "default", joblib, "joblib"),
    Contestant("loky", "default", loky, "loky"),
    Contestant("mpire", "default", mpire, "mpire"),
    Contestant("pebble", "default", pebble, "pebble"),
    Contestant("dask", "default", dask, "dask"),
)
DEFAULTS = (*IN_CHUNKS, Contestant("ray", "default", ray, "ray"))
TUNED = tuned(IN_CHUNKS)
EVERYBODY = (OURS, FLOOR, *IN_CHUNKS, *TUNED)  # ray takes a millisecond a task: it is for rows of few
