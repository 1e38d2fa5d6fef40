"""What hosts say of tasks, as it is told: each task once, however often Dask has run its batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from worker_dispatcher.errors import RemoteTraceback
from worker_dispatcher.execute import catch, describe
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Event, Name, NotStarted, neighbours
from worker_dispatcher.pools.dask.messages import Back, Begun, Ended, Failed, Reply, load
from worker_dispatcher.pools.in_flight import InFlight
from worker_dispatcher.records import Failure

__all__ = ["Books", "Sent"]


class Sent(NamedTuple):
    """A batch that is in the cluster. seq: of its first task; where: the Dask worker that is to run it, or empty."""

    batch: Batch
    seq: int
    where: str


class Books:
    """The tasks that are in the cluster, and the numbers of its workers. Owned by the driver.

    held: the tasks; pids, addresses: process id, and address of the Dask worker, of each worker by number.
    """

    def __init__(self, named: Name) -> None:
        self._named, self._seq = named, 1
        self.held = InFlight()
        self.pids: dict[int, int] = {}
        self.addresses: dict[int, str] = {}
        self._numbers: dict[tuple[str, int], int] = {}

    def add(self, batch: Batch, where: str) -> Sent:
        """A batch goes out."""
        sent = Sent(batch, self._seq, where)
        self.held.add(self._seq, batch)
        self._seq += len(batch.items)
        return sent

    def left_of(self, sent: Sent) -> list[Batch]:
        """What nothing was said of; it is not in the cluster any more."""
        return [piece.tasks() for piece in self.held.take(sent.seq, sent.seq + len(sent.batch.items))]

    def take(self, sent: Sent, reply: Reply) -> Iterator[Event]:
        """What a reply tells. Runs user code: results are loaded."""
        for piece in reply.pieces:
            match piece:
                case Ended():
                    yield from self._ended(sent, piece, reply)
                case Failed():
                    yield from self._failed(sent, piece, reply)
                case Back():
                    for taken in self.held.take(sent.seq + piece.low, sent.seq + piece.high):
                        yield NotStarted(taken.tasks()._replace(alone=piece.alone))

    def _ended(self, sent: Sent, piece: Ended, reply: Reply) -> Iterator[Event]:
        notes, lost = _opened(piece)
        workers, low = piece.workers, 0
        numbers: int | list[int]
        if isinstance(workers, int):
            numbers = self._worker(reply, workers)
        else:
            numbers = [self._worker(reply, one) for one in workers]
        for first, count in neighbours(piece.places):
            cuts = {low, low + count, *(at + by for at in lost if low <= at < low + count for by in (0, 1))}
            for a, b in itertools.pairwise(sorted(cuts)):
                seq = sent.seq + first + a - low
                if a in lost:
                    number = numbers if isinstance(numbers, int) else numbers[a]
                    yield from self._lost(seq, piece, a, lost[a], number)
                else:
                    yield from self._run(seq, piece, a, b, notes, numbers)
            low += count

    def _run(
        self, seq: int, piece: Ended, a: int, b: int, notes: dict[int, dict[Any, Any]], numbers: int | list[int]
    ) -> Iterator[Event]:
        """Tasks from a seq on, which stand from a to b (exclusive) in the columns."""
        for taken in self.held.take(seq, seq + b - a):
            low = a + taken.seq - seq
            high = low + taken.end - taken.seq
            ids = range(taken.first_id, taken.first_id + high - low)
            told = {one: notes[at] for at, one in enumerate(ids, low) if at in notes} if notes else {}
            whose = numbers if isinstance(numbers, int) else numbers[low:high]
            columns = piece.starts[low:high], piece.ends[low:high], piece.results[low:high]
            yield BatchDone(ids[0], *columns, told, whose, None, taken.batch.call)

    def _lost(self, seq: int, piece: Ended, at: int, failure: Failure, number: int) -> Iterator[Event]:
        for taken in self.held.take(seq, seq + 1):
            yield AttemptDone(taken.tasks(), piece.starts[at], piece.ends[at], None, failure, None, number)

    def _failed(self, sent: Sent, piece: Failed, reply: Reply) -> Iterator[Event]:
        failure, notes = piece.failure, None
        if piece.more is not None:
            found, error = catch(load, piece.more)
            if error is None:
                exception, notes = found
                if exception is not None:
                    exception.__cause__ = exception.__cause__ or RemoteTraceback(failure.traceback)
                    failure = failure._replace(exception=exception)
        number = self._worker(reply, piece.worker) if piece.worker else 0
        for taken in self.held.take(sent.seq + piece.place, sent.seq + piece.place + 1):
            yield AttemptDone(taken.tasks(), piece.started, piece.ended, None, failure, notes, number)

    def begun(self, said: Begun) -> dict[int, tuple[float, int]]:
        """Since when tasks run, and in which worker, by id: of those that are still in the cluster."""
        held = {one: how for one, how in said.tasks.items() if self.held.seq_of(one)}
        return {one: (since, self._worker(said, number)) for one, (since, number) in held.items()}

    def _worker(self, reply: Reply | Begun, number: int) -> int:
        """Our number of a worker that has this one in its host."""
        key = reply.host, number
        if key not in self._numbers:
            ours = self._numbers[key] = len(self._numbers) + 1
            self.pids[ours], self.addresses[ours] = reply.pids.get(number, 0), reply.address
            self._named(ours, self.pids[ours])
        return self._numbers[key]


def _opened(piece: Ended) -> tuple[dict[int, dict[Any, Any]], dict[int, Failure]]:
    """(metadata, failures of what cannot be loaded), by place in the columns, into which the results are put."""
    notes, lost = dict[int, dict[Any, Any]](), dict[int, Failure]()
    for at, shipped in piece.sealed.items():
        value, error = catch(load, shipped)
        if error is None:
            piece.results[at], found = value
            if found:
                notes[at] = found
        else:
            kind, message, traceback = describe(error)
            lost[at] = Failure(kind, f"the result cannot be loaded in the parent process: {message}", traceback)
            del error  # it holds this frame, and would hold itself
    return notes, lost
