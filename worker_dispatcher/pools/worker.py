"""What runs in a worker process: load the setup once, then run batches and report.

    parent ── SETUP, WORK ──▶ main thread ─▶ Solo: runs each task itself
                                          └▶ Host: feeds a crew of threads or coroutines (grid)
    parent ◀── READY | BROKEN | INIT_FAILED, REPORT, DROPPED, UNLOADABLE, EXCEPTION, COMPLAINT ──

Before a slot begins a task it names it on the slate, and a report is sent before the slot is idle again, so
that after any death the parent knows what was reported, what had begun and what had not.
"""

from __future__ import annotations

import itertools
import marshal
import math
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.execute import (
    LONG,
    Ended,
    attempt_run,
    describe,
    exit_text,
    failure_from,
    guarded,
    guarded_async,
)
from worker_dispatcher.osproc.channel import Channel, Frame, Gone
from worker_dispatcher.osproc.slate import IN_INIT, Slate
from worker_dispatcher.pools.base import Batch, Setup
from worker_dispatcher.pools.claims import Slot
from worker_dispatcher.pools.crew import breath, crew_kind, join_idle
from worker_dispatcher.pools.frames import (
    BROKEN,
    DROP,
    DROPPED,
    LOST,
    READY,
    UNLOADABLE,
    WORK,
    open_head,
)
from worker_dispatcher.pools.hooks import complain, send_failed_init
from worker_dispatcher.pools.logs import LockedChannel, Outgoing
from worker_dispatcher.pools.reporting import Reports
from worker_dispatcher.records import Failure
from worker_dispatcher.wire import from_parts, unpack

__all__ = ["Host", "Solo", "is_loading", "main"]

_DOZE = 0.002  # seconds before a due time from which on a worker sleeps, and hears nothing
_REPORT_AFTER = 0.01  # seconds of finished work that may wait to be reported: more than a batch is meant to take
_LOOK_BEFORE = 0.15  # seconds before the parent kills for a coroutine over its time
_LOOK_AGAIN = 20.0  # milliseconds from one look to the next
_SEND_GRACE = 2.0  # seconds a report may take to be sent before the worker counts as frozen


_loading = False


def is_loading() -> bool:
    """True in a worker that is loading the user's function, config or tasks: what runs now is a module's import."""
    return _loading


def _load(parts: Sequence[memoryview], fds: list[int]) -> tuple[Any, BaseException | None]:
    global _loading
    _loading = True
    try:
        return guarded(lambda: unpack(*from_parts(parts, fds)))
    finally:
        _loading = False


def _unloadable(setup: Setup, error: BaseException) -> Failure:
    failure = failure_from(setup.call, error)
    return failure._replace(message=f"the task cannot be loaded in the worker: {failure.message}")


def _awaiter() -> Callable[[Awaitable[Any]], Any]:
    from worker_dispatcher.pools.timers import awaiter  # 25 ms, for those who need asyncio anyway

    return awaiter()


