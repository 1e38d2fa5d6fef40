"""A crew: the threads, or coroutines, of one process that claim tasks and run them.

The same crew works for a thread pool (in the user's process) and inside each process of a grid.
"""

from __future__ import annotations

import _thread
import asyncio
import functools
import itertools
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from worker_dispatcher.clock import now
from worker_dispatcher.errors import TaskTimeout
from worker_dispatcher.execute import Ended, attempt, attempt_async, failure_from
from worker_dispatcher.pools.base import Setup
from worker_dispatcher.records import TIMEOUT, Failure

__all__ = ["Claims", "Crew", "Done", "LoopCrew", "Slot", "ThreadCrew"]

_LOOP_GRACE = 0.3  # seconds a cancelled coroutine may take to end before its loop counts as blocked


class Slot:
    """One thread or coroutine. running, started, deadline: one-cell rows that the watcher of timeouts reads.

    Shared: abandoned, with running and what is reported, under mutex.
    abandoned: set by the watcher while a task runs; what becomes of that task is not heard.
    """

    __slots__ = ("abandoned", "deadline", "mutex", "number", "running", "started", "thread")

    def __init__(self, number: int, running: Any, started: Any, deadline: Any) -> None:
        self.number, self.running, self.started, self.deadline = number, running, started, deadline
        self.abandoned = False
        self.mutex = _thread.allocate_lock()
        self.thread: threading.Thread | None = None

    def settle(self, where: deque[Any], what: Any) -> bool:
        """Say how the slot's task ended, unless the slot was given up: then False, and nobody hears of it."""
        # One step with the watcher's: a task is either reported or given up, and never both or neither.
        with self.mutex:
            if self.abandoned:
                return False
            where.append(what)
            self.running[0] = 0
            self.deadline[0] = math.inf
            return True

    def give_up(self, at: float = math.inf) -> int:
        """Stop hearing the slot if its task is over its time at a moment; the task's seq, 0 if it is not."""
        with self.mutex:
            seq = int(self.running[0])
            if not seq or self.deadline[0] > at:
                return 0
            self.abandoned = True
            return seq


class Done(NamedTuple):
    slot: Slot
    seq: int
    ended: Ended


def _as_it_is(ended: Ended) -> Ended:
    return ended


class Claims:
    """Batches of tasks from which any thread takes the next one, without a lock where it matters."""

    def __init__(self) -> None:
        self._batches: deque[tuple[Any, int, int, int, Sequence[Any]]] = deque()
        self._current: tuple[Any, int, int, int, Sequence[Any]] = (itertools.count(), 0, 0, 0, ())
        self._mutex = threading.Lock()

    def add(self, seq: int, first: int, items: Sequence[Any]) -> None:
        """Tasks seq, seq + 1, ... with ids first, first + 1, ..."""
        with self._mutex:
            self._batches.append((itertools.count(), len(items), seq, first, items))

    def next(self) -> tuple[int, int, Any] | None:
        """(seq, id, item) of a task that is now the caller's, or None."""
        while True:
            current = self._current
            at = next(current[0])  # atomic: one C call under the interpreter lock
            if at < current[1]:
                return current[2] + at, current[3] + at, current[4][at]
            with self._mutex:
                if self._current is current:
                    if not self._batches:
                        return None
                    self._current = self._batches.popleft()

    def drop(self) -> list[int]:
        """Claim all that nobody has claimed; their seqs."""
        dropped = []
        while (claim := self.next()) is not None:
            dropped.append(claim[0])
        return dropped


class Crew(Protocol):
    """feed, drop, drain are for the crew's driver; everything else happens in the crew's own threads."""

    done: deque[Done]
    bailed: deque[int]

    def feed(self, seq: int, first: int, items: Sequence[Any]) -> None: ...
    def drop(self) -> list[int]: ...
    def close(self) -> None: ...


