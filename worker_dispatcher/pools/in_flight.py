"""Which tasks a worker holds: runs of sequence numbers, each with the batch it came from."""

from __future__ import annotations

import bisect
import math
import operator
from collections.abc import Iterable

from worker_dispatcher.call import Call
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.pools.base import Batch, Event, NotStarted

__all__ = ["InFlight", "Piece", "Revoked", "one_by_one"]


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


def one_by_one(pieces: Iterable[Piece], alone: bool = False) -> list[Event]:
    """What hands the tasks back, each for a batch of its own. alone: each is to run without company."""
    tasks = [p.tasks() for p in pieces]
    return [NotStarted(t.part(i, i + 1)._replace(alone=alone or t.alone)) for t in tasks for i in range(len(t.items))]


class _Stock:
    """A batch, from a sequence number to `end`. there: a byte for each task, 1 while it is held; left: how many are."""

    __slots__ = ("batch", "end", "left", "seq", "there")

    def __init__(self, seq: int, batch: Batch) -> None:
        self.seq, self.batch, self.left = seq, batch, len(batch.items)
        self.end = seq + self.left
        self.there = bytearray(b"\1") * self.left

    def take(self, low: int, high: int) -> list[Piece]:
        """Remove the tasks at places low to high (exclusive) that are there."""
        there, pieces = self.there, []
        while (low := there.find(1, low, high)) >= 0:
            stop = there.find(0, low, high)
            stop = high if stop < 0 else stop
            pieces.append(Piece(self.seq + low, self.batch, low, stop))
            there[low:stop] = bytes(stop - low)
            self.left -= stop - low
            low = stop
        return pieces


class InFlight:
    """What one worker holds, in order of sequence number. count: how many tasks.

    A batch is kept whole until its last task is taken: where many threads end their tasks in any order, cutting it up
    for each would be most of what a task costs the parent.
    """

    def __init__(self) -> None:
        self._stocks: list[_Stock] = []
        self.count = 0

    @property
    def batches(self) -> int:
        """How many batches its tasks are of, as they were added."""
        return len(self._stocks)

    def ids(self) -> list[int]:
        """Of all its tasks."""
        return [one.batch.first + at for one in self._stocks for at, there in enumerate(one.there) if there]

    def add(self, seq: int, batch: Batch) -> None:
        if not len(batch.items):
            return
        at = len(self._stocks)
        if at and self._stocks[-1].seq > seq:
            at = bisect.bisect_left(self._stocks, seq, key=_seq)
        self._stocks.insert(at, _Stock(seq, batch))
        self.count += len(batch.items)

    def take(self, a: int, b: int) -> list[Piece]:
        """Remove sequence numbers a to b (exclusive), as far as they are held; the pieces removed."""
        if a >= b:
            return []
        stocks, taken = self._stocks, []
        at = bisect.bisect_right(stocks, a, key=_end)
        while at < len(stocks) and (stock := stocks[at]).seq < b:
            pieces = stock.take(max(a - stock.seq, 0), min(b, stock.end) - stock.seq)
            self.count -= sum(piece.high - piece.low for piece in pieces)
            taken += pieces
            if stock.left:
                at += 1
            else:
                del stocks[at]
        return taken

    def take_one(self, seq: int) -> Batch | None:
        """Remove one task: it, as a batch; None if it is not held."""
        stocks = self._stocks
        if len(stocks) == 1 and stocks[0].seq == seq and stocks[0].end == seq + 1:
            self._stocks, self.count = [], 0
            return stocks[0].batch
        return next((piece.tasks() for piece in self.take(seq, seq + 1)), None)

    @property
    def least_timeout(self) -> float:
        """Seconds: the least of what it holds, infinite where nothing has any."""
        return min((stock.batch.timeout for stock in self._stocks if stock.batch.timeout is not None), default=math.inf)

    def _stock_of(self, seq: int) -> _Stock:
        at = bisect.bisect_right(self._stocks, seq, key=_end)
        return self._stocks[at] if at < len(self._stocks) and self._stocks[at].seq <= seq else _NOTHING

    def batch_of(self, seq: int) -> Batch:
        """The batch that a task came with; an empty one without limits if it is not held."""
        return self._stock_of(seq).batch

    def fellows(self, seq: int) -> int:
        """How many of the batch that a task came with are held."""
        return self._stock_of(seq).left

    def take_batch(self, seq: int) -> list[Piece]:
        """Remove the rest of the batch that a task came with; the pieces removed."""
        stock = self._stock_of(seq)
        return self.take(stock.seq, stock.end)

    def seq_of(self, task_id: int) -> int:
        """The sequence number of a task, 0 if it is not held."""
        for stock in self._stocks:
            low = task_id - stock.batch.first
            if 0 <= low < len(stock.there) and stock.there[low]:
                return stock.seq + low
        return 0

    def take_ids(self, runs: Iterable[tuple[int, int]]) -> tuple[list[int], Call | None] | None:
        """Remove runs (sequence number, how many), all of them held, in order and of one call: the ids of their tasks,
        and the call. None, and nothing is removed, if it is not so. A fraction of what `take` costs for each run."""
        found: list[tuple[_Stock, int, int]] = []
        stock, last = _NOTHING, 0
        for seq, count in runs:
            if seq < last:
                return None
            last = seq + count
            while count:
                if not stock.seq <= seq < stock.end:
                    at = bisect.bisect_right(self._stocks, seq, key=_end)
                    if at == len(self._stocks) or (stock := self._stocks[at]).seq > seq:
                        return None
                    if found and stock.batch.call is not found[0][0].batch.call:
                        return None
                low = seq - stock.seq
                high = min(low + count, len(stock.there))
                if stock.there.find(0, low, high) >= 0:
                    return None
                found.append((stock, low, high))
                seq, count = seq + high - low, count - high + low
        ids, call = list[int](), found[0][0].batch.call if found else None
        for stock, low, high in found:
            stock.there[low:high] = bytes(high - low)
            stock.left -= high - low
            ids += range(stock.batch.first + low, stock.batch.first + high)
        self.count -= len(ids)
        if not all(stock.left for stock, _, _ in found):
            self._stocks = [stock for stock in self._stocks if stock.left]
        return ids, call

    def take_all(self) -> list[Piece]:
        """Remove all; the pieces removed."""
        stocks, self._stocks, self.count = self._stocks, [], 0
        return [piece for stock in stocks for piece in stock.take(0, len(stock.there))]


class Revoked(dict[int, int]):
    """Sequence numbers that were taken back from a worker which does not know of it yet: first -> end (exclusive)."""

    def add(self, pieces: Iterable[Piece]) -> None:
        self.update({piece.seq: piece.end for piece in pieces})

    def forget(self, runs: Iterable[tuple[int, int]]) -> None:
        """The worker knows of runs (sequence number, how many)."""
        if self:
            for seq, count in runs:
                self.drop(seq, seq + count)

    def drop(self, a: int, b: int) -> None:
        """The worker knows of a to b (exclusive)."""
        for first, end in list(self.items()):
            if first < b and a < end:
                del self[first]
                if first < a:
                    self[first] = a
                if end > b:
                    self[b] = end


_NOTHING = _Stock(0, Batch(0, ()))
_seq, _end = operator.attrgetter("seq"), operator.attrgetter("end")
