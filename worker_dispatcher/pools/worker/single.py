"""What runs in a worker process: load the setup once, then run batches and report.

    parent ── SETUP, WORK ──▶ main thread ─▶ SingleWorker: runs each task itself
                                          └▶ GridWorker: feeds a runner of threads or coroutines (grid)
    parent ◀── READY | BROKEN | INIT_FAILED, REPORT, DROPPED, UNLOADABLE, EXCEPTION, COMPLAINT ──

Before a slot begins a task it names it on the slate, and a report is sent before the slot is idle again, so
that after any death the parent knows what was reported, what had begun and what had not.
"""

from __future__ import annotations

import marshal
import math
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol

from worker_dispatcher.awaiting import await_by
from worker_dispatcher.call import Call
from worker_dispatcher.clock import now, sleep
from worker_dispatcher.execute import AttemptResult, catch, catch_async, catch_settled, describe, exit_text, run_tasks
from worker_dispatcher.marks import own_marks
from worker_dispatcher.osproc import child
from worker_dispatcher.osproc.channel import Channel, Frame, Gone
from worker_dispatcher.osproc.shared_status import IN_INIT, LEFT, SharedStatus
from worker_dispatcher.osproc.system import close_all, readable
from worker_dispatcher.pools.base import Batch, Setup, numbered
from worker_dispatcher.pools.protocol.encode import Reports
from worker_dispatcher.pools.protocol.frames import (
    BROKEN,
    DROPPED,
    FUNCTION,
    READY,
    UNLOADABLE,
    WORK,
    open_head,
)
from worker_dispatcher.pools.protocol.hooks import complain, send_failed_init
from worker_dispatcher.pools.protocol.loading import Calls, flush, load, load_setup, unloadable
from worker_dispatcher.pools.protocol.log_forwarding import Outgoing, logs_of
from worker_dispatcher.pools.runners.kept_loop import KeptLoop
from worker_dispatcher.pools.runners.task_queue import Columns, forked
from worker_dispatcher.pools.worker.early_reports import EarlyReports
from worker_dispatcher.pools.worker.ending import end_in_order, note_what_is_here
from worker_dispatcher.pools.worker.imports import Imports
from worker_dispatcher.script import main_module
from worker_dispatcher.task_span import TaskSpan

__all__ = ["SingleWorker", "Worker", "main"]

_DOZE = 0.002  # seconds before a due time from which on a worker sleeps, and hears nothing
_REPORT_AFTER = 0.01  # seconds of finished work that may wait to be reported: what a kill of the worker makes run again
_OVERDUE = 0.005  # seconds beyond _REPORT_AFTER after which it is clear that what may report runs a long task
_SEND_GRACE = 2.0  # seconds a report may take to be sent before the worker counts as frozen


def _awaiter(slate: SharedStatus) -> Callable[..., Any]:
    from worker_dispatcher.pools.runners.event_loop import awaiter  # 25 ms, for those who need asyncio anyway

    return awaiter(slate.end_lost)


