"""How often something may begin; floor 1."""

from __future__ import annotations

import threading

from worker_dispatcher.clock import now


class Limiter:
    """At most `rate` beginnings in `per` seconds, up to `burst` of them at once after a rest.

    The tasks that share a limiter wait in the queue of their pool, not in a worker. One limiter may serve many tasks,
    groups and pools. Thread-safe. The algorithm is GCRA, the generic cell rate algorithm (ITU-T I.371): one moment is
    kept, before which the next beginning would be too early.
    """

    def __init__(self, rate: float, per: float = 1.0, burst: int = 1) -> None:
        """rate: > 0; per: seconds, > 0; burst: >= 1. Raises ValueError."""
        for name, value, least in (("rate", rate, 0), ("per", per, 0), ("burst", burst, 1)):
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
            if not number or value < least or value == 0 or value == float("inf"):
                expected = "an integer of at least 1" if name == "burst" else "a number above 0"
                raise ValueError(f"Limiter({name}=...) must be {expected}, not {value!r}")
        if burst != int(burst):
            raise ValueError(f"Limiter(burst=...) must be an integer of at least 1, not {burst!r}")
        self.rate, self.per, self.burst = rate, per, int(burst)
        self._every = per / rate  # seconds from one beginning to the next
        self._ahead = self._every * (self.burst - 1)
        self._next = 0.0  # monotonic: when the next one begins if all keep their distance
        self._mutex = threading.Lock()

    @property
    def due(self) -> float:
        """When the next one may begin (monotonic); past, if at once."""
        return self._next - self._ahead

    def take(self) -> float:
        """0.0: something may begin, and counts as begun. Else when it may (monotonic), and nothing is counted."""
        with self._mutex:
            at = now()
            if (due := self.due) > at:
                return due
            self._next = max(self._next, at) + self._every
            return 0.0

    def __repr__(self) -> str:
        return f"Limiter({self.rate:g}, per={self.per:g}, burst={self.burst})"