class ThreadCrew:
    """Up to `size` daemon threads, started as tasks come.

    Shared: claims (its own lock), done and bailed (appends only), _idle (_mutex).
    Waits: an idle thread on a lock of its own, which feed or close releases.
    new_slot: the next thread's slot; halt: a one-cell row, nothing begins while it is not 0;
    wake: tells the driver that there is something in done or bailed.
    seal: the last step of a task, in its own thread and on its own time: what a worker process does to send its result.
    """

    def __init__(
        self,
        setup: Setup,
        size: int,
        new_slot: Callable[[], Slot],
        halt: Any,
        wake: Callable[[], None],
        seal: Callable[[Ended], Ended] = _as_it_is,
    ) -> None:
        self._setup, self._size, self._new_slot, self._halt, self._wake = setup, size, new_slot, halt, wake
        self._seal = seal
        self.done: deque[Done] = deque()
        self.bailed: deque[int] = deque()
        self._claims = Claims()
        self._mutex = threading.Lock()
        self._idle: list[Any] = []
        self._alive = 0
        self._fed = 0
        self._closed = False

    def feed(self, seq: int, first: int, items: Sequence[Any]) -> None:
        self._claims.add(seq, first, items)
        with self._mutex:
            woken = [self._idle.pop() for _ in range(min(len(items), len(self._idle)))]
            fresh = min(len(items) - len(woken), self._size - self._alive)
            self._alive += fresh
            self._fed += 1
        for lock in woken:
            lock.release()
        for _ in range(fresh):
            self._start()

    def _start(self) -> None:
        slot = self._new_slot()
        thread = threading.Thread(target=self._run, args=(slot,), name=f"worker-{slot.number}", daemon=True)
        try:
            thread.start()
            slot.thread = thread
        except RuntimeError:  # the system gives no more threads: those that run do the work
            with self._mutex:
                self._alive -= 1
                self._size = max(1, self._alive)
                if not self._alive:
                    raise

    def replace(self) -> None:
        """A thread in the place of one that was given up."""
        if not self._closed:
            self._start()

    def _run(self, slot: Slot) -> None:
        setup, claims, done, wake, halt = self._setup, self._claims, self.done, self._wake, self._halt
        call, timeout, stop_at = setup.call, setup.timeout, setup.stop_at or math.inf
        caller, running, started, deadline = call.caller(), slot.running, slot.started, slot.deadline
        seal, pid = self._seal, os.getpid()
        while True:
            claim = claims.next()
            if claim is None:
                fed = self._fed
                if (claim := claims.next()) is None:
                    if self._rest(fed):
                        continue
                    return
            seq, task_id, item = claim
            at = started[0] = now()
            if timeout is not None:
                deadline[0] = at + timeout
            running[0] = seq
            if halt[0] or at >= stop_at:
                if not slot.settle(self.bailed, seq):
                    return
                wake()
                continue
            ended = attempt(call, caller, task_id, item, at)
            if os.getpid() != pid:
                os._exit(0)  # the task forked and its child came back here: it is not one of this crew
            if slot.abandoned:
                return
            if not slot.settle(done, Done(slot, seq, seal(ended))):
                return
            wake()
            del claim, item, ended  # a waiting thread must not keep a result alive

    def _rest(self, fed: int) -> bool:
        """Wait for work, unless more was fed than `fed`; False if there will be none."""
        with self._mutex:
            if self._closed:
                return False
            if self._fed != fed:
                return True
            lock = _thread.allocate_lock()
            lock.acquire()
            self._idle.append(lock)
        lock.acquire()
        return True

    def drop(self) -> list[int]:
        return self._claims.drop()

    def close(self) -> None:
        """Let idle threads go; those that run a task go when it ends."""
        with self._mutex:
            self._closed = True
            idle, self._idle = self._idle, []
        for lock in idle:
            lock.release()


