"""Tasks that were handed to an idle thread one by one, past the books of its pool."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from worker_dispatcher.pools.base import Batch, Done
from worker_dispatcher.pools.in_flight import InFlight
from worker_dispatcher.pools.runners.task_queue import Claim
from worker_dispatcher.task_span import TaskSpan

FIRST_HANDED = 1 << 40  # seqs from here on are of what was handed over


class Handed(dict[int, Batch]):
    """Each ends by the word of its own thread, or, if it does not end well or is to be ended, as all others do: by way
    of the pool's books. Whoever takes it out of here first decides which.

    Batches by seq. Shared, in single steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seqs = itertools.count(FIRST_HANDED)

    def offer(self, hand_over: Callable[[Claim], bool], batch: Batch, done: Done) -> bool:
        """Have one task handed over, if a thread takes it. done: see `Pool.offer`. From any thread."""
        seq = next(self._seqs)
        self[seq] = batch

        def ended(number: int, went: TaskSpan) -> bool:
            if self.pop(seq, None) is None:
                return False
            done(batch.first, went.results[0], went.starts[0], went.ends[0], number)
            return True

        if not hand_over(Claim((seq, batch.first, batch.items[0]), 0.0, batch, iter(()), ended)):
            del self[seq]
            return False
        return True

    def book(self, held: InFlight) -> None:
        """Put all into the books. Called in the driver's turn."""
        for seq in list(self):
            if (batch := self.pop(seq, None)) is not None:
                held.add(seq, batch)
