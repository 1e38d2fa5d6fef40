"""Who works for a process pool: workers are started while there are tasks for them, watched, buried and replaced."""

from __future__ import annotations

import errno
import math
import os
import resource
import select
import sys
from collections import Counter, deque
from contextlib import ExitStack

from worker_dispatcher.clock import now
from worker_dispatcher.errors import RunError
from worker_dispatcher.osproc.channel import Gone
from worker_dispatcher.osproc.forkserver import FIRST_WORD
from worker_dispatcher.osproc.shared_status import LEFT
from worker_dispatcher.osproc.starter import ForkStarter, Process, ServerStarter
from worker_dispatcher.osproc.system import close_all, no_worker, readable
from worker_dispatcher.pools.base import Complaints, Event, Name, PoolFailed, Setup
from worker_dispatcher.pools.parent.births import Births
from worker_dispatcher.pools.parent.life import State, Why
from worker_dispatcher.pools.parent.verdict import settle_after_exit
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle
from worker_dispatcher.tracebacks import own

__all__ = ["EXIT_GRACE", "Supervisor"]

EXIT_GRACE = 1.0  # seconds a worker may take to end by itself

_TO_READ, _TO_WRITE = int(select.POLLIN), int(select.POLLIN | select.POLLOUT)
_SPARE = 10  # descriptors: what a worker takes, and what a report may bring with it
_LEAVING_MOST = 16  # workers that may be on their way out, with nothing to end, before more are started
_REAPED_WITHIN = 1.0  # seconds from the end of a worker to the word of it; a fork server that is stopped says none
_SEVERED_GRACE = 0.1  # seconds from the end of a worker's channel to the end of its process, if it is dying