class LoopCrew:
    """Up to `size` coroutines at once on one event loop in one daemon thread, each as an asyncio task of its own.

    The loop's thread owns everything but claims; feed and close hand over with call_soon_threadsafe.
    A coroutine over its time is cancelled by the loop; one that does not let go for _LOOP_GRACE seconds more
    shows in its row's deadline, for whoever watches the rows.
    """

    def __init__(
        self,
        setup: Setup,
        size: int,
        new_slot: Callable[[], Slot],
        halt: Any,
        wake: Callable[[], None],
        seal: Callable[[Ended], Ended] = _as_it_is,
    ) -> None:
        self._setup, self._size, self._new_slot, self._halt, self._wake = setup, size, new_slot, halt, wake
        self._seal = seal
        self.done: deque[Done] = deque()
        self.bailed: deque[int] = deque()
        self._claims = Claims()
        self._free: list[Slot] = []
        self._running: dict[Slot, asyncio.Task[Ended | None]] = {}
        self._timers: dict[Slot, asyncio.TimerHandle] = {}
        self._late: set[Slot] = set()
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._caller = setup.call.caller()
        self._thread = threading.Thread(target=self._serve, name="worker-loop", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            if left := asyncio.all_tasks(loop):
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left, timeout=_LOOP_GRACE))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def feed(self, seq: int, first: int, items: Sequence[Any]) -> None:
        self._claims.add(seq, first, items)
        self._loop.call_soon_threadsafe(self._grow, len(items))

    def _grow(self, tasks: int) -> None:
        for _ in range(min(tasks, self._size - len(self._running))):
            self._next(self._free.pop() if self._free else self._new_slot())

    def _next(self, slot: Slot) -> None:
        """Begin the next task in this slot, or let it rest."""
        claim = None if self._closing else self._claims.next()
        if claim is None:
            # In one step with the look at the claims: a `_grow` in between would count this slot as busy.
            self._running.pop(slot, None)
            self._free.append(slot)
            return
        task = self._running[slot] = self._loop.create_task(self._begin(slot, *claim))
        task.add_done_callback(functools.partial(self._over, slot, claim[0], claim[1]))

    async def _begin(self, slot: Slot, seq: int, task_id: int, item: Any) -> Ended | None:
        timeout, pid = self._setup.timeout, os.getpid()
        at = slot.started[0] = now()
        if timeout is not None:
            slot.deadline[0] = at + timeout + _LOOP_GRACE
        slot.running[0] = seq
        if self._halt[0] or at >= (self._setup.stop_at or math.inf):
            return None
        if timeout is not None:
            self._timers[slot] = self._loop.call_later(timeout, self._cancel, slot)
        ended = await attempt_async(self._setup.call, self._caller, task_id, item, at)
        if os.getpid() != pid:
            os._exit(0)  # the task forked and its child came back here: it is not one of this crew
        return ended

    def _cancel(self, slot: Slot) -> None:
        self._late.add(slot)
        self._running[slot].cancel()

    def _over(self, slot: Slot, seq: int, task_id: int, task: asyncio.Task[Ended | None]) -> None:
        if (timer := self._timers.pop(slot, None)) is not None:
            timer.cancel()
        late = slot in self._late
        self._late.discard(slot)
        if self._closing:
            return  # whoever closes has settled what ran
        ended = self._cut_short(slot, task_id, late) if late or task.cancelled() else task.result()
        if ended is None:
            heard = slot.settle(self.bailed, seq)
        else:
            heard = slot.settle(self.done, Done(slot, seq, self._seal(ended)))
        if heard:
            self._wake()
            self._next(slot)

    def _cut_short(self, slot: Slot, task_id: int, late: bool) -> Ended:
        """A coroutine over its time, whatever it made of its cancellation, or one that cancelled itself."""
        timeout = self._setup.timeout
        if late and timeout is not None:
            error = TaskTimeout(task_id, timeout)
            failure = Failure("TaskTimeout", str(error), "", True, error, TIMEOUT)
        else:
            failure = failure_from(self._setup.call, asyncio.CancelledError("the task cancelled itself"))
        return Ended(slot.started[0], now(), None, failure, None)

    def blocked_by(self) -> Slot | None:
        """The slot whose coroutine runs at this moment. From any thread: for a loop that stands still."""
        current = asyncio.current_task(self._loop)
        return next((slot for slot, task in list(self._running.items()) if task is current), None)

    def drop(self) -> list[int]:
        return self._claims.drop()

    def leave(self) -> None:
        """Cancel what runs and stop the loop as soon as it can be stopped. Returns at once."""
        try:
            self._loop.call_soon_threadsafe(self._finish)
        except RuntimeError:
            pass  # it is closed

    def close(self) -> None:
        """`leave`, and wait a little; a loop that is blocked is left behind as a daemon."""
        self.leave()
        self._thread.join(_LOOP_GRACE + 0.1)

    def _finish(self) -> None:
        self._closing = True
        self._loop.stop()
