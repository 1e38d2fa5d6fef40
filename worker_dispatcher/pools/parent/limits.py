"""What no message tells of worker processes, and is looked for now and then."""

from __future__ import annotations

import math

from worker_dispatcher.clock import now, thread_time
from worker_dispatcher.errors import RunError
from worker_dispatcher.pools.base import LONGEST_INIT, PoolFailed, Setup
from worker_dispatcher.pools.parent.life import Why
from worker_dispatcher.pools.parent.supervisor import Supervisor
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle
from worker_dispatcher.units import size_text

__all__ = ["Limits"]

_MEMORY_EVERY = 0.1  # seconds from one look at the memory of all workers to the next
_LISTEN_EVERY = 10.0  # seconds; a worker of which there is no sign from one look to the next is lost
_SHARE = 50  # and no look sooner after one than so many times what that took of this thread: 20 us for each worker


class Limits:
    """Looks at a pool's workers for silence, for too much memory, and for a worker.init that does not return. Used by
    the pool's driving thread.

    due: when to look again (monotonic).
    """

    def __init__(self, setup: Setup) -> None:
        self._limit = setup.memory_limit
        self._silent: dict[WorkerHandle, float] = {}  # at the last look: since when
        self._listen_at = now() + _LISTEN_EVERY
        self._every = _LISTEN_EVERY if setup.hooks is None else min(_LISTEN_EVERY, LONGEST_INIT / 10)
        if self._limit is not None:
            import psutil  # 20 ms, for those who want it

            self._psutil, self._every = psutil, _MEMORY_EVERY
        self.due = now() + self._every

    def look(self, supervisor: Supervisor) -> None:
        """Kill who is over the limit; end the run where a worker.init hangs."""
        at, began = now(), thread_time()
        since, number = min(((r.slate.in_init_since(), r.number) for r in supervisor.handles), default=(math.inf, 0))
        if at - since >= LONGEST_INIT:
            text = f"worker.init has not returned after {at - since:.0f} s in worker process {number}"
            supervisor.events.append(PoolFailed(RunError(text)))
        if at >= self._listen_at:
            self._listen(supervisor)
            self._listen_at = at + _LISTEN_EVERY
        if self._limit is not None:
            self._look_at_memory(supervisor, self._limit)
        self.due = now() + max(self._every, _SHARE * (thread_time() - began))

    def _listen(self, supervisor: Supervisor) -> None:
        """Give up who has tasks, runs none, and says nothing: it is stopped, or a task has taken the words of it."""
        # Twice, since all of us may have stood still, with the clock going on.
        silent = {r: since for r in supervisor.handles if (since := r.silent_since()) < math.inf}
        for handle, since in silent.items():
            if self._silent.get(handle) == since:
                supervisor.give_up(handle, Why.SEVERED)
        self._silent = silent

    def _look_at_memory(self, supervisor: Supervisor, limit: int) -> None:
        # One that has not begun to work is none of a user's: a limit below what that takes is the fate of tasks, each
        # of which is told of it, and not of a run or a pool.
        for handle in [one for one in supervisor.handles if one.done or one.slate.begun() or one.in_init]:
            used = self._resident(handle)
            if used > limit and not handle.process.ended:  # else its number may be another's by now
                handle.over = f"used {size_text(used)} of memory, over the worker.memory_limit of {size_text(limit)}"
                supervisor.give_up(handle, Why.MEMORY)

    def _resident(self, handle: WorkerHandle) -> int:
        """Bytes of memory that a worker holds, shared pages included; 0 where it has not started, or has ended."""
        if handle.process.pid is None:
            return 0
        try:
            return int(self._psutil.Process(handle.process.pid).memory_info().rss)
        except self._psutil.Error:
            return 0