class Supervisor:
    """The workers of a pool, and the one poll over their channels, their sentinels and the starter.

    Owned by the pool's driving thread. slots: the number of threads or coroutines of each process wanted, in order.
    handles: those that work; dying: those that were killed or have ended, until they are reaped.
    left_behind: who runs a task, by its id, whose end was told before it has ended.
    stirred: the poll watches for more than it did; one that waits meanwhile does not know of it.
    events: what has happened; the pool takes from it and adds to it. closed: no death is a surprise any more.
    complaints: what went wrong and cost no task. imported: names of modules that workers have said they had to import,
    in order.
    """

    def __init__(
        self,
        setup: Setup,
        slots: list[int],
        starter: ServerStarter | ForkStarter,
        greeting: tuple[list[bytes | memoryview], list[int]],
        complaints: Complaints,
        named: Name,
    ) -> None:
        self._setup, self.slots, self._starter, self._greeting = setup, slots, starter, greeting
        self.handles: list[WorkerHandle] = []
        self.dying: list[WorkerHandle] = []
        self.events: list[Event] = []
        self.complaints, self._named = complaints, named
        self.imported: dict[str, None] = {}
        self.pids: dict[int, int] = {}  # worker number -> process id
        self.left_behind: dict[int, WorkerHandle] = {}
        self.closed = False
        self.stirred = False
        self.poll = select.poll()
        if starter.fileno() >= 0:
            self.poll.register(starter.fileno(), select.POLLIN)
        self._by_fd: dict[int, WorkerHandle] = {}
        # Until when each must have begun to be a worker; until when it must have been heard how each has ended.
        self._newcomers: deque[tuple[float, WorkerHandle]] = deque()
        self._departed: deque[tuple[float, WorkerHandle]] = deque()
        self._number = 1
        self._births = Births(kept=setup.kept)
        self._resized = False
        self._writes = False  # the starter's channel is watched for room to write

    def grow(self, waiting: int) -> None:
        """Start workers while there are tasks for them: a task goes to an idle process before it shares a busy one."""
        if not self.could_grow:
            return
        idle = sum(not handle.held.count and handle.life.open for handle in self.handles)
        if waiting <= idle:
            return
        missing = list(self.slots)  # by size: a grid's processes need not have equally many threads
        for handle in self._wanted():
            if handle.slots in missing:
                missing.remove(handle.slots)
        at = len(self.handles)
        for slots in missing[: waiting - idle]:
            if not self._start(slots):
                break
        if self._starter.unsent:
            self._rewatch_starter()
        # Not one by one: after each fork all that this process touches is copied, and to greet touches much.
        for handle in self.handles[at:]:
            if handle.process.sentinel is not None:
                self._welcome(handle.process)
            handle.greet(*self._greeting)
            self.rewatch(handle)

    def staffed(self) -> bool:
        """There are workers. Those that wait for what is imported for them are not there yet, and never will be once
        the starter is closed."""
        if not self._starter.loading:
            return bool(self.handles or self.dying)
        return any(one.process.pid is not None for one in self.handles + self.dying)

    def _wanted(self) -> list[WorkerHandle]:
        """Those that work, or whose place is not free before they have left."""
        return [r for r in self.handles if r.life.why is not Why.RELEASED] if self._resized else self.handles

    @property
    def could_grow(self) -> bool:
        """A worker that is missing could be started now."""
        here = self.handles if not self._resized else self._wanted()
        if len(here) >= len(self.slots) or now() < self._births.try_at:
            return False
        if not self._resized:
            return True
        # Where sizes change faster than workers come and go, hundreds would be in the way of those that are wanted, and
        # of the tasks that they have been given and cannot begin.
        busy = sum(one.ready and one.held.count > 0 for one in self.handles if one.life.why is Why.RELEASED)
        leaving = len(self.handles) - len(here) - busy
        return len(self.dying) + leaving < max(_LEAVING_MOST, len(self.slots))

    def resize(self, slots: list[int]) -> None:
        """From now on, have processes of these sizes. Those that are too many drain, the least busy first."""
        self.slots, self._resized = list(slots), True
        room = Counter(slots)
        for handle in sorted(self._wanted(), key=lambda r: (r.life.open, r.held.count, r.ready), reverse=True):
            if room[handle.slots] > 0:
                room[handle.slots] -= 1
            else:
                self.let_go(handle)

    def retire(self, idle: float) -> float:
        """See `Pool.retire`."""
        at, soonest = now(), math.inf
        for handle in [one for one in self.handles if one.idle and not one.held.count]:
            if at - handle.heard_at < idle:
                soonest = min(soonest, handle.heard_at + idle)
            else:
                self._resized = True  # another one may take its place before it is gone
                self.let_go(handle)
        return soonest

    def _rewatch_starter(self) -> None:
        self._writes = bool(self._starter.unsent)
        self.poll.modify(self._starter.fileno(), _TO_WRITE if self._writes else _TO_READ)
        self.stirred = self.stirred or self._writes

    def _start(self, slots: int) -> bool:
        try:
            if self.handles:
                self._leave_some_descriptors()
            handle = WorkerHandle(self._starter, slots, self._number, self._setup)
        except own(OSError) as error:
            self._cannot_start(str(error))
            return False
        self._number += slots
        self.handles.append(handle)
        self._by_fd[handle.fd] = handle
        self.poll.register(handle.fd, _TO_READ)
        handle.watched, self.stirred = _TO_READ, True
        return True

    def _leave_some_descriptors(self) -> None:
        """Raise OSError if another worker would take those that this process needs to receive what workers send."""
        ends = os.pipe()
        close_all(ends)
        to_come = sum(r.process.sentinel is None for r in self.handles)
        if max(ends) + to_come + _SPARE >= resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def _cannot_start(self, why: str) -> None:
        """The system gives no more workers: go on with those there are, if there are any, and try again later."""
        able, crowded = bool(self.handles or self.dying), os.strerror(errno.ETOOMANYREFS) in why
        if self._births.refused(now(), able=able, crowded=crowded):
            self.events.append(PoolFailed(no_worker(why)))

    def _welcome(self, process: Process) -> None:
        for handle in self.handles + self.dying:
            if handle.process is process and process.sentinel is not None and process.pid is not None:
                self._births.begun()
                self._by_fd[process.sentinel] = handle
                self.poll.register(process.sentinel, select.POLLIN)
                self.stirred = True
                self._name(handle, process.pid)
                self._newcomers.append((now() + FIRST_WORD, handle))

    def _name(self, handle: WorkerHandle, pid: int) -> None:
        for number in handle.numbers:
            self.pids[number] = pid
            self._named(number, pid)

    def attend(self, fd: int) -> bool:
        """A descriptor of the poll has something to say. True if that is no more than that a worker has begun, or is
        ready for what it has: while nothing waits to be handed out, nobody need do anything about it."""
        handle = self._by_fd.get(fd)
        if handle is None:
            return fd == self._starter.fileno() and self._hear_starter()
        if fd == handle.process.sentinel:
            if handle.process.ended:  # the number may be that of a descriptor closed a moment ago
                self._lost(handle)
        else:
            begins = not handle.life.was_ready
            self.events += handle.receive(to_the_end=False)
            if handle.pid is not None and handle.number not in self.pids:
                self._name(handle, handle.pid)
            self.rewatch(handle)
            return begins and handle.life.was_ready and handle.held.count > 0 and not (self.events or handle.gone)
        return False

    def speaker(self, fd: int) -> WorkerHandle | None:
        """The worker on whose channel a descriptor says that there is something to be read, if all is known of it."""
        handle = self._by_fd.get(fd)
        known = handle is not None and handle.fd == fd and handle.number in self.pids
        return handle if known else None

    def rewatch(self, handle: WorkerHandle) -> None:
        """Watch a channel for what is wanted of it; one that has ended is only heard of through its sentinel."""
        fd = handle.fd
        if fd not in self._by_fd:
            return
        if handle.gone:
            self.poll.unregister(fd)
            del self._by_fd[fd]
            handle.closing_at = min(handle.closing_at, now() + _SEVERED_GRACE)
            self.stirred = True
        elif handle.watched != (wanted := _TO_WRITE if handle.channel.unsent else _TO_READ):
            self.poll.modify(fd, wanted)
            handle.watched, self.stirred = wanted, True

    def _hear_starter(self) -> bool:
        """True if it says no more than that workers have begun."""
        try:
            news = self._starter.pump()
        except Gone:
            self._starter_gone()
            return False
        if self._writes:
            self._rewatch_starter()
        begun = 0
        for process in news:
            if process.refused is not None:
                self._refused(process)
            elif process.over:
                self._bury(process)
            else:
                self._welcome(process)
                begun += 1
        return begun == len(news)

    @property
    def due(self) -> float:
        """When `look_for_silence` has something to look at (monotonic), or infinite."""
        due = self._starter.due
        if self._births.try_at > now():
            due = min(due, self._births.try_at)
        for queue in (self._newcomers, self._departed):
            if queue:
                due = min(due, queue[0][0])
        return due

    def look_for_silence(self, at: float) -> None:
        """End the run where what was started is no worker, or no server of ours, but some program that stays up."""
        if at >= self._starter.due and isinstance(self._starter, ServerStarter):
            self._hear_starter()
            if at >= self._starter.due:
                self.poll.unregister(self._starter.fileno())
                self.events.append(PoolFailed(self._starter.give_up()))
        while self._departed and self._departed[0][0] <= at:
            _, handle = self._departed.popleft()
            if handle in self.dying:
                self._bury(handle.process)
        while self._newcomers and self._newcomers[0][0] <= at:
            _, handle = self._newcomers.popleft()
            if handle in self.handles and not handle.moves:
                what = f"worker process {handle.process.pid} has not begun to work within {FIRST_WORD:g} s"
                error = RunError(f"{what}: is sys.executable, {sys.executable!r}, a Python that starts?")
                self.events.append(PoolFailed(error))
                self.give_up(handle, Why.FROZEN)

    def _starter_gone(self) -> None:
        """The fork server has died, and every worker with it: start over with a new one."""
        self.poll.unregister(self._starter.fileno())
        for handle in self.handles + self.dying:
            self.events += handle.receive()  # one may have said that it works just before
        hopeless = not any(handle.ready for handle in self.handles + self.dying) and self._stillborn(
            "the fork server has ended"
        )
        for handle in self.handles + self.dying:
            handle.kill(Why.ORPHANED)
            if handle.process.sentinel is not None:
                readable(handle.process.sentinel, EXIT_GRACE)
            self.finish(handle)
        assert isinstance(self._starter, ServerStarter)
        if hopeless:
            self._starter.give_up()  # the run ends, and leaves none behind
            return
        self._starter.reconnect()
        self._writes = False
        self.poll.register(self._starter.fileno(), select.POLLIN)
        self.stirred = True

    def _refused(self, process: Process) -> None:
        for handle in [r for r in self.handles + self.dying if r.process is process]:
            handle.kill(Why.ORPHANED)  # should it run nevertheless, its end is no task's fault
            self.finish(handle)
            self._cannot_start(process.refused or "")

    def _lost(self, handle: WorkerHandle) -> None:
        """A worker has ended; how, is known when it has been reaped."""
        if handle.process.sentinel is not None:
            self.poll.unregister(handle.process.sentinel)
            self._by_fd.pop(handle.process.sentinel, None)
        if handle in self.handles:
            self.handles.remove(handle)
            self.dying.append(handle)
            handle.life.end()
        self._departed.append((now() + _REAPED_WITHIN, handle))
        if isinstance(self._starter, ForkStarter):
            self._hear_starter()

    def _bury(self, process: Process) -> None:
        for handle in [r for r in self.handles + self.dying if r.process is process]:
            self.events += handle.receive()
            if handle.life.why in (Why.RELEASED, Why.SPENT):
                self._judge_exit(handle)
            elif handle.stillborn and not (handle.verdicts or handle.life.why is Why.TOLD or self.closed):
                self._stillborn(
                    f"the last one {handle.cause}",
                    during=" in worker.init" * handle.in_init,
                    sent_off=handle.process.sent_off and not handle.life.killed,
                )
            if self._births.row and not handle.stillborn:
                self._births.went_well()
            self.finish(handle)

    def _judge_exit(self, handle: WorkerHandle) -> None:
        """What a worker that was told to end has made of worker.exit."""
        hooks = self._setup.hooks
        returned = handle.slate.end[0] == LEFT
        if not handle.life.was_ready or returned or handle.process.status == 0:
            return
        if hooks is not None and hooks.exit is not None:
            ended = f"worker.exit ended its process, which {handle.process.cause}"
            self.complaints.add(self._setup.exit_late if handle.life.killed else ended)

    def _stillborn(self, why: str, during: str = "", *, sent_off: bool = False) -> bool:
        """One has ended before it could work: True if none will, and the run ends."""
        # In a run a kill in worker.init is taken for init's own; a pool that is kept may meet somebody who kills there.
        sent_off = sent_off and (self._setup.kept or not during)
        able_since = max((handle.life.ready_at for handle in self.handles if self._is_able(handle)), default=-math.inf)
        hopeless = self._births.stillborn(now(), able_since, sent_off=sent_off)
        text = f"worker processes end{during} before they begin a task"
        if hopeless:
            self.events.append(PoolFailed(RunError(f"{text}: {why}")))
        elif self._births.often and able_since > -math.inf:
            self.complaints.add(f"{text}, so there were fewer: {why}")
        return hopeless

    def _is_able(self, handle: WorkerHandle) -> bool:
        """It works, or would at once: what it runs before its first task is behind it."""
        begun = handle.done or handle.slate.begun() or self._setup.hooks is None
        return handle.ready and not handle.in_init and bool(begun)

    def finish(self, handle: WorkerHandle) -> None:
        """Settle what it held, and forget it: its process has ended, or will be heard of no more."""
        for fd in (handle.fd, handle.process.sentinel):
            if fd is not None and self._by_fd.pop(fd, None) is not None:
                self.poll.unregister(fd)
        for group in (self.handles, self.dying):
            if handle in group:
                group.remove(handle)
        try:
            self.events += handle.receive()
            handle.life.move(State.REAPED)
            self.events += settle_after_exit(handle)
            self.imported |= dict.fromkeys(handle.imported)
            for text in handle.complaints:
                self.complaints.add(text)
            for number in handle.numbers:
                self.pids.pop(number, None)
            for task_id in handle.early.values():
                self.left_behind.pop(task_id, None)
        finally:
            handle.close()

    def finish_all(self) -> None:
        with ExitStack() as each:
            for handle in self.handles + self.dying:
                each.callback(self.finish, handle)

    def kill_all(self) -> None:
        for handle in self.handles + self.dying:
            handle.kill()

    def give_up(self, handle: WorkerHandle, why: Why | None = None) -> None:
        """Kill it."""
        self.handles.remove(handle)
        self.dying.append(handle)
        handle.kill(why)
        if handle.process.unkillable:
            text = f"worker process {handle.process.pid} cannot be ended: the system does not permit it to this process"
            self.events.append(PoolFailed(RunError(f"{text}, which may have changed its user, or that worker may")))

    def let_go(self, handle: WorkerHandle, why: Why = Why.RELEASED) -> None:
        """Have it end what it has begun, and leave."""
        if handle.life.open:
            if not handle.ready:  # is it, by now? It says so before it begins a task, and looks at this after that
                handle.slate.halt[0] = 1
                self.events += handle.receive()
            handle.drain(why)
        handle.leave(self._setup.exit_grace)
