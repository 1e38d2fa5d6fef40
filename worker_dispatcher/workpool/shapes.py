"""Which workers a pool has: the backend of each kind, and how many workers of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

from worker_dispatcher.call import Call, Hooks
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.config.backend import Backend
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.cores import blas_environment, usable_cores
from worker_dispatcher.pools.base import Name, Pool, Setup
from worker_dispatcher.workpool.calling import Beginning

KINDS = ("thread", "process", "grid", "coroutine", "dask")
_METHODS = {"fork": "fork", "spawn": "spawn", "forkserver": None}
_CLUSTER = 1 << 20  # more than any cluster has: all its threads
_COROUTINES = 1000  # that a pool of kind "coroutine" runs at once where nobody says


class Shape(NamedTuple):
    """kind: of KINDS. threads: of each process of a grid, None to spread them over as many processes as there are
    cores. method: how processes are started, as multiprocessing calls it; None: the default. spare: threads that may
    stand in for those that are left behind with a task. idle: seconds without a task after which a worker leaves.
    cluster: of kind "dask", which one."""

    kind: str
    threads: int | None = 1
    method: str | None = None
    beginning: Beginning | None = None
    max_tasks: int | None = None
    spare: int = 0
    idle: float | None = None
    cluster: Backend | None = None

    @property
    def apart(self) -> bool:
        """Workers have processes of their own."""
        return self.kind in ("process", "grid", "dask")

    @property
    def broken(self) -> type[BrokenExecutor]:
        """What is raised once the pool cannot go on."""
        if self.apart:
            from concurrent.futures.process import BrokenProcessPool

            return BrokenProcessPool
        from concurrent.futures.thread import BrokenThreadPool

        return BrokenThreadPool

    def usual_size(self) -> int:
        """Workers, where nobody says how many."""
        if self.kind == "thread":
            return min(32, (os.cpu_count() or 1) + 4)  # as concurrent.futures
        if self.kind == "dask" and self.cluster is not None and not self.cluster.is_local:
            return _CLUSTER
        return _COROUTINES if self.kind == "coroutine" else usable_cores()

    def slots_of(self, size: int) -> list[int]:
        """Threads of each process, in order; for threads and coroutines all are in one."""
        if self.kind == "process":
            return [1] * size
        if self.kind != "grid":
            return [size]
        processes = -(-size // self.threads) if self.threads else min(size, usable_cores())
        each, more = divmod(size, processes)
        return [each + (at < more) for at in range(processes)]

    def open_pool(self, slots: Sequence[int], named: Name) -> Pool:
        """The backend. Raises RunError where the system gives no workers."""
        hooks, begin, inherited = None, self.beginning, list[int]()
        here = self.apart and self.kind != "dask"
        if begin is not None and begin.initargs and here and self.method != "fork":
            from worker_dispatcher.pools.protocol.inheritance import handed_on

            initargs, inherited = handed_on(begin.initargs)
            begin = Beginning(begin.initializer, initargs)
        if begin is not None:
            hooks = Hooks(begin, CallStyle(), None, CallStyle())
        call = Call(_nothing, CallStyle(positional=True), keep_exception=True)
        setup = Setup(
            call,
            coroutine=self.kind == "coroutine",
            hooks=hooks,
            max_tasks=self.max_tasks,
            forward_logging=self.apart,
            kept=True,
        )
        if self.kind == "dask":
            from worker_dispatcher.pools.dask.pool import DaskPool, Place

            return DaskPool(setup, self.cluster or Backend(), Place("threads", sum(slots)), named)
        if not self.apart:
            from worker_dispatcher.pools.threads import ThreadPool

            return ThreadPool(setup, sum(slots), named, spare=self.spare)
        from worker_dispatcher.pools.processes import ProcessPool

        place = "worker process" if self.kind == "process" else "worker"
        environment = blas_environment(None, usable_cores(), len(slots))
        return ProcessPool(
            setup,
            slots,
            method=_METHODS.get(self.method or ""),
            environment=environment,
            place=place,
            named=named,
            many=self.kind == "grid",
            inherited=inherited,
        )


def _nothing(item: Any) -> None:
    """What a pool was opened with; each task brings its own call."""
