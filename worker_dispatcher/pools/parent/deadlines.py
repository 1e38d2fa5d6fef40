"""What a process pool does by the clock: it ends tasks over their time, and workers whose time to leave has passed."""

from __future__ import annotations

import math

from worker_dispatcher.clock import now
from worker_dispatcher.pools.parent.life import State, Why
from worker_dispatcher.pools.parent.supervisor import Supervisor
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle

__all__ = ["Deadlines"]

_SIBLING_GRACE = 0.3  # seconds that the other tasks of a grid process get when one is to end
_SILENCE = 0.5  # seconds beyond its timeout that a worker with tasks may begin none of them


class Deadlines:
    """Owned by the pool's driving thread. due: when `look` must be called because of timeouts (monotonic); each worker
    has moments of its own beside that."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.due = math.inf
        self._doomed: dict[int, WorkerHandle] = {}  # tasks that are to end, and who had them

    def expect(self, due: float) -> None:
        """A task may be over its time then (monotonic)."""
        self.due = min(self.due, due)

    def look(self, at: float) -> None:
        """Do what is due at a moment (monotonic)."""
        supervisor = self._supervisor
        for handle in list(supervisor.handles):
            if handle.restless(at):
                self._tend(handle, at)
        for task_id, handle in list(self._doomed.items()):
            self._end_task(task_id, handle)
        if at >= self.due:
            self._scan(at)

    def _tend(self, handle: WorkerHandle, at: float) -> None:
        supervisor = self._supervisor
        if handle.settles_at <= at:
            supervisor.events += handle.take_back()
        if handle.tells_at <= at:
            supervisor.events += handle.tell_failed()
        if handle.closing_at <= at:
            self._close(handle)
        elif handle.spent:
            supervisor.let_go(handle, Why.SPENT)
        elif handle.life.state is State.DRAINING:
            supervisor.let_go(handle)

    def _scan(self, at: float) -> None:
        """Find the tasks that are over their time."""
        soonest = math.inf
        for handle in list(self._supervisor.handles):
            timeout = handle.held.least_timeout
            soonest = min(soonest, at + timeout)
            if handle.closing_at == math.inf and handle.slate.overdue(at):
                self._supervisor.events += handle.receive()  # it may have been reported by now
                if handle.slate.overdue(at):
                    self._close_soon(handle)
            elif handle.silent_since() < at - timeout - _SILENCE:
                self._supervisor.give_up(handle, Why.FROZEN)  # stopped between two tasks
            elif handle.closing_at == math.inf:
                soonest = min(soonest, handle.slate.next_deadline())
        self.due = soonest

    def _close_soon(self, handle: WorkerHandle) -> None:
        """Kill it for what it has begun; what runs beside that has a moment to end."""
        if handle.slots == 1:
            self._close(handle)
        else:
            handle.closing_at = now() + _SIBLING_GRACE
            handle.revoke()

    def _close(self, handle: WorkerHandle) -> None:
        """Kill a worker whose time is over: for tasks over theirs or to be ended, while its other tasks are nobody's
        fault; since it was told to leave; or since its channel has ended."""
        self._supervisor.events += handle.receive()
        if handle.life.state is State.DRAINING and not len(handle.held):
            self._supervisor.give_up(handle)
            return
        if handle.gone:
            lives = handle.garbled or not handle.process.ending
            self._supervisor.give_up(handle, Why.SEVERED if lives else None)
            return
        late, begun = handle.slate.overdue(now()), handle.slate.begun()
        handle.verdicts = {seq: verdict for seq, verdict in handle.verdicts.items() if seq in begun}
        if late and not handle.answered and not handle.alone:
            self._supervisor.give_up(handle, Why.FROZEN)
        elif late or handle.verdicts:
            for _, seq in late:
                handle.condemn(seq)
            self._supervisor.give_up(handle, Why.TIMEOUT if late else Why.KILLED)
        else:
            handle.closing_at = math.inf
            self.expect(handle.slate.next_deadline())

    def end_task(self, task_id: int) -> None:
        """End a task that some worker has; nothing if none has it."""
        for handle in list(self._supervisor.handles):
            if handle.held.seq_of(task_id):
                self._doomed[task_id] = handle
                self._end_task(task_id, handle)

    def _end_task(self, task_id: int, handle: WorkerHandle) -> None:
        """End it if it has begun, else take it back; what is being asked for already is waited for."""
        seq = handle.held.seq_of(task_id)
        if not seq or handle not in self._supervisor.handles:
            del self._doomed[task_id]
        elif handle.end_task(seq):
            del self._doomed[task_id]
            self._close_soon(handle)
        elif not handle.revoking:
            handle.revoke(wholly=True)