class Solo:
    """A worker of one slot: the main thread runs the tasks, as user code expects to be run."""

    def __init__(self, channel: Channel, slate: Slate, setup: Setup) -> None:
        self._channel, self._slate, self._setup = channel, slate, setup
        self._reports = Reports(channel, setup)
        self._caller = setup.caller()
        self._state: Any = None
        self._early: list[Frame] = []  # read while a task's time was awaited
        self._stop_at = setup.stop_at or math.inf
        self._forked: list[bool] = []
        os.register_at_fork(after_in_child=self._in_fork)
        self._await_all = _awaiter() if setup.coroutine else None
        if self._await_all is not None:
            self._use_runner(self._await_all)

    def open(self) -> BaseException | None:
        """Run worker.init; what it raised."""
        hooks, slate, call = self._setup.hooks, self._slate, self._setup.call
        if hooks is None:
            return None
        slate.started[0] = now()
        slate.running[0] = IN_INIT
        self._state, error = self._hook(hooks.begin, call.config)
        if self._forked:
            os._exit(0)  # it forked and its child came back here: it is not a worker
        slate.running[0] = 0
        self._caller = self._setup.caller(self._state)
        if self._await_all is not None:
            self._use_runner(self._await_all)
        return error

    def leave(self) -> None:
        """Run worker.exit."""
        if self._setup.hooks is not None:
            _, error = self._hook(self._setup.hooks.finish, self._state)
            if error is not None and not self._forked:
                complain(self._channel, [exit_text(error)])

    def _hook(self, hook: Callable[..., Any], argument: Any) -> tuple[Any, BaseException | None]:
        if self._await_all is None:
            return guarded(hook, argument)
        outcome: tuple[Any, BaseException | None] = self._await_all(guarded_async(hook, argument))
        return outcome

    def _in_fork(self) -> None:
        self._forked.append(True)

    def _use_runner(self, run: Callable[[Awaitable[Any]], Any]) -> None:
        inner = self._caller
        self._caller = lambda task_id, task, metadata: run(inner(task_id, task, metadata))

    def serve(self) -> None:
        while True:
            frames, self._early = self._early, []
            for frame in frames or self._channel.receive():
                if frame.kind == WORK:
                    self._work(frame)

    def _work(self, frame: Frame) -> None:
        seq, first, count, dues = open_head(frame)
        slate, timeout = self._slate, self._setup.timeout
        at = slate.started[0] = now()
        if timeout is not None:
            slate.deadline[0] = at + timeout
        slate.running[0] = -seq
        items, error = _load(frame.parts[1:], frame.fds)
        if error is None and len(items) != count:
            error = ValueError("the batch does not hold what it says")
        if error is None:
            if dues is not None:
                self._await(dues[0])
            self._run(seq, first, items)
        elif count > 1:
            self._channel.send(UNLOADABLE, [frame.parts[0]])
        else:
            self._reports.add(seq, 0, Ended(at, now(), None, _unloadable(self._setup, error), None))
            self._reports.send()
        slate.running[0] = 0
        slate.deadline[0] = math.inf
        if error is not None:
            _flush()

    def _await(self, due: float) -> None:
        """Wait for the time of the one task that was sent; nothing has begun meanwhile."""
        self._slate.running[0] = 0
        self._slate.deadline[0] = math.inf
        while (ahead := due - now()) > _DOZE:
            if select.select([self._channel.fileno()], [], [], ahead - _DOZE)[0]:
                self._early += self._channel.receive()  # raises when the parent is gone
        if ahead > 0:
            time.sleep(ahead)

    def _run(self, seq: int, first: int, items: Sequence[Any]) -> None:
        call, timeout, reports = self._setup.call, self._setup.timeout, self._reports
        tasks, end = zip(range(seq, seq + len(items)), itertools.count(first), items), seq + len(items)
        until = now() + _REPORT_AFTER
        while seq < end:
            if self._channel.severed():
                raise Gone  # the parent will not hear of what begins now
            went = attempt_run(
                call, self._caller, tasks, self._slate, reports.seal_value,
                timeout=timeout, stop_at=self._stop_at, until=until, forked=self._forked,
            )  # fmt: skip
            if self._forked:
                os._exit(0)  # a task forked and its child came back here: it is not a worker
            if went.halted:
                self._slate.running[0] = 0
            at, seq, last = seq, seq + len(went.results), went.last
            if last is None:
                self._before_report(timeout)
                reports.send_run(at, went)
            else:
                reports.add_run(at, went)
                reports.add(seq, 0, last)
                seq += 1
                if seq < end and last.ended < until and last.ended - last.started <= LONG and not reports.full:
                    continue
                self._before_report(timeout)
                reports.send()
            until = now() + _REPORT_AFTER
            if went.halted:
                self._channel.send(DROPPED, [struct.pack("<QQ", seq, end)])
                return

    def _before_report(self, timeout: float | None) -> None:
        _flush()  # what reported tasks have printed is not lost when a later one ends the process
        if timeout is not None:
            self._slate.deadline[0] = now() + _SEND_GRACE