class SingleWorker:
    """A worker of one slot: the main thread runs the tasks, as user code expects to be run."""

    def __init__(self, channel: Channel, slate: SharedStatus, setup: Setup) -> None:
        self._channel, self._slate, self._setup = channel, slate, setup
        self._reports = Reports(channel, setup)
        self._early_reports = EarlyReports(self._report_early, _REPORT_AFTER + _OVERDUE)
        self._calls = Calls(setup)
        self._seal = self._reports.seal_value
        self._state: Any = None
        self._long, self._watched = True, False  # the last task took so long; somebody tells of those that have ended
        self._early: list[Frame] = []  # read while a task's time was awaited
        self._forked = forked()  # in a child that user code has forked: not a worker
        own_marks.set(slate)
        self._await_all = _awaiter(slate) if setup.coroutine else None
        self._loop = KeptLoop() if setup.kept and not setup.coroutine else None
        if self._loop is not None:
            await_by(self._loop.run)
        self._hooks_context = copy_context()  # of coroutines: exit may reset what init has set
        self._ready_for(setup.call)

    def _ready_for(self, call: Call) -> None:
        """The next tasks are of this call."""
        self._call, caller = call, self._setup.caller(call, self._state)
        self._caller = caller
        if (run := self._await_all) is not None:
            self._caller = lambda task_id, task, metadata: run(caller(task_id, task, metadata))

    def open(self) -> BaseException | None:
        """Run worker.init; what it raised."""
        hooks, slate, call = self._setup.hooks, self._slate, self._setup.call
        if hooks is None:
            return None
        slate.started[0] = now()
        slate.running[0] = IN_INIT
        self._state, error = self._hook(hooks.begin, call.config)
        if self._forked[0]:
            os._exit(0)  # it forked and its child came back here: it is not a worker
        slate.running[0] = 0
        self._ready_for(call)
        return error

    def leave(self) -> None:
        """Run worker.exit."""
        if self._setup.hooks is not None:
            _, error = self._hook(self._setup.hooks.finish, self._state)
            if error is not None and not self._forked[0]:
                complain(self._channel, [exit_text(error)])
        if self._loop is not None:
            self._loop.close()

    def _hook(self, hook: Callable[..., Any], argument: Any) -> tuple[Any, BaseException | None]:
        if self._await_all is None:
            return catch_settled(hook, argument)
        outcome: tuple[Any, BaseException | None] = self._await_all(catch_async(hook, argument), self._hooks_context)
        return outcome

    def serve(self) -> None:
        while True:
            frames, self._early = self._early, []
            for frame in frames or self._channel.receive():
                self.take(frame)

    def take(self, frame: Frame) -> None:
        if frame.kind == WORK:
            self._work(frame)
        elif frame.kind == FUNCTION:
            self._calls.learn(frame)

    def _work(self, frame: Frame) -> None:
        seq, count, number, batch = open_head(frame)
        slate = self._slate
        slate.started[0] = now()
        slate.running[0] = -seq
        if slate.halt[0]:  # these are taken back
            slate.running[0] = 0
            close_all(frame.fds)
            self._channel.send(DROPPED, [struct.pack("<QQ", seq, seq + count)])
            return
        call, error = self._calls.of(number)  # not in the time of this task, which happens to be its first
        at = slate.started[0] = now()
        if batch.timeout is not None:
            slate.deadline[0] = at + batch.timeout
        items, unloaded = load(frame.parts[1:], frame.fds)
        error = error or unloaded
        if error is None and len(items) != count:
            error = ValueError("the batch does not hold what it says")
        if error is None:
            if batch.dues is not None:
                self._await(batch.dues[0])
            if call is not self._call:
                self._ready_for(call)
            self._run(seq, seq + count, numbered(seq, batch.first, items), batch)
        elif count > 1:
            self._channel.send(UNLOADABLE, [frame.parts[0]])
        else:
            failed = AttemptResult(at, now(), None, unloadable(call or self._setup.call, error), None)
            self._reports.add(Columns.of([(seq, 0, failed)]))
            self._reports.send()
        slate.running[0] = 0
        slate.deadline[0] = math.inf
        if error is not None:
            flush()

    def _await(self, due: float) -> None:
        """Wait for the time of the one task that was sent; nothing has begun meanwhile."""
        self._slate.running[0] = 0
        self._slate.deadline[0] = math.inf
        while (ahead := due - now()) > _DOZE:
            if readable(self._channel.fileno(), ahead - _DOZE):
                self._early += self._channel.receive()  # raises when the parent is gone
        if ahead > 0:
            sleep(ahead)

    def _run(self, seq: int, end: int, tasks: Iterator[tuple[int, int, Any]], batch: Batch) -> None:
        timeout, reports = batch.timeout, self._reports
        while seq < end:
            went = TaskSpan()
            seq += self._run_some(tasks, batch, went, end - seq)
            self._before_report(timeout)
            if self._watched:
                self._early_reports.end()
            reports.send_run(went)
            if went.unbegun is not None:
                self._channel.send(DROPPED, [struct.pack("<QQ", seq, end)])
                return

    def _run_some(self, tasks: Iterator[tuple[int, int, Any]], batch: Batch, went: TaskSpan, left: int) -> int:
        """Run tasks, of which so many are left, until some are to be reported: how many."""
        at = now()
        report_at = at + _REPORT_AFTER
        # Where the first is likely to be reported by itself, there is nothing to be told of until it has ended.
        until, self._watched = at if self._long else report_at, False
        while True:
            if until == report_at and left > 1 and not self._watched:
                self._early_reports.begin(went, at)
                self._watched = True
            if self._channel.severed():
                raise Gone  # the parent will not hear of what begins now
            run_tasks(
                self._call, self._caller, tasks, self._slate, went, self._seal,
                timeout=batch.timeout, stop_at=batch.stop_at, until=until, forked=self._forked,
                attempt=batch.attempt,
            )  # fmt: skip
            if self._forked[0]:
                os._exit(0)  # a task forked and its child came back here: it is not a worker
            ended = len(went.ends)
            if went.unbegun is not None:
                # What has ended stays named until it is reported: what is not named was reported, or never begun.
                self._slate.running[0] = went.seqs[ended - 1] if ended else 0
                return ended
            if ended == left or _to_be_reported(went, report_at):
                self._long = went.ends[-1] - went.starts[-1] >= _REPORT_AFTER
                return ended
            until = report_at

    def _report_early(self, went: TaskSpan) -> None:
        """Tell of what has ended in a stretch of which the last task runs; called by another thread meanwhile."""
        if went.ended:
            flush()
            ended = Columns.empty()
            ended.take(0, went)
            self._reports.add(ended)
            self._reports.send()

    def _before_report(self, timeout: float | None) -> None:
        flush()  # what reported tasks have printed is not lost when a later one ends the process
        if timeout is not None:
            self._slate.deadline[0] = now() + _SEND_GRACE


