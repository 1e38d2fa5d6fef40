"""The workers of an engine: a pool for each place where jobs run, made when the first job goes there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from worker_dispatcher.clock import now
from worker_dispatcher.config.signature import is_coroutine_function
from worker_dispatcher.engine.job import Job
from worker_dispatcher.engine.relay import Relay, Round
from worker_dispatcher.osproc.command import Command
from worker_dispatcher.workpool.future import TaskFuture
from worker_dispatcher.workpool.pool import WorkerPool

if TYPE_CHECKING:
    from worker_dispatcher.engine.dask_job import Cluster, DaskPool

# How many may run at once where there is no limit.
MOST = {"thread": 1000, "process": 250, "local": 1, "loop": 1000, "command": 1000}
_AT_THE_END = 0.3  # seconds that commands have from SIGTERM to SIGKILL when all ends


Ended: TypeAlias = Callable[[Job, int, Any, BaseException | None], None]


def _place(job: Job, function: Callable[..., Any]) -> str:
    return "loop" if job.where == "local" and is_coroutine_function(function) else job.where


class Workers:
    """Pools by place: 'local', 'loop' (coroutines that are local), 'thread', 'process', 'command' (threads that each
    wait for one), 'dask'. sizes: how many run at once.

    Used by the one thread that acts for the engine.
    """

    def __init__(self, name: str, sizes: Mapping[str, int], ended: Ended) -> None:
        self._name, self._sizes, self._ended = name, {**MOST, **sizes}, ended
        self._pools: dict[str, WorkerPool | DaskPool] = {}
        self._cluster: Cluster | None = None
        self._relays: dict[str, Relay] = {}
        self._commands: set[Command] = set()

    def begin(self, job: Job, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Have a call made for a job."""
        where = _place(job, function)
        pool = self._pool(where)
        if where == "command":
            self._commands = {command for command in self._commands if not command.gone.is_set()}
            self._commands.add(job.runner)  # type: ignore[attr-defined]
        if where == "command" or (job.timeout is None and pool.kind == "thread"):
            self._relays[where].begin(job, function, args, kwargs)
            return
        if job.timeout is None or not isinstance(pool, WorkerPool):
            job.running = pool.submit(function, *args, **kwargs)
        else:
            job.running = pool.schedule(function, args, kwargs, timeout=job.timeout, name=job.name)
        job.running.add_done_callback(partial(self._has_ended, job, job.entry.attempt))

    def _has_ended(self, job: Job, attempt: int, running: Any) -> None:
        if job.running is running:
            job.running = None
        if running.cancelled():
            self._ended(job, attempt, None, CancelledError("its worker was shut down"))
        else:
            error = running.exception()
            self._ended(job, attempt, None if error is not None else running.result(), error)

    def stop(self, job: Job) -> None:
        """End an attempt: a process is killed, a coroutine cancelled; a thread goes on, and may ask."""
        running = job.running
        if isinstance(running, Round):
            running.relay.stop(job)
        elif isinstance(running, TaskFuture) and not running.done():  # of a pool that may be closed by now
            running.owner.control.cancel(running, kill=_place(job, job.func) not in ("thread", "local"))
        elif running is not None:
            running.cancel()

    def _pool(self, where: str) -> WorkerPool | DaskPool:
        pool = self._pools.get(where)
        if pool is None:
            pool = self._pools[where] = self._open(where)
            if isinstance(pool, WorkerPool):
                self._relays[where] = Relay(pool, self._ended)
        return pool

    def _open(self, where: str) -> WorkerPool | DaskPool:
        if where == "dask":
            from worker_dispatcher.engine.dask_job import DaskPool

            return DaskPool(self.cluster.client())
        kind = {"local": "thread", "loop": "coroutine", "command": "thread"}.get(where, where)
        abandoned = 0 if kind != "thread" else 1000
        return WorkerPool(self._sizes[where], kind=kind, max_abandoned=abandoned, name=f"{self._name}-{where}")

    def close(self, *, kill: bool) -> None:
        """End the workers; they are made anew if need be. kill: also those that are at work; the others end with what
        they do, and nobody waits for them."""
        pools, self._pools = list(self._pools.values()), {}
        if kill:
            self._end_commands()
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=kill, kill=kill)
        for pool in pools:
            if kill or not len(pool):
                pool.shutdown()
        if self._cluster is not None:
            self._cluster.close()

    @property
    def cluster(self) -> Cluster:
        """Where DaskJobs go."""
        if self._cluster is None:
            from worker_dispatcher.engine.dask_job import Cluster

            self._cluster = Cluster()
        return self._cluster

    def use_cluster(self, client: Any) -> None:
        """Have DaskJobs go to the cluster of a client from now on."""
        self.cluster.use(client)
        self._pools.pop("dask", None)

    def _end_commands(self) -> None:
        commands, self._commands = self._commands, set()
        for command in commands:
            command.end(_AT_THE_END)
        until = now() + 2 * _AT_THE_END
        for command in commands:
            command.gone.wait(max(0.0, until - now()))
