"""Time: every deadline, interval and duration is monotonic; the wall clock is read once a run; floor 0."""

from __future__ import annotations

import time

from worker_dispatcher.named_tuple import NamedTuple

__all__ = ["Anchor", "now"]

now = time.monotonic  # seconds; on Linux one clock for all processes since boot, so stamps of workers compare


class Anchor(NamedTuple):
    """One moment read on both clocks, so that monotonic stamps can be told as Unix time."""

    wall: float
    monotonic: float

    @staticmethod
    def take() -> Anchor:
        return Anchor(time.time(), now())

    def wall_at(self, stamp: float) -> float:
        """Unix time, in seconds, of a monotonic stamp."""
        return self.wall + (stamp - self.monotonic)
