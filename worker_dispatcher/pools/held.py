"""Which tasks a worker holds: runs of sequence numbers, each with the batch it came from."""

from __future__ import annotations

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
        self._pieces.append(Piece(seq, batch, 0, len(batch.items)))
        self._count += len(batch.items)

    def take(self, a: int, b: int) -> list[Piece]:
        """Remove sequence numbers a to b (exclusive), as far as they are held; the pieces removed."""
        taken, kept = [], []
        for piece in self._pieces:
            low, high = max(a, piece.seq), min(b, piece.end)
            if low >= high:
                kept.append(piece)
                continue
            taken.append(piece.cut(low, high))
            if piece.seq < low:
                kept.append(piece.cut(piece.seq, low))
            if high < piece.end:
                kept.append(piece.cut(high, piece.end))
        self._pieces = kept
        self._count -= sum(p.high - p.low for p in taken)
        return taken

    def take_all(self) -> list[Piece]:
        taken, self._pieces, self._count = self._pieces, [], 0
        return taken
