"""How many of the tasks that ended ok are no success, by the rule of the reports."""

from __future__ import annotations

import re

from worker_dispatcher.records import Records
from worker_dispatcher.reports.verdict import successes

__all__ = ["Tally"]

_SETTLED = re.compile(rb"[^\0]+")  # in the column of statuses; PENDING is 0


class Tally:
    """Counts when somebody asks, and only what has ended since: a task costs the driver nothing. Used by one thread."""

    def __init__(self, records: Records) -> None:
        self._records, self._found, self._reached = records, 0, 0
        self._open: list[tuple[int, int]] = []  # stretches of places that had not ended when last looked at

    def count(self) -> int:
        """All so far. Cost: as `successes`, of what is new, and a look at each stretch of open tasks."""
        if not self._records.keeps:
            return self._records.without_success
        status, results = self._records.status, self._records.results
        stretches, self._open = [*self._open, (self._reached, len(status))], []
        self._reached = len(status)
        for at, end in stretches:
            for low, high in [found.span() for found in _SETTLED.finditer(status, at, end)]:
                self._found += successes(results[low:high]).count(False)  # a TaskFailure is not among them
                if at < low:
                    self._open.append((at, low))
                at = high
            if at < end:
                self._open.append((at, end))
        return self._found
