"""What becomes of the tasks of a worker process that has ended: whose fault its end was, and what is run again.

| why it ended | the task it had begun | what it had not begun |
| --- | --- | --- |
| over its time, killed for a task, stopped | as the verdict says that was given with the kill | handed back |
| its fork server took it along | handed back, at most FORGIVEN times | handed back |
| frozen, or its channel was lost | each that may have done it runs again alone; alone, it did it | handed back |
| anything else | crashed, if it was the only one; else each is run again, in a grid alone | handed back |
"""

from __future__ import annotations

from worker_dispatcher.clock import now
from worker_dispatcher.pools.base import Ended, Event, Returned
from worker_dispatcher.pools.held import Piece, one_by_one
from worker_dispatcher.pools.life import Why
from worker_dispatcher.pools.remote import Remote
from worker_dispatcher.records import CRASHED, TIMEOUT, Failure

__all__ = ["settle_after_exit"]

FORGIVEN = 3  # deaths with a fork server that are not laid to a task which ran then


def settle_after_exit(remote: Remote) -> list[Event]:
    """After its process has ended, and all it said is read: an end, or its return, for each task that it held."""
    begun = remote.slate.begun()
    if remote.verdicts:
        events = _as_condemned(remote, begun)
    elif remote.life.why is Why.ORPHANED:
        events = _forgive(remote, begun)
    elif remote.life.why is Why.CANCELLED:
        events = []
    elif remote.life.why in (Why.FROZEN, Why.SEVERED) or remote.garbled or remote.slate.end[0]:
        # One that has ended in order, with nobody telling it to, was made to believe that its parent is gone.
        events = _suspect(remote, begun)
    else:
        events = _blame(remote, begun)
    return events + remote.tell_failed() + [Returned(p.tasks()) for p in remote.held.take_all()]


def _as_condemned(remote: Remote, begun: dict[int, float]) -> list[Event]:
    events: list[Event] = []
    for seq, since in begun.items():
        if (verdict := remote.verdicts.get(abs(seq))) is not None:
            events += _ended(remote, remote.held.take(abs(seq), abs(seq) + 1), since, verdict)
    return events


def _forgive(remote: Remote, begun: dict[int, float]) -> list[Event]:
    """Hand back what it had begun, unless that has been so too often: then it may have killed the fork server."""
    pieces = [piece for seq in begun for piece in remote.held.take(abs(seq), abs(seq) + 1)]
    if any(piece.batch.forgiven >= FORGIVEN for piece in pieces):
        return _crashed(remote, pieces, begun)
    return [Returned(task._replace(forgiven=task.forgiven + 1)) for task in map(Piece.tasks, pieces)]


def _blame(remote: Remote, begun: dict[int, float]) -> list[Event]:
    """Its death is the fault of the one task it ran. If it may have been one of several, each runs again on its own:
    the tasks of a batch that was being loaded, and what ran at once in a grid."""
    suspects = [
        piece
        for seq in begun
        for piece in (remote.held.take(seq, seq + 1) if seq > 0 else remote.held.take_batch(-seq))
    ]
    return one_by_one(suspects, alone=remote.slots > 1) if remote.in_init else _crashed(remote, suspects, begun)


def _crashed(remote: Remote, suspects: list[Piece], begun: dict[int, float]) -> list[Event]:
    """The end of the one task that did it; where it may have been one of several, each on its own again."""
    if sum(p.high - p.low for p in suspects) != 1:
        return one_by_one(suspects, alone=remote.slots > 1)
    seq = suspects[0].seq
    when = " while it loaded the task" if -seq in begun else ""
    failure = Failure("WorkerDied", f"its worker process {remote.cause}{when}", status=CRASHED)
    return _ended(remote, suspects, begun.get(seq, begun.get(-seq, remote.said_at)), failure)


def _suspect(remote: Remote, begun: dict[int, float]) -> list[Event]:
    """It stood still or lost its channel, and the task that did it may have ended before that was noticed. So each that
    may have run is run again, and judged, on its own."""
    last = remote.given
    if remote.slots == 1 and (begun or remote.slate.end[0]):  # else it has gone on, and was not heard
        last = max(map(abs, begun), default=0)
    suspects = remote.held.take(1, last + 1)
    if not remote.alone:
        return one_by_one(suspects, alone=True)
    failure = Failure(
        "WorkerDied", "its worker process closed its connection to the parent process, or wrote to it", status=CRASHED
    )
    if remote.life.why is Why.FROZEN:
        failure = Failure("TaskTimeout", "its worker process stood still for longer than its timeout", status=TIMEOUT)
    return _ended(remote, suspects, remote.said_at, failure)


def _ended(remote: Remote, pieces: list[Piece], since: float, failure: Failure) -> list[Event]:
    at = now()
    return [Ended(piece.tasks(), since, at, None, failure, None, remote.number) for piece in pieces]
