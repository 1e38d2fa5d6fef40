"""How what threads say of their tasks becomes what a pool tells of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from worker_dispatcher.pools.base import AttemptDone, BatchDone, Event, neighbours
from worker_dispatcher.pools.in_flight import InFlight
from worker_dispatcher.pools.runners.task_queue import Columns

__all__ = ["booked"]

_SHORT = 4  # tasks of a run that take as long to be booked one by one as the run does


def booked(held: InFlight, columns: Columns) -> Iterator[Event]:
    """What has ended, in order of seq, out of what a runner holds; with no step in Python for each task that can be
    spared."""
    seqs, numbers, starts, ends, results, apart = columns
    number: int | list[int] = numbers[0] if numbers.count(numbers[0]) == len(numbers) else numbers
    runs = neighbours(seqs) if seqs[-1] - seqs[0] + 1 != len(seqs) else [(seqs[0], len(seqs))]
    failed = {at for at, (failure, _) in apart.items() if failure is not None}
    if not failed and len(seqs) < _SHORT * len(runs) and (taken := held.take_ids(runs)) is not None:
        ids, call = taken
        yield BatchDone(ids[0], starts, ends, results, columns.notes(0, ids), number, ids, call)
        return
    bounds = {0, *itertools.accumulate(count for _, count in runs), *failed, *(at + 1 for at in failed)}
    for low, high in itertools.pairwise(sorted(bounds)):
        for piece in held.take(seqs[low], seqs[low] + high - low):
            a, b = low + piece.seq - seqs[low], low + piece.end - seqs[low]
            if a in failed:
                how = starts[a], ends[a], results[a], *apart[a]
                yield AttemptDone(piece.tasks(), *how, numbers[a])
            else:
                notes = columns.notes(a, range(piece.first_id, piece.first_id + b - a))
                part = columns if b - a == len(seqs) else columns.part(a, b)
                whose = number if isinstance(number, int) else part.numbers
                went = part.starts, part.ends, part.results
                yield BatchDone(piece.first_id, *went, notes, whose, None, piece.batch.call)
