"""What a process pool does by the clock: it ends tasks over their time, and workers whose time to leave has passed."""

from __future__ import annotations

import math

from worker_dispatcher.clock import now
from worker_dispatcher.pools.base import Batch
from worker_dispatcher.pools.parent.life import State, Why
from worker_dispatcher.pools.parent.supervisor import Supervisor
from worker_dispatcher.pools.parent.verdict import ended
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle
from worker_dispatcher.records import CANCELLED, Failure

__all__ = ["Deadlines"]

_SIBLING_GRACE = 0.3  # seconds that the other tasks of a grid process get when one is to end
_ANSWER_GRACE = 2.0  # seconds that a process may take to answer, of which a task has ended early
_SILENCE = 0.5  # seconds beyond its timeout that a worker with tasks may begin none of them


class Deadlines:
    """Where a task is to end that does not run alone in its process, the process is killed after a moment, and what it
    ran beside runs again. In a pool that is kept only the task ends, at once: the process gets no more, and is killed
    when the others have ended.

    Owned by the pool's driving thread. due: when `look` must be called because of timeouts (monotonic); each worker
    has moments of its own beside that."""

    def __init__(self, supervisor: Supervisor, *, kept: bool = False) -> None:
        self._supervisor, self._kept = supervisor, kept
        self.due = math.inf
        self._doomed: dict[int, WorkerHandle] = {}  # tasks that are to end, and who had them

    def given(self, batch: Batch) -> None:
        """A worker has these tasks from now on."""
        if batch.timeout is not None:
            self.expect(now() + batch.timeout)

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
        if handle.errors.due <= at:
            supervisor.events += handle.errors.give_up()
        if handle.early and not handle.held.count:
            supervisor.give_up(handle, Why.TIMEOUT)
        elif handle.closing_at <= at:
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
            told = bool(handle.early)
            if (handle.closing_at == math.inf or told) and _late(handle, at):
                self._supervisor.events += handle.receive()  # it may have been reported by now
                if late := _late(handle, at):
                    self._end_late(handle, late)
                    soonest = min(soonest, _next_deadline(handle))
            elif handle.silent_since() < at - timeout - _SILENCE:
                self._supervisor.give_up(handle, Why.FROZEN)  # stopped between two tasks
            elif handle.closing_at == math.inf or told:
                soonest = min(soonest, _next_deadline(handle))
        self.due = soonest

    def _end_late(self, handle: WorkerHandle, late: list[int]) -> None:
        """End these, which are over their time."""
        if not self._ends_early(handle) or min(late) < 0:  # one that is being loaded holds up the reports of all
            self._close_soon(handle)
            return
        for seq in late:
            handle.condemn(seq)
            self._end_early(handle, seq, handle.verdicts.pop(seq))

    def _ends_early(self, handle: WorkerHandle) -> bool:
        return self._kept and handle.slots > 1

    def _end_early(self, handle: WorkerHandle, seq: int, failure: Failure) -> None:
        """Tell the end of a task that runs on."""
        supervisor, slate = self._supervisor, handle.slate
        since = slate.begun().get(seq, now())
        for piece in handle.held.take(seq, seq + 1):
            supervisor.events += ended(handle, [piece], since, failure)
            supervisor.left_behind[piece.first_id] = handle
            handle.early[seq] = piece.first_id
        for slot, task in enumerate(slate.running):
            if task == seq:
                slate.unwanted[slot] = seq
        if handle.held.count and not handle.revoking:
            handle.revoke()
            handle.closing_at = now() + _ANSWER_GRACE

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
        if handle.early and handle.answered and not handle.gone:
            handle.closing_at = math.inf  # the others go on
            return
        if handle.life.state is State.DRAINING and not handle.held.count:
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
        elif self._ends_early(handle) and seq in handle.slate.begun():
            del self._doomed[task_id]
            self._end_early(handle, seq, Failure("", "", status=CANCELLED))
        elif handle.end_task(seq):
            del self._doomed[task_id]
            self._close_soon(handle)
        elif not handle.revoking:
            handle.revoke(wholly=True)


def _late(handle: WorkerHandle, at: float) -> list[int]:
    """The tasks that are over their time, and were not told of."""
    return [seq for _, seq in handle.slate.overdue(at) if seq not in handle.early]


def _next_deadline(handle: WorkerHandle) -> float:
    slate = handle.slate
    if not handle.early:
        return slate.next_deadline()
    ahead = (due for slot, due in enumerate(slate.deadline) if slate.running[slot] not in handle.early)
    return min(ahead, default=math.inf)
