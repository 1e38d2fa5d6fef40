"""The worker process of a grid: its main thread feeds a runner of threads or coroutines, and reports for it."""

from __future__ import annotations

import itertools
import math
import os
import select
import struct
from typing import Any

from worker_dispatcher.clock import now, sleep
from worker_dispatcher.execute import AttemptResult
from worker_dispatcher.osproc.channel import Channel, Frame
from worker_dispatcher.osproc.shared_status import SharedStatus
from worker_dispatcher.osproc.system import readable
from worker_dispatcher.pools.base import Setup
from worker_dispatcher.pools.protocol.encode import Reports, parts_to_add
from worker_dispatcher.pools.protocol.frames import DROP, DROPPED, FUNCTION, UNLOADABLE, open_head
from worker_dispatcher.pools.protocol.hooks import complain, send_failed_init
from worker_dispatcher.pools.protocol.loading import Calls, flush, load, unloadable
from worker_dispatcher.pools.runners.task_queue import Columns, Slot, breath
from worker_dispatcher.pools.runners.worker_threads import runner_kind
from worker_dispatcher.pools.worker.single import main as work

__all__ = ["GridWorker", "main"]

_LOOK_EVERY = 0.01  # seconds from one report of a runner with work ahead to the next: what a kill of it makes run again
_LOOK_BEFORE = 0.15  # seconds before the parent kills for a coroutine over its time
_LOOK_AGAIN = 0.02  # seconds from one look to the next
_LOOK_ANYWAY = 1.0  # seconds from one report to a look for which nobody signals


