"""The process pool and the grid: worker processes fed in batches from the driver's thread.

The parent does nothing per task. Batches are sized by the measured time per task, so that tiny tasks travel
by the hundred and long ones singly; what a worker has not begun can be taken back for one that is idle.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable, Sequence

from worker_dispatcher.clock import now
from worker_dispatcher.errors import RunError
from worker_dispatcher.execute import failure_from, guarded
from worker_dispatcher.osproc.channel import Gone
from worker_dispatcher.osproc.starter import Process, ServerStarter, starter
from worker_dispatcher.pools import WORKER_ENTRY, worker
from worker_dispatcher.pools.base import Batch, Broken, Ended, Event, Finished, Setup, Source
from worker_dispatcher.pools.batching import SPAN, Batching, next_end, pack_items, roomiest, wanted
from worker_dispatcher.pools.remote import Remote
from worker_dispatcher.wire import pack, to_parts

__all__ = ["ProcessPool"]

_SIBLING_GRACE = 0.3  # seconds that the other tasks of a grid process get when one is over its time
_STUCK_AFTER = 0.005  # seconds without a word after which an idle worker may take another's waiting tasks
_SEVERED_GRACE = 0.1  # seconds from the end of a worker's channel to the end of its process, if it is dying
_SERVER_DEATHS_FORGIVEN = 3  # deaths of the fork server in one run that are not laid to the tasks that ran
_SILENCE = 0.5  # seconds beyond its timeout that a worker with tasks may begin none of them
_STILLBORN_MOST = 3  # workers in a row that may die before they are ready
_LAST_WORDS = 0.05  # seconds that a stop waits for reports that are on their way
_EXIT_GRACE = 1.0  # seconds a worker may take to end by itself


class ProcessPool:
    """Runs tasks in worker processes; a task over its time is killed, not forgotten.

    Owned by the driver's thread: everything. Shared: _wake, an eventfd.
    Waits: `wait`, one poll over channels, sentinels, the starter and _wake, until the next deadline.
    slots: the number of threads or coroutines of each process, in order.
    """

    def __init__(self, setup: Setup, slots: Sequence[int], *, method: str | None, environment: dict[str, str]) -> None:
        self._setup, self._slots = setup, list(slots)
        self.pids: dict[int, int] = {}
        self._poll = select.poll()
        self._wake = -1
        self._starter = starter(method, WORKER_ENTRY, worker.main, environment)
        self._greeting, self._greeting_fds = to_parts(pack(setup))
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, select.POLLIN)
        if self._starter.fileno() >= 0:
            self._poll.register(self._starter.fileno(), select.POLLIN)
        self._remotes: list[Remote] = []
        self._dying: list[Remote] = []
        self._by_fd: dict[int, Remote] = {}
        self._number = 1
        self._batching = Batching()
        self._stillborn = 0
        self._server_deaths = 0
        self._events: list[Event] = []
        self._scan_at = math.inf
        self._closed = False

    # Feeding

    def prepare(self, workers: int) -> bool:
        self._grow(workers)
        return all(remote.ready for remote in self._remotes) and bool(self._remotes)

    def feed(self, source: Source) -> None:
        self._grow(
            wanted(source, self._remotes, self._task_time())
            if self._setup.timed
            else source.waiting() + source.alone_waiting()
        )
        reserved = self._feed_alone(source)
        while source.waiting():
            ahead = 0 if self._setup.timed else self._batching.last
            remote = roomiest([r for r in self._remotes if r is not reserved], ahead)
            if remote is None:
                return
            free, slots = max(0, remote.slots - len(remote.held)), sum(r.slots for r in self._remotes)
            if self._setup.timed:
                count = min(free, -(-source.crowd(SPAN) // len(self._remotes)))
            else:
                count = self._batching.size(source.waiting(), remote.slots, slots, free)
            batch = source.take(count)
            if batch is None:
                return
            self._give(remote, batch)
        self._rob()

    def _feed_alone(self, source: Source) -> Remote | None:
        """Give tasks that must have no company to idle workers; the worker to leave idle for the next of them."""
        while source.alone_waiting():
            able = [r for r in self._remotes if not r.revoking and not r.gone and r.closing_at == math.inf]
            remote = min(able, key=lambda r: len(r.held), default=None)
            if remote is None or len(remote.held):
                return remote
            batch = source.take_alone()
            if batch is not None:
                self._give(remote, batch)
        return None

    def _give(self, remote: Remote, batch: Batch) -> None:
        sent, error = guarded(pack_items, batch.items)
        if error is not None:
            if len(batch.items) > 1:
                for nth in range(len(batch.items)):
                    self._give(remote, batch.part(nth, nth + 1))
                return
            failure = failure_from(self._setup.call, error)
            failure = failure._replace(message=f"the task cannot be sent to a worker process: {failure.message}")
            at = now()
            self._events.append(Ended(batch.first, batch.items[0], at, at, None, failure, None, remote.number))
            return
        size, parts, fds = sent
        self._batching.sent(len(batch.items), size)
        remote.give(batch, parts, fds)
        self._scan_soon()
        self._rewatch(remote)

    def _scan_soon(self) -> None:
        if self._setup.timeout is not None:
            self._scan_at = min(self._scan_at, now() + self._setup.timeout)

    def _grow(self, waiting: int) -> None:
        """Start workers while there are tasks for them: a task goes to an idle process before it shares a busy one."""
        idle = sum(not len(r.held) for r in self._remotes)
        if len(self._remotes) == len(self._slots) or waiting <= idle:
            return
        missing = list(self._slots)  # by size: a grid's processes need not have equally many threads
        for remote in self._remotes:
            missing.remove(remote.slots)
        for slots in missing[: waiting - idle]:
            if not self._start(slots):
                return

    def _start(self, slots: int) -> bool:
        try:
            remote = Remote(self._starter, slots, self._number, self._setup.call.keep_exception)
        except OSError as error:
            self._cannot_start(str(error))
            return False
        self._number += slots
        self._remotes.append(remote)
        self._by_fd[remote.channel.fileno()] = remote
        self._poll.register(remote.channel.fileno(), select.POLLIN)
        if remote.process.sentinel is not None:
            self._welcome(remote.process)
        remote.greet(self._greeting, self._greeting_fds)
        self._rewatch(remote)
        return True

    def _cannot_start(self, why: str) -> None:
        """The system gives no more workers: go on with those there are, if there are any."""
        if self._remotes or self._dying:
            self._slots = [r.slots for r in self._remotes + self._dying]
        else:
            self._events.append(Broken(RunError(f"no worker process can be started: {why}")))

    def _welcome(self, process: Process) -> None:
        for remote in self._remotes + self._dying:
            if remote.process is process and process.sentinel is not None and process.pid is not None:
                self._by_fd[process.sentinel] = remote
                self._poll.register(process.sentinel, select.POLLIN)
                self.pids.update(dict.fromkeys(range(remote.number, remote.number + remote.slots), process.pid))

    def _rob(self) -> None:
        """Nothing is left to hand out: what waits behind a long task goes to a worker that is idle."""
        if all(len(r.held) for r in self._remotes) and len(self._remotes) >= len(self._slots):
            return
        at = now()
        for remote in self._remotes:
            if len(remote.held) > remote.slots and not remote.revoking and at - remote.heard_at >= _STUCK_AFTER:
                remote.revoke()

    # Waiting

    def wait(self, until: float) -> list[Event]:
        if not self._events:
            due = min(until, self._next_due())
            # Rounded up, so that a deadline has passed when the wait for it ends.
            pause = None if due == math.inf else max(0, math.ceil((due - now()) * 1000))
            for fd, _ in self._poll.poll(pause):
                self._attend(fd)
        self._keep_time()
        events, self._events = self._events, []
        for event in events:
            if isinstance(event, Finished) or (isinstance(event, Ended) and event.worker):
                self._batching.measure(event)
        return events

    def _next_due(self) -> float:
        due = self._scan_at
        idle = len(self._remotes) < len(self._slots) or any(not len(r.held) and not r.revoking for r in self._remotes)
        for remote in self._remotes:
            due = min(due, remote.closing_at, remote.settles_at)
            if idle and len(remote.held) > remote.slots and not remote.revoking:
                due = min(due, remote.heard_at + _STUCK_AFTER)
        return min(due, next_end(self._remotes, self._task_time())) if self._setup.timed else due

    def _task_time(self) -> float:
        return self._batching.per_task + SPAN

    def _attend(self, fd: int) -> None:
        if fd == self._wake:
            os.eventfd_read(fd)
        elif fd == self._starter.fileno():
            self._hear_starter()
        elif (remote := self._by_fd.get(fd)) is not None:
            if fd == remote.process.sentinel:
                if remote.process.ended:  # the number may be that of a descriptor closed a moment ago
                    self._lost(remote)
            else:
                self._events += remote.receive()
                self._rewatch(remote)

    def _rewatch(self, remote: Remote) -> None:
        """Watch a channel for what is wanted of it; one that has ended is only heard of through its sentinel."""
        fd = remote.channel.fileno()
        if fd not in self._by_fd:
            return
        if remote.gone:
            self._poll.unregister(fd)
            del self._by_fd[fd]
            remote.closing_at = min(remote.closing_at, now() + _SEVERED_GRACE)
        else:
            self._poll.modify(fd, select.POLLIN | (select.POLLOUT if remote.channel.wanted else 0))

    def _hear_starter(self) -> None:
        try:
            news = self._starter.pump()
        except Gone:
            self._starter_gone()
            return
        for process in news:
            if process.refused is not None:
                self._refused(process)
            elif process.status is None:
                self._welcome(process)
            else:
                self._bury(process)

    def _starter_gone(self) -> None:
        """The fork server has died, and every worker with it: start over with a new one."""
        self._poll.unregister(self._starter.fileno())
        self._server_deaths += 1
        if not any(remote.ready for remote in self._remotes + self._dying):
            self._count_stillborn("the fork server has ended")
        for remote in self._remotes + self._dying:
            remote.orphaned = self._server_deaths <= _SERVER_DEATHS_FORGIVEN
            remote.kill()
            if remote.process.sentinel is not None:
                select.select([remote.process.sentinel], [], [], _EXIT_GRACE)
            self._finish(remote)
        assert isinstance(self._starter, ServerStarter)
        self._starter.reconnect()
        self._poll.register(self._starter.fileno(), select.POLLIN)

    def _refused(self, process: Process) -> None:
        for remote in [r for r in self._remotes + self._dying if r.process is process]:
            why = process.refused or ""
            remote.orphaned = True  # should it run nevertheless, its end is no task's fault
            self._finish(remote)
            self._cannot_start(why)

    def _lost(self, remote: Remote) -> None:
        """A worker has ended; how, is known when it has been reaped."""
        if remote.process.sentinel is not None:
            self._poll.unregister(remote.process.sentinel)
            self._by_fd.pop(remote.process.sentinel, None)
        if remote in self._remotes:
            self._remotes.remove(remote)
            self._dying.append(remote)
        if self._starter.fileno() < 0:
            self._hear_starter()

    def _bury(self, process: Process) -> None:
        for remote in [r for r in self._remotes + self._dying if r.process is process]:
            self._events += remote.receive()
            if not remote.ready and not remote.verdicts and not self._closed:
                self._count_stillborn(f"the last one {process.cause}")
            elif remote.ready:
                self._stillborn = 0
            self._finish(remote)

    def _count_stillborn(self, why: str) -> None:
        self._stillborn += 1
        if self._stillborn >= _STILLBORN_MOST:
            self._events.append(Broken(RunError(f"worker processes end before they are ready: {why}")))

    def _finish(self, remote: Remote) -> None:
        for fd in (remote.channel.fileno(), remote.process.sentinel):
            if fd is not None and self._by_fd.pop(fd, None) is not None:
                self._poll.unregister(fd)
        self._events += remote.bury()
        remote.close()
        for group in (self._remotes, self._dying):
            if remote in group:
                group.remove(remote)

    # Deadlines

    def _keep_time(self) -> None:
        at = now()
        for remote in list(self._remotes):
            if remote.settles_at <= at:
                self._events += remote.take_back()
            if remote.closing_at <= at:
                self._kill_late(remote)
        if at >= self._scan_at:
            self._scan(at)

    def _scan(self, at: float) -> None:
        timeout = self._setup.timeout
        assert timeout is not None
        soonest = at + timeout if any(len(r.held) for r in self._remotes) else math.inf
        for remote in list(self._remotes):
            if remote.closing_at == math.inf and remote.slate.overdue(at):
                self._events += remote.receive()  # it may have been reported by now
                if remote.slate.overdue(at):
                    remote.closing_at = at if remote.slots == 1 else at + _SIBLING_GRACE
                    if remote.slots > 1:
                        remote.revoke()
                    else:
                        self._kill_late(remote)
            elif remote.silent_since() < at - timeout - _SILENCE:
                remote.frozen = True  # stopped between two tasks
                self._give_up(remote)
            elif remote.closing_at == math.inf:
                soonest = min(soonest, remote.slate.next_deadline())
        self._scan_at = soonest

    def _kill_late(self, remote: Remote) -> None:
        """Kill a worker for the tasks that are over their time; its other tasks are nobody's fault."""
        self._events += remote.receive()
        if remote.gone:
            remote.severed = not remote.process.ended
            self._give_up(remote)
            return
        timeout = self._setup.timeout
        assert timeout is not None
        late = remote.slate.overdue(now())
        remote.frozen = bool(late) and not remote.answered and not remote.alone
        for _, seq in late if not remote.frozen else ():
            remote.condemn(seq, f"ran longer than its timeout of {timeout:g} s")
        if late:
            self._give_up(remote)
        else:
            remote.closing_at = math.inf
            self._scan_at = min(self._scan_at, remote.slate.next_deadline())

    def _give_up(self, remote: Remote) -> None:
        self._remotes.remove(remote)
        self._dying.append(remote)
        remote.kill()

    # Ending

    def wake(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def stop(self) -> list[Event]:
        for remote in self._remotes:
            remote.slate.halt[0] = 1
        self._listen_while(self._unreported, _LAST_WORDS)
        for remote in list(self._remotes):
            self._events += remote.receive()
            remote.cancel_running()
            remote.kill()
        self._await_ends(3.0)
        events, self._events = self._events, []
        return [e for e in events if not isinstance(e, Broken)]

    def _listen_while(self, wanted: Callable[[], object], grace: float) -> None:
        """Take in what comes while it is wanted, for so many seconds at most."""
        until = now() + grace
        while wanted() and (left := until - now()) > 0:
            for fd, _ in self._poll.poll(math.ceil(left * 1000)):
                self._attend(fd)

    def _unreported(self) -> bool:
        return any(len(r.held) > len(r.slate.begun()) for r in self._remotes)

    def _workers_left(self) -> bool:
        return bool(self._remotes or self._dying)

    def _await_ends(self, grace: float) -> None:
        """Read on until every worker is reaped, or the time is over."""
        self._listen_while(self._workers_left, grace)
        for remote in self._remotes + self._dying:
            self._finish(remote)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for remote in self._remotes:
            self._let_go(remote)
        self._listen_while(self._workers_left, _EXIT_GRACE)
        for remote in self._remotes + self._dying:
            remote.kill()
        self._await_ends(_EXIT_GRACE)
        self._starter.close()
        for fd in [*self._greeting_fds, self._wake]:
            if fd >= 0:
                os.close(fd)
        self._wake = -1

    def _let_go(self, remote: Remote) -> None:
        fd = remote.channel.fileno()
        if self._by_fd.pop(fd, None) is not None:
            self._poll.unregister(fd)
        remote.channel.hang_up()
