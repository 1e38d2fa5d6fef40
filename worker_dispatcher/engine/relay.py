"""Threads that go from one job to the next by themselves.

A job that ends begins the next one, mostly. Would its thread give that to another one and rest, then each job would
cost two changes of thread: ten times what all the rest costs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from worker_dispatcher.execute import catch, catch_settled
from worker_dispatcher.tracebacks import part_from_frames
from worker_dispatcher.workpool.calling import run_as

if TYPE_CHECKING:
    from worker_dispatcher.engine.job import Job
    from worker_dispatcher.workpool.pool import WorkerPool

_Ended = Callable[["Job", int, Any, BaseException | None], None]


class Round:
    """What one thread does from one rest to the next: a task of the pool. job: what it runs; left: it was given up, and
    takes no further job. Both under the relay's mutex."""

    __slots__ = ("future", "job", "left", "relay")

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.job: Job | None = None
        self.left = False
        self.future: Any = None


class Relay:
    """Runs jobs in the threads of a pool. ended(job, attempt, value, error): called in the thread, after each.

    Shared, under _mutex: _waiting, _looking, _called. _looking: threads that are about to look for a job, and run
    nothing of the user's before. _called: one of them is a fresh one that has not come yet. Each calls the next, so
    that no more are there than short jobs need: many would be in each other's way.
    """

    def __init__(self, pool: WorkerPool, ended: _Ended) -> None:
        self._pool, self._ended = pool, ended
        self._mutex = threading.Lock()
        self._waiting: deque[tuple[Job, int, Callable[..., Any], Sequence[Any], Mapping[str, Any]]] = deque()
        self._looking = 0
        self._called = False

    def begin(self, job: Job, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Have a job run by a thread that is about to look for one, or by a fresh one."""
        with self._mutex:
            self._waiting.append((job, job.entry.attempt, function, args, kwargs))
            calls = self._calls()
        if calls:
            self._call()

    def _calls(self) -> bool:
        """A further thread is to be called. Under _mutex."""
        if self._called or len(self._waiting) <= self._looking:
            return False
        self._called = True
        self._looking += 1
        return True

    def _call(self) -> None:
        turn = Round(self)
        try:
            turn.future = self._pool.submit(self._run, turn)
        except BaseException:
            with self._mutex:
                self._called = False
                self._looking -= 1
            raise

    def stop(self, job: Job) -> None:
        """Give up the thread that runs a job: it takes no further one, and its function may ask for that."""
        with self._mutex:
            turn = job.running
            if not isinstance(turn, Round) or turn.job is not job:
                return
            turn.left = True
        self._pool.cancel(turn.future)

    def _run(self, turn: Round) -> None:
        with self._mutex:
            self._called = False
        while True:
            with self._mutex:
                self._looking -= 1
                if not self._waiting:
                    return
                job, attempt, function, args, kwargs = self._waiting.popleft()
                turn.job, job.running = job, turn
                calls = self._calls()
            if calls:
                catch(self._call)  # if there is none to be had, this one goes on to the next
            if job.status != "running" or job.entry.attempt != attempt:  # it was cancelled before it came to run
                value, error = None, None
            else:
                context = copy_context()
                value, error = context.run(catch_settled, run_as, function, args, kwargs, (job.id, job.name, attempt))
            if error is not None:
                error = part_from_frames(error)
            with self._mutex:
                turn.job = job.running = None
                if turn.left:
                    return
                self._looking += 1
            self._ended(job, attempt, value, error)
            del job, function, args, kwargs, value, error