class GridWorker:
    """A worker of many slots: the main thread feeds a runner and reports for it.

    Waits: one poll over the channel and a wake-up descriptor that the runner writes to. As long as the runner has work
    ahead nobody waits for a report, and the main thread looks by the clock: to be woken in the midst of many threads
    that want to run, and to take its turn among them, costs it and them more than a task does.
    """

    def __init__(self, channel: Channel, slate: SharedStatus, setup: Setup) -> None:
        self._channel, self._slate, self._setup = channel, slate, setup
        self._reports = Reports(channel, setup)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._signalled = False  # True: this thread will look by itself
        self._look_at = math.inf
        self._limited = False  # some coroutine has had a timeout
        self._held = 0  # tasks that have been fed and not reported
        self._ahead = False  # with the last of them there were more than can run at once
        self._next = 0
        self._slots: list[Slot] = []
        size = len(slate.running) - 1  # the last row of the slate is this main thread's: it loads the tasks
        self._breath, self._reported = breath(setup, size), 0.0
        self._loader = size
        self._calls = Calls(setup)
        kind, seal = runner_kind(setup), self._reports.seal_value
        self._runner = kind(setup, size, self._new_slot, slate.halt, self._signal, seal)

    def _new_slot(self) -> Slot:
        at, slate = self._next, self._slate
        self._next += 1
        rows = slate.running, slate.started, slate.deadline, slate.unwanted
        running, started, deadline, unwanted = (row[at : at + 1] for row in rows)
        slot = Slot(at, running, started, deadline, slate.halt, unwanted)
        self._slots.append(slot)
        return slot

    def open(self) -> BaseException | None:
        """Nothing to do yet: each thread runs worker.init before its first task."""
        return None

    def leave(self) -> None:
        """Have the threads run worker.exit. The parent does not wait for ever, so this may."""
        if self._setup.hooks is not None:
            self._runner.close()
            for thread in self._runner.ending():
                thread.join()
            complain(self._channel, self._runner.complaints)

    def _signal(self) -> None:
        if not self._signalled:
            self._signalled = True
            try:
                os.eventfd_write(self._wake, 1)
            except BlockingIOError:  # code of the user has written to it, and the main thread will wake
                pass
            except OSError:  # a task has closed it; the main thread, in its poll, would never hear of it
                self._slate.end_lost()

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            if by_clock := self._look_at < math.inf:
                sleep(0.0 if self._runner.short else max(0.0, self._look_at - now()))
                self._report()
            for fd, _ in poll.poll(0 if by_clock else self._patience()):
                if fd == self._wake:
                    self._breathe()
                    if readable(fd):  # a task may have put a descriptor in its place of which no read returns
                        os.eventfd_read(fd)
                    self._report()
                else:
                    for frame in self._channel.receive():
                        self.take(frame)
            self._runner.grow()
            if now() >= min(self._runner.look_at, self._unsignalled_at):
                self._report()
            if self._setup.coroutine:
                # The parent, which kills for what is on the slate, shall find the guilty one alone.
                self._runner.excuse(now() + _LOOK_BEFORE)

    @property
    def _unsignalled_at(self) -> float:
        """When to look without a signal: a task may have put something else in the place of what signals."""
        return self._reported + _LOOK_ANYWAY if self._held else math.inf

    def _patience(self) -> float | None:
        """Milliseconds until something must be looked at that nobody signals: what threads may not have reported, or a
        coroutine's overtime, before the parent does."""
        soonest = 0.0 if self._runner.short else self._runner.look_at
        if self._limited:
            soonest = max(self._slate.next_deadline() - _LOOK_BEFORE, now() + _LOOK_AGAIN)
        soonest = min(soonest, self._unsignalled_at)
        return None if soonest == math.inf else max(0.0, (soonest - now()) * 1000 + 1)

    def take(self, frame: Frame) -> None:
        if frame.kind == DROP:
            self._drop(self._runner.drop())
            self._channel.send(DROPPED, [struct.pack("<QQ", 0, 0)])  # the answer, whether there was anything or not
            return
        if frame.kind == FUNCTION:
            self._calls.learn(frame)
            return
        seq, count, number, batch = open_head(frame)
        call, items, error = self._load(seq, number, frame, batch.timeout)
        if error is None:
            self._held += count
            self._limited = self._limited or (self._setup.coroutine and batch.timeout is not None)
            self._ahead = self._held > self._loader and batch.dues is None
            self._runner.feed(seq, batch._replace(items=items, call=call))
        elif count > 1:
            self._channel.send(UNLOADABLE, [frame.parts[0]])
        else:
            failed = AttemptResult(now(), now(), None, unloadable(call or self._setup.call, error), None)
            self._reports.add(Columns.of([(seq, 0, failed)]))
            self._reports.send()

    def _load(
        self, seq: int, number: int, frame: Frame, timeout: float | None
    ) -> tuple[Any, Any, BaseException | None]:
        """(call, items, what was raised) of a WORK frame."""
        slate, row = self._slate, self._loader
        slate.started[row] = now()
        slate.running[row] = -seq
        call, error = self._calls.of(number)  # not in the time of these tasks, which happen to be its first
        at = slate.started[row] = now()
        if timeout is not None:
            slate.deadline[row] = at + timeout
        items, unloaded = load(frame.parts[1:], frame.fds)
        slate.running[row] = 0
        slate.deadline[row] = math.inf
        return call, items, error or unloaded

    def _breathe(self) -> None:
        """Let more tasks end before the next report, if the last one was a moment ago."""
        if (rest := self._reported + self._breath - now()) > 0:
            sleep(rest)

    def _report(self) -> None:
        if self._runner.lost is not None:
            self._slate.end_lost()
        # What the runner has to say from here on is heard below, or by the last look at it. With due times it is to
        # signal also that it wants threads.
        self._signalled = not self._setup.timed
        before, self._reported = self._reported, now()
        if self._setup.timed:
            self._runner.hire()
        bailed, reports, found = self._runner.bailed, self._reports, self._runner.harvest()
        for part in itertools.chain.from_iterable(map(parts_to_add, found)):
            reports.add(part)
            if reports.full:
                reports.send()
        reports.send()
        ended = sum(len(columns.seqs) for columns in found)
        self._held -= ended
        for _ in range(len(self._runner.broken)):
            send_failed_init(self._channel, self._runner.broken.popleft())
        self._drop([bailed.popleft() for _ in range(len(bailed))])
        flush()
        self._look_on(ended, self._reported - before)

    def _look_on(self, ended: int, span: float) -> None:
        """Look by the clock where that spares being woken, and no thread waits for it. So many tasks have ended in so
        many seconds."""
        if self._ahead and ended * _LOOK_EVERY >= 2 * span:
            self._look_at = self._reported + _LOOK_EVERY
            return
        self._look_at, self._signalled = math.inf, False
        if self._runner.done or self._runner.bailed or self._runner.broken:  # since we looked, while nobody signalled
            self._signal()

    def _drop(self, seqs: list[int]) -> None:
        self._held -= len(seqs)
        for _, run in itertools.groupby(enumerate(sorted(seqs)), lambda one: one[1] - one[0]):
            neighbours = [seq for _, seq in run]
            self._channel.send(DROPPED, [struct.pack("<QQ", neighbours[0], neighbours[-1] + 1)])


def main(socket_fd: int, slate_fd: int) -> None:
    """The life of a grid's worker, which may have one slot or many."""
    work(socket_fd, slate_fd, GridWorker)
