"""A runner of coroutines: the same as worker_threads.py, for coroutine functions, on one event loop."""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from worker_dispatcher.call import Call
from worker_dispatcher.clock import now
from worker_dispatcher.contexts import branch, renewal
from worker_dispatcher.errors import TaskTimeout
from worker_dispatcher.execute import AttemptResult, Seal, catch, catch_async, exit_text, failure_from, run_task_async
from worker_dispatcher.marks import own_marks
from worker_dispatcher.osproc.system import start_thread
from worker_dispatcher.pools.base import Batch, Setup
from worker_dispatcher.pools.runners.event_loop import keep_running, new_loop
from worker_dispatcher.pools.runners.task_queue import (
    Claim,
    Columns,
    Done,
    Slot,
    TaskQueue,
    TimedTaskQueue,
    WorkerThread,
    forked,
)
from worker_dispatcher.records import CANCELLED, TIMEOUT, Failure
from worker_dispatcher.signals import held

__all__ = ["CoroutineRunner"]

T = TypeVar("T")

_LOOP_GRACE = 0.3  # seconds a cancelled coroutine may take to end before its loop counts as blocked
_EXCUSED = 1.0  # seconds beyond its timeout that a coroutine gets anew when another one has blocked the loop


class CoroutineRunner:
    """Up to `size` coroutines at once on one event loop in one daemon thread, each as an asyncio task of its own.

    The loop's thread owns everything but the queue; feed and close hand over with call_soon_threadsafe.
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
        seal: Seal | None = None,
    ) -> None:
        self._setup, self._size, self._new_slot, self._halt, self._wake = setup, size, new_slot, halt, wake
        self._seal = seal
        self.done: deque[Done] = deque()
        self.bailed: deque[int] = deque()
        self.look_at = math.inf
        self.short = 0
        self._queue = TimedTaskQueue() if setup.timed else TaskQueue()
        self._free: list[_CoroutineSlot] = []
        self._running: dict[_CoroutineSlot, asyncio.Task[None]] = {}
        self._fresh: list[_CoroutineSlot] = []  # where tasks were made since the last look
        self._young: list[_CoroutineSlot] = []  # and before it
        self._limited = False  # some task has had a timeout
        self._watch_at = math.inf  # when `_watch` looks at the times of what runs
        self._closing = False
        self._orderly = True
        self.left: deque[Slot] = deque()
        self.lost: OSError | None = None  # why the loop cannot go on: code of the user has closed what it waits on
        self.broken: deque[BaseException] = deque()
        self.complaints: deque[str] = deque()
        self.opening = int(setup.hooks is not None)
        self._forked = forked()
        self._context = branch()  # what tasks find; none sees what another has set
        self._renew = renewal(self._context)
        self._loop = new_loop()
        self._state: Any = None
        self._call, self._caller = setup.call, setup.caller(setup.call)  # of the task that began last
        self._thread = WorkerThread(self._serve, "worker-loop", wake)
        start_thread(self._thread)

    def _serve(self) -> None:
        try:
            self._live()
        except OSError as error:
            self.lost = error

    def _live(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            begun = self._setup.hooks is None or self._begin_life()
            if begun:
                keep_running(loop, lambda: self._closing)
            self._closing = True  # also where nothing has begun: what was fed meanwhile must not begin below
            if left := asyncio.all_tasks(loop):
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left, timeout=_LOOP_GRACE))
            if begun and self._setup.hooks is not None and self._orderly:
                leaving = self._in_context(catch_async(self._setup.hooks.finish, self._state), self._context)
                _, error = loop.run_until_complete(leaving)
                if error is not None:
                    self.complaints.append(exit_text(error))
                del error  # it holds this frame, and would hold itself
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            catch(loop.close)

    def _begin_life(self) -> bool:
        """Run worker.init on the loop, once for all its coroutines; False if nothing shall follow."""
        hooks, pid, slot = self._setup.hooks, os.getpid(), self._new_slot()
        assert hooks is not None
        slot.open_init()
        init = self._in_context(catch_async(hooks.begin, self._setup.call.config), self._context)
        init.add_done_callback(lambda _: self._loop.stop())
        keep_running(self._loop, lambda: init.done() or self._closing)
        if not init.done():
            return False  # the run is over
        outcome, cancelled = catch(init.result)
        state, error = outcome if cancelled is None else (None, cancelled)
        if os.getpid() != pid:
            os._exit(0)  # worker.init forked and its child came back here
        heard = slot.close_init()
        self.opening = 0
        failed = error is not None
        if error is not None and heard:
            self.broken.append(error)
        del outcome, cancelled, error  # it holds this frame, and would hold itself
        self._wake()
        if failed or not heard or self._closing:
            return False
        self._state = state
        self._caller = self._setup.caller(self._call, state)
        self._renew = renewal(self._context)
        self._free.append(_CoroutineSlot(slot))
        self._loop.call_soon(self._fill, context=self._context)
        return True

    def feed(self, seq: int, batch: Batch) -> None:
        self._queue.add(seq, batch)
        self._limited = self._limited or batch.timeout is not None
        self._post(self._fill)  # it is closed where worker.init has raised; the run is about to hear of it

    def offer(self, claim: Claim) -> bool:
        """No coroutine waits for work."""
        return False

    def hire(self, least: int = 0) -> None:
        """Nothing to do: a coroutine waits for its time at no cost."""

    def grow(self) -> None:
        """Nothing to do: nor does it take anything to start one."""

    def _fill(self) -> None:
        """Begin as many tasks as there is room for."""
        if self.opening:
            return  # it fills itself when worker.init has run
        while len(self._running) < self._size and not self._closing:
            lane = self._free.pop() if self._free else _CoroutineSlot(self._new_slot())
            if not self._next(lane):
                self._free.append(lane)
                break

    def _next(self, lane: _CoroutineSlot) -> bool:
        """Begin another task in a free lane; False if there is none."""
        claim = self._queue.next()
        if claim is None:
            return False
        (lane.seq, lane.task_id, item), due, batch, *_ = claim
        lane.batch, called = batch, batch.call or self._setup.call
        if called is not self._call:
            self._call, self._caller = called, self._setup.caller(called, self._state)
        lane.call, lane.caller = called, self._caller
        work = self._when_due(lane, item, due) if due and due > now() else self._work(lane, item)
        # In a context of its own, which is not a copy of the one that this happens in: that of the lane's last task.
        context = self._context.copy()
        context.run(own_marks.set, lane.marks)
        if self._renew is not None:
            context.run(self._renew)
        self._running[lane] = self._in_context(work, context)
        if not self._fresh and not self._young:
            self._loop.call_soon(self._look_after, context=self._context)
        self._fresh.append(lane)
        return True

    def _in_context(self, work: Coroutine[Any, Any, T], context: contextvars.Context) -> asyncio.Task[T]:
        return asyncio.Task(work, loop=self._loop, context=context)

    def _look_after(self) -> None:
        """A task that another one has cancelled before its first step never comes to say so itself."""
        # Those that were there at the last look have had their turn since then.
        for lane in self._young:
            task = self._running.get(lane)
            if task is not None and task.cancelled():
                lane.slot.started[0] = now()
                self.end(lane, None)
        self._young, self._fresh = self._fresh, []
        if self._young:
            self._loop.call_soon(self._look_after, context=self._context)

    def _work(self, lane: _CoroutineSlot, item: Any) -> Coroutine[Any, Any, None]:
        return run_task_async(lane.call, lane.caller, lane.task_id, item, self, lane)

    async def _when_due(self, lane: _CoroutineSlot, item: Any, due: float) -> None:
        try:
            await asyncio.sleep(due - now())
        except asyncio.CancelledError:
            lane.slot.started[0] = now()
            self.end(lane, None)
            return
        await self._work(lane, item)

    def begin(self, lane: _CoroutineSlot) -> float:
        slot, timeout = lane.slot, lane.batch.timeout
        at: float
        at = slot.started[0] = now()
        if timeout is not None:
            slot.deadline[0] = at + timeout + _LOOP_GRACE
        slot.running[0] = lane.seq
        if self._halt[0] or at >= lane.batch.stop_at:
            if slot.settle(self.bailed, lane.seq):
                self._over(lane)
            return 0.0
        if timeout is not None and at + timeout < self._watch_at:
            self._look_at(at + timeout)
        return at

    def notes(self, lane: _CoroutineSlot) -> dict[Any, Any]:
        notes = lane.slot.coroutines_notes = {}
        return notes

    def end(self, lane: _CoroutineSlot, ended: AttemptResult | None) -> None:
        if self._forked[0]:
            os._exit(0)  # the task forked and its child came back here: it is not one of this runner
        if ended is None or lane.late or lane.killed or not ended.started:
            ended = self._cut_short(lane, None if ended is None else ended.metadata)
        slot = lane.slot
        if self._closing or slot.abandoned:
            return  # whoever closes has settled what ran
        # Without the slot's mutex, which costs more than all else here: whoever gives a slot up hears what has ended
        # after that, and believes it; what ends later is heard by nobody.
        self.done.append((lane.seq, slot.number, ended.sealed(self._seal, lane.call)))
        slot.running[0] = 0
        slot.deadline[0] = math.inf
        self._over(lane)

    def attempt(self, lane: _CoroutineSlot) -> int:
        return lane.batch.attempt

    def _over(self, lane: _CoroutineSlot) -> None:
        """The lane is free: its next task takes up what its last one leaves, in this very turn of the loop.

        Where many end together and only then as many begin, the garbage collector takes each of them for a growth
        of memory, and goes through all that there is: a fifth of the time of short tasks.
        """
        lane.late = lane.killed = False
        self._wake()
        del self._running[lane]
        if len(self._running) >= self._size or not self._next(lane):
            self._free.append(lane)

    def _watch(self) -> None:
        """Cancel the coroutines over their time, and look again when the next one is."""
        at, soonest = now(), math.inf
        self._watch_at = math.inf
        for lane, task in self._running.items():
            slot, timeout = lane.slot, lane.batch.timeout
            if timeout is None or not slot.running[0] or lane.late:
                continue
            if at < (due := slot.started[0] + timeout):
                soonest = min(soonest, due)
                continue
            lane.late = True
            slot.deadline[0] = at + _LOOP_GRACE  # it may have been excused
            task.cancel()
        if soonest < math.inf:
            self._look_at(soonest)

    def _look_at(self, due: float) -> None:
        """Have `_watch` called when the time of something that runs is over (monotonic)."""
        self._watch_at = due
        self._loop.call_later(due - now(), self._watch, context=self._context)

    def _cut_short(self, lane: _CoroutineSlot, metadata: dict[Any, Any] | None) -> AttemptResult:
        """A coroutine over its time, whatever it made of its cancellation, or one that was cancelled by other code."""
        if lane.killed:
            failure = Failure("", "", status=CANCELLED)
        elif lane.late:
            error = TaskTimeout(lane.task_id, lane.batch.timeout or 0.0)
            failure = Failure("TaskTimeout", str(error), "", True, error, TIMEOUT)
        else:
            failure = failure_from(
                lane.call,
                asyncio.CancelledError("the task was cancelled by itself or by other code of the program"),
            )
        return AttemptResult(lane.slot.started[0], now(), None, failure, metadata)

    def blocked_by(self) -> Slot | None:
        """The slot whose coroutine runs at this moment. From any thread: for a loop that stands still."""
        current = asyncio.current_task(self._loop)
        return next((lane.slot for lane, task in list(self._running.items()) if task is current), None)

    def replace(self, slot: Slot) -> None:
        """Nothing to do: a coroutine that does not let go costs the whole loop."""

    leave_behind = returned = replace

    def excuse(self, by: float) -> None:
        """Where one coroutine blocks the loop, the others that will be late by a moment are so through no fault of
        theirs: they get more time. Those whom the loop has told are late by themselves. From any thread."""
        if not self._limited or (blocker := self.blocked_by()) is None:
            return
        for lane in list(self._running):
            slot = lane.slot
            if slot.deadline[0] <= by and slot is not blocker and not lane.late:
                slot.deadline[0] = by + (lane.batch.timeout or 0.0) + _EXCUSED

    def harvest(self, *, all_there_is: bool = False) -> list[Columns]:
        """What has ended, and is told only once."""
        done = self.done
        return [Columns.of([done.popleft() for _ in range(len(done))])]

    def drop(self) -> list[int]:
        return self._queue.drop()

    def resize(self, size: int) -> None:
        """From now on, so many at once; those that run now end."""
        self._size = size
        self._post(self._fill)

    def forget(self, slot: Slot) -> None:
        """Nothing to do: no thread leaves."""

    def retire(self, since: float) -> float:
        return math.inf  # the loop stays

    def cancel(self, seq: int) -> bool:
        """Cancel a coroutine that has begun, which then ends as CANCELLED if it lets go; False if it has not."""
        lane = next((one for one in list(self._running) if one.seq == seq and one.slot.running[0] == seq), None)
        if lane is not None:
            self._post(partial(self._cancel, lane, seq))
        return lane is not None

    def _cancel(self, lane: _CoroutineSlot, seq: int) -> None:
        task = self._running.get(lane)
        if task is not None and lane.seq == seq:
            lane.killed = True
            task.cancel()

    def _post(self, step: Callable[[], None]) -> None:
        """Have the loop take a step, unless it is closed."""
        try:
            with held():  # asyncio takes an error of a handler for one of its pipe
                self._loop.call_soon_threadsafe(step, context=self._context)
        except RuntimeError:
            pass

    def leave(self) -> None:
        """Cancel what runs and stop the loop as soon as it can be stopped, without worker.exit. Returns at once."""
        self._orderly = False
        self._stop()

    def _stop(self) -> None:
        self._post(self._finish)

    def close(self, *, orderly: bool = True) -> None:
        """Cancel what runs and stop the loop; one that is blocked is left behind as a daemon."""
        self._orderly = orderly
        self._stop()

    def ending(self) -> list[WorkerThread]:
        """After `close`: the loop's thread."""
        return [self._thread]

    def _finish(self) -> None:
        self._closing = True
        self._loop.stop()


class _Marks:
    """What a coroutine may know of its slot: see Marks."""

    __slots__ = ("deadline", "halt", "running", "started", "unwanted")
    grace = _LOOP_GRACE

    def __init__(self, slot: Slot) -> None:
        self.running, self.started, self.deadline = slot.running, slot.started, slot.deadline
        self.halt, self.unwanted = slot.halt, slot.unwanted


class _CoroutineSlot:
    """Where one coroutine runs after the other. seq, task_id, batch, call, caller: of the one that runs, or is about
    to; late: the loop has told it that its time is over; killed: that it is to end."""

    __slots__ = ("batch", "call", "caller", "killed", "late", "marks", "seq", "slot", "task_id")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.marks = _Marks(slot)
        self.late = self.killed = False
        self.seq: int
        self.task_id: int
        self.batch: Batch
        self.call: Call
        self.caller: Callable[[int, Any, dict[Any, Any]], Any]
