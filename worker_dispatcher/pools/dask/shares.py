"""How a limit of tasks at a time is shared out over the workers of a cluster, which come and go."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Shares"]


class Shares:
    """sizes: tasks at a time in each Dask worker that has a share, by address; empty where each of its threads may run
    one, and Dask decides who runs what. Owned by the driver.

    Who has a share keeps it as long as it is there: what it runs cannot be taken back. So a Dask worker that comes has
    a share of what is left, such as that of one that has gone.
    """

    def __init__(self, most: int | None, *, bound: bool) -> None:
        """most: tasks at a time, in all; bound: to the threads that Dask has."""
        self._most, self._bound = most, bound
        self._slots: Mapping[str, int] = {}
        self.sizes: dict[str, int] = {}

    def fit(self, slots: Mapping[str, int]) -> None:
        """slots: threads of each Dask worker that is there."""
        if slots is self._slots or slots == self._slots:
            self._slots = slots
            return
        held, self._slots = self.sizes or self._slots, slots
        self._share(held)

    def resize(self, most: int) -> None:
        self._most = most
        self._share(self.sizes)

    def _share(self, held: Mapping[str, int]) -> None:
        slots, most = self._slots, self._most
        if not most or (self._bound and most >= sum(slots.values())):
            self.sizes = {}
            return
        room = slots if self._bound else dict.fromkeys(slots, most)
        kept = {one: min(size, room[one]) for one, size in held.items() if one in room}
        self.sizes = _spread(most, room, kept if sum(kept.values()) <= most else {})

    @property
    def there(self) -> int:
        """Tasks that the cluster would run at a time."""
        return max(1, sum((self.sizes or self._slots).values()))


def _spread(most: int, room: Mapping[str, int], kept: Mapping[str, int]) -> dict[str, int]:
    """So many, spread as evenly as there is room for beside what is kept; those with none left out."""
    found = {one: kept.get(one, 0) for one in room}
    left = min(most, sum(room.values())) - sum(found.values())
    while left:
        able = [one for one in room if found[one] < room[one]]
        low = min(found[one] for one in able)
        lowest = [one for one in able if found[one] == low]
        above = min((found[one] for one in able if found[one] > low), default=low + left)
        each = max(1, min(left // len(lowest), above - low, min(room[one] for one in lowest) - low))
        for one in lowest[:left]:
            found[one] += each
            left -= each
    return {one: size for one, size in found.items() if size}
