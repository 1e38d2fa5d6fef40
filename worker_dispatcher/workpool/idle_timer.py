"""When workers that have nothing to do leave."""

from __future__ import annotations

import math

from worker_dispatcher.clock import now
from worker_dispatcher.pools.base import Pool


class IdleTimer:
    """A timer of the driver: lets workers go that were idle for so many seconds. It looks as often as one may be, and
    not at all where there are none."""

    def __init__(self, pool: Pool, seconds: float) -> None:
        self._pool, self._seconds = pool, seconds
        self._at = now() + seconds

    @property
    def due(self) -> float:
        return self._at if self._pool.pids else math.inf

    def look(self) -> None:
        """It is due."""
        at = now()
        self._at = min(self._pool.retire(self._seconds), at + self._seconds)
