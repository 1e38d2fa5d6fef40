"""Who works for a process pool: workers are started while there are tasks for them, watched, buried and replaced."""

from __future__ import annotations

import errno
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
from worker_dispatcher.osproc.slate import LEFT
from worker_dispatcher.osproc.starter import ForkStarter, Process, ServerStarter
from worker_dispatcher.osproc.system import close_all, no_worker, readable
from worker_dispatcher.pools.base import Broken, Complaints, Event, Name, Setup
from worker_dispatcher.pools.life import State, Why
from worker_dispatcher.pools.remote import Remote
from worker_dispatcher.pools.verdict import settle_after_exit

__all__ = ["EXIT_GRACE", "Roster"]

EXIT_GRACE = 1.0  # seconds a worker may take to end by itself

_SPARE = 10  # descriptors: what a worker takes, and what a report may bring with it
_TRY_AGAIN = 1.0  # seconds from one worker that the system refuses to the next one that is asked for
_REAPED_WITHIN = 1.0  # seconds from the end of a worker to the word of it; a fork server that is stopped says none
_SEVERED_GRACE = 0.1  # seconds from the end of a worker's channel to the end of its process, if it is dying
_STILLBORN_MOST = 3  # workers in a row that may die before they are ready


class Roster:
    """The workers of a pool, and the one poll over their channels, their sentinels and the starter.

    Owned by the pool's driving thread. slots: the number of threads or coroutines of each process wanted, in order.
    remotes: those that work; dying: those that were killed or have ended, until they are reaped.
    events: what has happened; the pool takes from it and adds to it. closed: no death is a surprise any more.
    complaints: what went wrong and cost no task.
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
        self.remotes: list[Remote] = []
        self.dying: list[Remote] = []
        self.events: list[Event] = []
        self.complaints, self._named = complaints, named
        self.pids: dict[int, int] = {}  # worker number -> process id
        self.closed = False
        self.poll = select.poll()
        if starter.fileno() >= 0:
            self.poll.register(starter.fileno(), select.POLLIN)
        self._by_fd: dict[int, Remote] = {}
        self._newcomers: deque[tuple[float, Remote]] = deque()  # until when each must have begun to be a worker
        self._departed: deque[tuple[float, Remote]] = deque()  # until when it must have been heard how each has ended
        self._number = 1
        self._stillborn = 0
        self._try_at = 0.0  # no worker is asked for before (monotonic): the system has refused one

    def grow(self, waiting: int) -> None:
        """Start workers while there are tasks for them: a task goes to an idle process before it shares a busy one."""
        idle = sum(not len(r.held) and r.life.open for r in self.remotes)
        if waiting <= idle or not self.could_grow:
            return
        missing = list(self.slots)  # by size: a grid's processes need not have equally many threads
        for remote in self._wanted():
            if remote.slots in missing:
                missing.remove(remote.slots)
        at = len(self.remotes)
        for slots in missing[: waiting - idle]:
            if not self._start(slots):
                break
        self._rewatch_starter()
        # Not one by one: after each fork all that this process touches is copied, and to greet touches much.
        for remote in self.remotes[at:]:
            if remote.process.sentinel is not None:
                self._welcome(remote.process)
            remote.greet(*self._greeting)
            self.rewatch(remote)

    def _wanted(self) -> list[Remote]:
        """Those that work, or whose place is not free before they have left."""
        return [r for r in self.remotes if r.life.why is not Why.RELEASED]

    @property
    def could_grow(self) -> bool:
        """A worker that is missing could be started now."""
        return len(self._wanted()) < len(self.slots) and now() >= self._try_at

    def resize(self, slots: list[int]) -> None:
        """From now on, have processes of these sizes. Those that are too many drain, the least busy first."""
        self.slots = list(slots)
        room = Counter(slots)
        for remote in sorted(self._wanted(), key=lambda r: (r.life.open, len(r.held), r.ready), reverse=True):
            if room[remote.slots] > 0:
                room[remote.slots] -= 1
            else:
                self.let_go(remote)

    def _rewatch_starter(self) -> None:
        if self._starter.fileno() >= 0:
            self.poll.modify(self._starter.fileno(), select.POLLIN | (select.POLLOUT if self._starter.wanted else 0))

    def _start(self, slots: int) -> bool:
        try:
            if self.remotes:
                self._leave_some_descriptors()
            remote = Remote(self._starter, slots, self._number, self._setup)
        except OSError as error:
            self._cannot_start(str(error))
            return False
        self._number += slots
        self.remotes.append(remote)
        self._by_fd[remote.channel.fileno()] = remote
        self.poll.register(remote.channel.fileno(), select.POLLIN)
        return True

    def _leave_some_descriptors(self) -> None:
        """Raise OSError if another worker would take those that this process needs to receive what workers send."""
        ends = os.pipe()
        close_all(ends)
        to_come = sum(r.process.sentinel is None for r in self.remotes)
        if max(ends) + to_come + _SPARE >= resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def _cannot_start(self, why: str) -> None:
        """The system gives no more workers: go on with those there are, if there are any, and try again later."""
        if self.remotes or self.dying:
            self._try_at = now() + _TRY_AGAIN
        else:
            self.events.append(Broken(no_worker(why)))

    def _welcome(self, process: Process) -> None:
        for remote in self.remotes + self.dying:
            if remote.process is process and process.sentinel is not None and process.pid is not None:
                self._by_fd[process.sentinel] = remote
                self.poll.register(process.sentinel, select.POLLIN)
                self._name(remote, process.pid)
                self._newcomers.append((now() + FIRST_WORD, remote))

    def _name(self, remote: Remote, pid: int) -> None:
        for number in remote.numbers:
            self.pids[number] = pid
            self._named(number, pid)

    def attend(self, fd: int) -> None:
        """A descriptor of the poll has something to say."""
        if fd == self._starter.fileno():
            self._hear_starter()
        elif (remote := self._by_fd.get(fd)) is not None:
            if fd == remote.process.sentinel:
                if remote.process.ended:  # the number may be that of a descriptor closed a moment ago
                    self._lost(remote)
            else:
                self.events += remote.receive(to_the_end=False)
                if remote.pid is not None and remote.number not in self.pids:
                    self._name(remote, remote.pid)
                self.rewatch(remote)

    def rewatch(self, remote: Remote) -> None:
        """Watch a channel for what is wanted of it; one that has ended is only heard of through its sentinel."""
        fd = remote.channel.fileno()
        if fd not in self._by_fd:
            return
        if remote.gone:
            self.poll.unregister(fd)
            del self._by_fd[fd]
            remote.closing_at = min(remote.closing_at, now() + _SEVERED_GRACE)
        else:
            self.poll.modify(fd, select.POLLIN | (select.POLLOUT if remote.channel.wanted else 0))

    def _hear_starter(self) -> None:
        try:
            news = self._starter.pump()
        except Gone:
            self._starter_gone()
            return
        self._rewatch_starter()
        for process in news:
            if process.refused is not None:
                self._refused(process)
            elif process.over:
                self._bury(process)
            else:
                self._welcome(process)

    @property
    def due(self) -> float:
        """When `look_for_silence` has something to look at (monotonic), or infinite."""
        due = self._starter.due
        if self._try_at > now():
            due = min(due, self._try_at)
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
                self.events.append(Broken(self._starter.give_up()))
        while self._departed and self._departed[0][0] <= at:
            _, remote = self._departed.popleft()
            if remote in self.dying:
                self._bury(remote.process)
        while self._newcomers and self._newcomers[0][0] <= at:
            _, remote = self._newcomers.popleft()
            if remote in self.remotes and not remote.moves:
                what = f"worker process {remote.process.pid} has not begun to work within {FIRST_WORD:g} s"
                self.events.append(
                    Broken(RunError(f"{what}: is sys.executable, {sys.executable!r}, a Python that starts?"))
                )
                self.give_up(remote, Why.FROZEN)

    def _starter_gone(self) -> None:
        """The fork server has died, and every worker with it: start over with a new one."""
        self.poll.unregister(self._starter.fileno())
        if not any(remote.ready for remote in self.remotes + self.dying):
            self._count_stillborn("the fork server has ended")
        for remote in self.remotes + self.dying:
            remote.kill(Why.ORPHANED)
            if remote.process.sentinel is not None:
                readable(remote.process.sentinel, EXIT_GRACE)
            self.finish(remote)
        assert isinstance(self._starter, ServerStarter)
        if self._stillborn >= _STILLBORN_MOST:
            self._starter.give_up()  # the run ends, and leaves none behind
            return
        self._starter.reconnect()
        self.poll.register(self._starter.fileno(), select.POLLIN)

    def _refused(self, process: Process) -> None:
        for remote in [r for r in self.remotes + self.dying if r.process is process]:
            why = process.refused or ""
            remote.kill(Why.ORPHANED)  # should it run nevertheless, its end is no task's fault
            self.finish(remote)
            self._cannot_start(why)

    def _lost(self, remote: Remote) -> None:
        """A worker has ended; how, is known when it has been reaped."""
        if remote.process.sentinel is not None:
            self.poll.unregister(remote.process.sentinel)
            self._by_fd.pop(remote.process.sentinel, None)
        if remote in self.remotes:
            self.remotes.remove(remote)
            self.dying.append(remote)
            remote.life.end()
        self._departed.append((now() + _REAPED_WITHIN, remote))
        if isinstance(self._starter, ForkStarter):
            self._hear_starter()

    def _bury(self, process: Process) -> None:
        for remote in [r for r in self.remotes + self.dying if r.process is process]:
            self.events += remote.receive()
            if remote.life.why in (Why.RELEASED, Why.SPENT):
                self._judge_exit(remote)
            elif remote.stillborn and not (remote.verdicts or remote.life.why is Why.TOLD or self.closed):
                self._count_stillborn(f"the last one {remote.cause}", during=" in worker.init" * remote.in_init)
            elif remote.ready:
                self._stillborn = 0
            self.finish(remote)

    def _judge_exit(self, remote: Remote) -> None:
        """What a worker that was told to end has made of worker.exit."""
        hooks = self._setup.hooks
        returned = remote.slate.end[0] == LEFT
        if not remote.ready or returned or remote.process.status == 0:
            return
        if hooks is not None and hooks.exit is not None:
            ended = f"worker.exit ended its process, which {remote.process.cause}"
            self.complaints.add(self._setup.exit_late if remote.life.killed else ended)

    def _count_stillborn(self, why: str, during: str = "") -> None:
        self._stillborn += 1
        if self._stillborn >= _STILLBORN_MOST:
            self.events.append(Broken(RunError(f"worker processes end{during} before they begin a task: {why}")))

    def finish(self, remote: Remote) -> None:
        """Settle what it held, and forget it: its process has ended, or will be heard of no more."""
        for fd in (remote.channel.fileno(), remote.process.sentinel):
            if fd is not None and self._by_fd.pop(fd, None) is not None:
                self.poll.unregister(fd)
        for group in (self.remotes, self.dying):
            if remote in group:
                group.remove(remote)
        try:
            self.events += remote.receive()
            remote.life.move(State.REAPED)
            self.events += settle_after_exit(remote)
            for text in remote.complaints:
                self.complaints.add(text)
            for number in remote.numbers:
                self.pids.pop(number, None)
        finally:
            remote.close()

    def finish_all(self) -> None:
        with ExitStack() as each:
            for remote in self.remotes + self.dying:
                each.callback(self.finish, remote)

    def kill_all(self) -> None:
        for remote in self.remotes + self.dying:
            remote.kill()

    def give_up(self, remote: Remote, why: Why | None = None) -> None:
        """Kill it."""
        self.remotes.remove(remote)
        self.dying.append(remote)
        remote.kill(why)
        if remote.process.unkillable:
            text = f"worker process {remote.process.pid} cannot be ended: the system does not permit it to this process"
            self.events.append(Broken(RunError(f"{text}, which may have changed its user, or that worker may")))

    def let_go(self, remote: Remote, why: Why = Why.RELEASED) -> None:
        """Have it end what it has begun, and leave."""
        if remote.life.open:
            remote.drain(why)
        remote.leave(self._setup.exit_grace)