class Host:
    """A worker of many slots: the main thread feeds a crew and reports for it.

    Waits: one poll over the channel and a wake-up descriptor that the crew writes to.
    """

    def __init__(self, channel: Channel, slate: Slate, setup: Setup) -> None:
        self._channel, self._slate, self._setup = channel, slate, setup
        self._reports = Reports(channel, setup)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._signalled = False
        self._next = 0
        self._slots: list[Slot] = []
        size = len(slate.running) - 1  # the last row of the slate is this main thread's: it loads the tasks
        self._breath, self._reported = breath(setup, size), 0.0
        self._loader = size
        self._crew = crew_kind(setup)(setup, size, self._new_slot, slate.halt, self._signal, self._reports.seal)

    def _new_slot(self) -> Slot:
        at, slate = self._next, self._slate
        self._next += 1
        slot = Slot(at, slate.running[at : at + 1], slate.started[at : at + 1], slate.deadline[at : at + 1])
        self._slots.append(slot)
        return slot

    def open(self) -> BaseException | None:
        """Nothing to do yet: each thread runs worker.init before its first task."""
        return None

    def leave(self) -> None:
        """Have the threads run worker.exit. The parent does not wait for ever, so this may."""
        if self._setup.hooks is not None:
            self._crew.close()
            join_idle(self._slots, threading.TIMEOUT_MAX)
            complain(self._channel, self._crew.complaints)

    def _signal(self) -> None:
        if not self._signalled:
            self._signalled = True
            try:
                os.eventfd_write(self._wake, 1)
            except OSError:  # a task has closed it; the main thread, in its poll, would never hear of it
                os._exit(LOST)

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            for fd, _ in poll.poll(self._patience()):
                if fd == self._wake:
                    self._breathe()
                    self._report()
                else:
                    for frame in self._channel.receive():
                        self._take(frame)
            if self._setup.coroutine:
                # The parent, which kills for what is on the slate, shall find the guilty one alone.
                self._crew.excuse(now() + _LOOK_BEFORE)

    def _patience(self) -> float | None:
        """Milliseconds until a coroutine's overtime must be looked at, before the parent does; None for threads."""
        if self._setup.timeout is None or not self._setup.coroutine:
            return None
        soonest = min(self._slate.deadline) - _LOOK_BEFORE
        return None if soonest == math.inf else max(_LOOK_AGAIN, (soonest - now()) * 1000 + 1)

    def _take(self, frame: Frame) -> None:
        if frame.kind == DROP:
            self._drop(self._crew.drop())
            self._channel.send(DROPPED, [struct.pack("<QQ", 0, 0)])  # the answer, whether there was anything or not
            return
        seq, first, count, dues = open_head(frame)
        items, error = self._load(seq, frame)
        if error is None:
            self._crew.feed(seq, Batch(first, items, dues=dues))
        elif count > 1:
            self._channel.send(UNLOADABLE, [frame.parts[0]])
        else:
            self._reports.add(seq, 0, Ended(now(), now(), None, _unloadable(self._setup, error), None))
            self._reports.send()

    def _load(self, seq: int, frame: Frame) -> tuple[Any, BaseException | None]:
        at, slate, row = now(), self._slate, self._loader
        slate.started[row] = at
        if self._setup.timeout is not None:
            slate.deadline[row] = at + self._setup.timeout
        slate.running[row] = -seq
        loaded = _load(frame.parts[1:], frame.fds)
        slate.running[row] = 0
        slate.deadline[row] = math.inf
        return loaded

    def _breathe(self) -> None:
        """Let more tasks end before the next report, if the last one was a moment ago."""
        if (rest := self._reported + self._breath - now()) > 0:
            time.sleep(rest)
        self._reported = now()

    def _report(self) -> None:
        # In this order: a signal after the flag is down writes anew, one before it is drained below. The other
        # way round a write could be read here and the flag stay up, and nobody would ever signal again.
        os.eventfd_read(self._wake)
        self._signalled = False
        if self._setup.timed:
            self._crew.hire()
        done, bailed, reports = self._crew.done, self._crew.bailed, self._reports
        for _ in range(len(done)):
            seq, number, ended = done.popleft()
            reports.add(seq, number, ended)
            if reports.full:
                reports.send()
        reports.send()
        for _ in range(len(self._crew.broken)):
            send_failed_init(self._channel, self._crew.broken.popleft())
        self._drop([bailed.popleft() for _ in range(len(bailed))])
        _flush()

    def _drop(self, seqs: list[int]) -> None:
        for _, run in itertools.groupby(enumerate(sorted(seqs)), lambda one: one[1] - one[0]):
            neighbours = [seq for _, seq in run]
            self._channel.send(DROPPED, [struct.pack("<QQ", neighbours[0], neighbours[-1] + 1)])


def main(socket_fd: int, slate_fd: int) -> None:
    """A worker's life. Returns when the parent has closed the channel."""
    channel = LockedChannel(socket.socket(fileno=socket_fd), blocking=True)
    logs: Outgoing | None = None
    worker: Solo | Host | None = None
    try:
        slate = Slate.of(slate_fd)
        frames = channel.receive()
        *parts, manners = frames[0].parts
        if (levels := marshal.loads(manners)) is not None:
            logs = Outgoing(channel, levels)
        setup, error = _load(parts, frames[0].fds)
        if error is not None:
            type_name, message, traceback = describe(error)
            channel.send(BROKEN, [f"{type_name}: {message}".encode(), traceback.encode()])
            return
        _limit_blas()
        kind = Solo if len(slate.running) == 1 else Host
        setup.redirected()
        worker = kind(channel, slate, setup)
        if (error := worker.open()) is not None:
            send_failed_init(channel, error)
            return
        channel.send(READY)
        for frame in frames[1:]:
            worker._work(frame) if isinstance(worker, Solo) else worker._take(frame)
        worker.serve()
    except (Gone, OSError) as error:
        if guarded(os.fstat, socket_fd)[1] is not None:  # a task has closed it
            os._exit(LOST)
        if not isinstance(error, Gone):
            raise
        if worker is not None:
            worker.leave()
    finally:
        if logs is not None:
            logs.close()
        _flush()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            guarded(stream.flush)


def _limit_blas() -> None:
    """Libraries loaded before the environment could speak to them (start method fork) are told now."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if "numpy" in sys.modules and limit.isdigit():
        import threadpoolctl

        guarded(threadpoolctl.threadpool_limits, int(limit))
