"""Whether workers can begin at all, judged from those that ended before they could."""

from __future__ import annotations

import math

__all__ = ["TRY_AGAIN", "Births"]

TRY_AGAIN = 1.0  # seconds from one worker that the system refuses to the next one that is asked for
_TRY_CROWDED = 0.1  # the same where there is no worker, and what is lacked is held by other programs
_PATIENCE_CROWDED = 10.0  # seconds for which they may hold it
_MOST = 3  # workers in a row that may end before they are able to work
_PAUSE = 0.01  # seconds before another one is asked for after one more of them; then twice as many, up to TRY_AGAIN
_PATIENCE = 30.0  # seconds for which somebody may be killing workers, who will let off
_PATIENCE_KEPT = 2.0  # seconds in a pool that is kept, whatever they end of


class Births:
    """Counts workers that were stillborn, in a row. Used by the pool's driving thread.

    One of which another worker does its work takes nothing from a pool: it goes on with those it has, and asks for
    more now and then. Without any it has failed; not before its patience is over, though, where that may pass.
    try_at: no worker is to be asked for before (monotonic). row: how many there were, since one was able to work.
    """

    def __init__(self, *, kept: bool) -> None:
        self.try_at, self.row = 0.0, 0
        self._kept = kept
        self._since = self._last = -math.inf
        self._refused_since = math.inf

    def refused(self, at: float, *, able: bool, crowded: bool) -> bool:
        """The system has given no worker: True if there will be none. able: there are others; crowded: it lacks what
        other programs of this user have taken, and may let go of at any moment."""
        self._refused_since = min(self._refused_since, at)
        self.try_at = at + (TRY_AGAIN if able else _TRY_CROWDED)
        return not able and not (crowded and at - self._refused_since < _PATIENCE_CROWDED)

    def begun(self) -> None:
        """The system has given one."""
        self._refused_since = math.inf

    def went_well(self) -> None:
        """One that could work has ended."""
        self.row = 0

    def stillborn(self, at: float, able_since: float, *, sent_off: bool) -> bool:
        """One more, at a moment: True if there will be no other.

        able_since: when the youngest of those that work became ready; infinite in the past if there is none.
        sent_off: somebody has killed it, other than this program.
        """
        if able_since > self._last:
            self.row = 0
        if not self.row or able_since > -math.inf:
            self._since = at  # the patience begins when nobody works any more
        self.row, self._last = self.row + 1, at
        if self.row > _MOST:
            self.try_at = at + min(TRY_AGAIN, _PAUSE * 2.0 ** min(self.row - _MOST, 60))
        patience = _PATIENCE if sent_off else _PATIENCE_KEPT if self._kept else 0.0
        return able_since == -math.inf and self.often and at - self._since >= patience

    @property
    def often(self) -> bool:
        """There were too many for an accident."""
        return self.row >= _MOST
