"""What a process pool does by the clock: it ends tasks over their time, and workers whose time to leave has passed."""

from __future__ import annotations

import math

from worker_dispatcher.clock import now
from worker_dispatcher.pools.life import State, Why
from worker_dispatcher.pools.remote import Remote
from worker_dispatcher.pools.roster import Roster

__all__ = ["Deadlines"]

_SIBLING_GRACE = 0.3  # seconds that the other tasks of a grid process get when one is to end
_SILENCE = 0.5  # seconds beyond its timeout that a worker with tasks may begin none of them


class Deadlines:
    """Owned by the pool's driving thread. due: when `look` must be called because of timeouts (monotonic); each worker
    has moments of its own beside that."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self.due = math.inf
        self._doomed: dict[int, Remote] = {}  # tasks that are to end, and who had them

    def expect(self, due: float) -> None:
        """A task may be over its time then (monotonic)."""
        self.due = min(self.due, due)

    def look(self, at: float) -> None:
        """Do what is due at a moment (monotonic)."""
        roster = self._roster
        for remote in list(roster.remotes):
            if remote.settles_at <= at:
                roster.events += remote.take_back()
            if remote.tells_at <= at:
                roster.events += remote.tell_failed()
            if remote.closing_at <= at:
                self._close(remote)
            elif remote.spent:
                roster.let_go(remote, Why.SPENT)
            elif remote.life.state is State.DRAINING:
                roster.let_go(remote)
        for task_id, remote in list(self._doomed.items()):
            self._end_task(task_id, remote)
        if at >= self.due:
            self._scan(at)

    def _scan(self, at: float) -> None:
        """Find the tasks that are over their time."""
        soonest = math.inf
        for remote in list(self._roster.remotes):
            timeout = remote.held.least_timeout
            soonest = min(soonest, at + timeout)
            if remote.closing_at == math.inf and remote.slate.overdue(at):
                self._roster.events += remote.receive()  # it may have been reported by now
                if remote.slate.overdue(at):
                    self._close_soon(remote)
            elif remote.silent_since() < at - timeout - _SILENCE:
                self._roster.give_up(remote, Why.FROZEN)  # stopped between two tasks
            elif remote.closing_at == math.inf:
                soonest = min(soonest, remote.slate.next_deadline())
        self.due = soonest

    def _close_soon(self, remote: Remote) -> None:
        """Kill it for what it has begun; what runs beside that has a moment to end."""
        if remote.slots == 1:
            self._close(remote)
        else:
            remote.closing_at = now() + _SIBLING_GRACE
            remote.revoke()

    def _close(self, remote: Remote) -> None:
        """Kill a worker whose time is over: for tasks over theirs or to be ended, while its other tasks are nobody's
        fault; since it was told to leave; or since its channel has ended."""
        self._roster.events += remote.receive()
        if remote.life.state is State.DRAINING and not len(remote.held):
            self._roster.give_up(remote)
            return
        if remote.gone:
            lives = remote.garbled or not remote.process.ending
            self._roster.give_up(remote, Why.SEVERED if lives else None)
            return
        late, begun = remote.slate.overdue(now()), remote.slate.begun()
        remote.verdicts = {seq: verdict for seq, verdict in remote.verdicts.items() if seq in begun}
        if late and not remote.answered and not remote.alone:
            self._roster.give_up(remote, Why.FROZEN)
        elif late or remote.verdicts:
            for _, seq in late:
                remote.condemn(seq)
            self._roster.give_up(remote, Why.TIMEOUT if late else Why.KILLED)
        else:
            remote.closing_at = math.inf
            self.expect(remote.slate.next_deadline())

    def end_task(self, task_id: int) -> None:
        """End a task that some worker has; nothing if none has it."""
        for remote in list(self._roster.remotes):
            if remote.held.seq_of(task_id):
                self._doomed[task_id] = remote
                self._end_task(task_id, remote)

    def _end_task(self, task_id: int, remote: Remote) -> None:
        """End it if it has begun, else take it back; what is being asked for already is waited for."""
        seq = remote.held.seq_of(task_id)
        if not seq or remote not in self._roster.remotes:
            del self._doomed[task_id]
        elif remote.end_task(seq):
            del self._doomed[task_id]
            self._close_soon(remote)
        elif not remote.revoking:
            remote.revoke(wholly=True)