def _to_be_reported(went: TaskSpan, report_at: float) -> bool:
    """True once what a stretch holds should wait for nothing more."""
    return went.heavy or went.ends[-1] >= report_at


class Worker(Protocol):
    """What the main thread of a worker process is."""

    def open(self) -> BaseException | None:
        """Make ready; what worker.init has raised."""

    def serve(self) -> None:
        """Run tasks until the parent is gone, which raises Gone."""

    def take(self, frame: Frame) -> None:
        """A frame that was read before `serve`."""

    def leave(self) -> None:
        """Run worker.exit."""


def main(socket_fd: int, slate_fd: int, many: Callable[[Channel, SharedStatus, Setup], Worker] = SingleWorker) -> None:
    """A worker's life. Returns when the parent has closed the channel. many: who works in many slots."""
    channel = Channel(socket.socket(fileno=socket_fd), blocking=True)
    logs: Outgoing | None = None
    imports: Imports | None = None
    worker: Worker | None = None
    slate: SharedStatus | None = None
    note_what_is_here()
    try:
        slate = SharedStatus.of(slate_fd)
        slate.started[0] = now()  # a sign of life
        frames = channel.receive()
        *parts, manners = frames[0].parts
        about_logs, about_main, tells_imports = marshal.loads(manners)
        main_module.set_up(about_main)
        imports = Imports() if tells_imports else None
        if about_logs is not None:
            if len(frames[0].fds) == about_logs[1]:
                logs = logs_of(frames[0].fds.pop(), about_logs[0], drops=about_logs[2])
            else:
                complain(channel, ["what a worker logs is not forwarded: there was no room for one more descriptor"])
        _limit_blas()
        setup, error = load_setup(parts, frames[0].fds)
        if error is not None:
            type_name, message, traceback = describe(error)
            channel.send(BROKEN, [f"{type_name}: {message}".encode(), traceback.encode()])
            return
        kind = SingleWorker if len(slate.running) == 1 else many
        setup.redirected()
        worker = kind(channel, slate, setup)
        if (error := worker.open()) is not None:
            send_failed_init(channel, error)
            return
        channel.send(READY, [str(os.getpid()).encode()])
        for frame in frames[1:]:
            worker.take(frame)
        worker.serve()
    except (Gone, OSError) as error:
        known = isinstance(error, Gone)
        # A task has read from it or closed it, or has done so to what else its worker waits on.
        taken = channel.garbled or catch(os.fstat, socket_fd)[1] is not None or not (known or worker is None)
        if slate is not None and taken:
            slate.end_lost()
        if not known:
            raise
        if worker is not None:
            worker.leave()
            if imports is not None:
                imports.tell(channel)
            if slate is not None:
                slate.end[0] = LEFT
    finally:
        end_in_order()
        if logs is not None:
            logs.close()
        flush()
        channel.abandon()  # the end of the process closes it, without the ResourceWarning of -X dev


def _limit_blas() -> None:
    """Libraries that were loaded before the environment could speak to them are told now."""
    told = child.threads_told()
    if "numpy" not in sys.modules or told == child.told_of_threads:
        return
    from threadpoolctl import ThreadpoolController

    found, common = ThreadpoolController(), told.get("OMP_NUM_THREADS", "")
    for library in ("openblas", "mkl", "blis", "openmp"):
        limit = told.get(f"{library.upper()}_NUM_THREADS", common)  # each looks for its own variable first
        if limit.isdigit():
            catch(partial(found.select(internal_api=library).limit, limits=int(limit)))
    child.told_of_threads = told
