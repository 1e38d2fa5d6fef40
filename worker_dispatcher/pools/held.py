"""Which tasks a worker holds: runs of sequence numbers, each with the batch it came from."""

from __future__ import annotations

import bisect
import operator
from typing import NamedTuple

from worker_dispatcher.pools.base import Batch

__all__ = ["Held", "Piece"]


class Piece(NamedTuple):
    """Tasks low to high (exclusive) of a batch, whose sequence numbers start at seq."""

    seq: int
    batch: Batch
    low: int
    high: int

    @property
    def end(self) -> int:
        return self.seq + self.high - self.low

    @property
    def first_id(self) -> int:
        return self.batch.first + self.low

    def tasks(self) -> Batch:
        return self.batch.part(self.low, self.high)

    def cut(self, a: int, b: int) -> Piece:
        """The part with sequence numbers a to b (exclusive)."""
        return Piece(a, self.batch, self.low + a - self.seq, self.low + b - self.seq)


class Held:
    """The pieces one worker holds, in order of sequence number. len() is the number of tasks."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, seq: int, batch: Batch) -> None:
        at = len(self._pieces)
        if at and self._pieces[-1].seq > seq:
            at = bisect.bisect_left(self._pieces, seq, key=_seq)
        self._pieces.insert(at, Piece(seq, batch, 0, len(batch.items)))
        self._count += len(batch.items)

    def take(self, a: int, b: int) -> list[Piece]:
        """Remove sequence numbers a to b (exclusive), as far as they are held; the pieces removed."""
        if a >= b:
            return []
        pieces, taken, kept = self._pieces, [], []
        first = last = bisect.bisect_right(pieces, a, key=_end)
        while last < len(pieces) and pieces[last].seq < b:
            piece = pieces[last]
            low, high = max(a, piece.seq), min(b, piece.end)
            taken.append(piece.cut(low, high))
            if piece.seq < low:
                kept.append(piece.cut(piece.seq, low))
            if high < piece.end:
                kept.append(piece.cut(high, piece.end))
            self._count -= high - low
            last += 1
        pieces[first:last] = kept
        return taken

    def take_all(self) -> list[Piece]:
        taken, self._pieces, self._count = self._pieces, [], 0
        return taken


_seq, _end = operator.attrgetter("seq"), operator.attrgetter("end")
