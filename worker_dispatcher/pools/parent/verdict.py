"""What becomes of the tasks of a worker process that has ended: whose fault its end was, and what is run again.

| why it ended | the task it had begun | what it had not begun |
| --- | --- | --- |
| over its time, killed for a task, stopped | as the verdict says that was given with the kill | handed back |
| killed before it was ready, since it is one too many | handed back | handed back |
| its fork server took it along | handed back, at most FORGIVEN times | handed back |
| frozen, or its channel was lost | each that may have done it runs again alone; alone, it did it | handed back |
| anything else | crashed, if it was the only one; else each is run again, in a grid alone | handed back |
"""

from __future__ import annotations

from worker_dispatcher.clock import now
from worker_dispatcher.pools.base import AttemptDone, Event, NotStarted
from worker_dispatcher.pools.in_flight import Piece, one_by_one
from worker_dispatcher.pools.parent.life import Why
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle
from worker_dispatcher.records import CRASHED, TIMEOUT, Failure

__all__ = ["ended", "settle_after_exit"]

FORGIVEN = 3  # deaths with a fork server that are not laid to a task which ran then


def settle_after_exit(handle: WorkerHandle) -> list[Event]:
    """After its process has ended, and all it said is read: an end, or its return, for each task that it held."""
    if not handle.held.count:
        return handle.errors.give_up()
    begun = handle.slate.begun()
    if handle.verdicts:
        events = _as_condemned(handle, begun)
    elif handle.life.why is Why.ORPHANED:
        events = _forgive(handle, begun)
    elif handle.life.why is Why.CANCELLED or (handle.life.why is Why.RELEASED and not handle.ready):
        events = []
    elif handle.life.why in (Why.FROZEN, Why.SEVERED) or handle.garbled or handle.slate.end[0]:
        # One that has ended in order, with nobody telling it to, was made to believe that its parent is gone.
        events = _suspect(handle, begun)
    else:
        events = _blame(handle, begun)
    return events + handle.errors.give_up() + [NotStarted(p.tasks()) for p in handle.held.take_all()]


def _as_condemned(handle: WorkerHandle, begun: dict[int, float]) -> list[Event]:
    events: list[Event] = []
    for seq, since in begun.items():
        if (verdict := handle.verdicts.get(abs(seq))) is not None:
            events += ended(handle, handle.held.take(abs(seq), abs(seq) + 1), since, verdict)
    return events


def _forgive(handle: WorkerHandle, begun: dict[int, float]) -> list[Event]:
    """Hand back what it had begun, unless that has been so too often: then it may have killed the fork server."""
    pieces = [piece for seq in begun for piece in handle.held.take(abs(seq), abs(seq) + 1)]
    if any(piece.batch.forgiven >= FORGIVEN for piece in pieces):
        return _crashed(handle, pieces, begun)
    return [NotStarted(task._replace(forgiven=task.forgiven + 1)) for task in map(Piece.tasks, pieces)]


def _blame(handle: WorkerHandle, begun: dict[int, float]) -> list[Event]:
    """Its death is the fault of the one task it ran. If it may have been one of several, each runs again on its own:
    the tasks of a batch that was being loaded, and what ran at once in a grid."""
    suspects = [
        piece
        for seq in begun
        for piece in (handle.held.take(seq, seq + 1) if seq > 0 else handle.held.take_batch(-seq))
    ]
    return one_by_one(suspects, alone=handle.slots > 1) if handle.in_init else _crashed(handle, suspects, begun)


def _crashed(handle: WorkerHandle, suspects: list[Piece], begun: dict[int, float]) -> list[Event]:
    """The end of the one task that did it; where it may have been one of several, each on its own again."""
    if sum(p.high - p.low for p in suspects) != 1 or handle.early:
        return one_by_one(suspects, alone=handle.slots > 1)
    seq = suspects[0].seq
    when = " while it loaded the task" if -seq in begun else ""
    failure = Failure("WorkerDied", f"its worker process {handle.cause}{when}", status=CRASHED)
    return ended(handle, suspects, begun.get(seq, begun.get(-seq, handle.said_at)), failure)


def _suspect(handle: WorkerHandle, begun: dict[int, float]) -> list[Event]:
    """It stood still or lost its channel, and the task that did it may have ended before that was noticed. So each that
    may have run is run again, and judged, on its own."""
    last = handle.given
    if handle.slots == 1 and (begun or handle.slate.end[0]):  # else it has gone on, and was not heard
        last = max(map(abs, begun), default=0)
    suspects = handle.held.take(1, last + 1)
    if not handle.alone:
        return one_by_one(suspects, alone=True)
    failure = Failure(
        "WorkerDied", "its worker process closed its connection to the parent process, or wrote to it", status=CRASHED
    )
    if handle.life.why is Why.FROZEN:
        failure = Failure("TaskTimeout", "its worker process stood still for longer than its timeout", status=TIMEOUT)
    return ended(handle, suspects, handle.said_at, failure)


def ended(handle: WorkerHandle, pieces: list[Piece], since: float, failure: Failure) -> list[Event]:
    """Tasks that began at a moment (monotonic) and have failed now."""
    at = now()
    return [AttemptDone(piece.tasks(), since, at, None, failure, None, handle.number) for piece in pieces]
