"""Checks that end a run while it goes on: 'error_rate>50% for 10s'."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker_dispatcher.clock import now
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.records import CANCELLED, OK, Records

if TYPE_CHECKING:
    from worker_dispatcher.reports.rows import Rows

_EVERY = 0.5  # seconds from one look to the next
_FOR = re.compile(r"(?P<check>.*?)(?:\s+for\s+(?P<seconds>\d+(?:\.\d*)?|\.\d+)\s*s?)?\s*", re.DOTALL)


class AbortWatch:
    """Holds the tasks that have ended against the checks, twice a second; those of the warm-up do not count. Used by
    the driver's thread.

    A check `... for 10s` is about the tasks that ended within the last 10 s, once the part of the load that counts is
    that old (neither the start of the workers nor the warm-up is in it); without it, about all that have ended.
    seen: the first check that has come true, as text with what was seen; empty while none has.
    """

    def __init__(self, expressions: Sequence[str], records: Records) -> None:
        self._records = records
        self._checks = _parse(expressions)
        self.due = now() + _EVERY
        self.seen = ""

    def look(self) -> str | None:
        at = now()
        try:
            self.seen = self.seen or self._broken(at)
        finally:
            # A look at a long run takes its time: it shall never be more than a small share of it.
            self.due = now() + max(_EVERY, 20 * (now() - at))
        return "abort" if self.seen else None

    def _broken(self, at: float) -> str:
        from worker_dispatcher.reports.check import check

        for text, expression, seconds in self._checks:
            if at - self._records.measured_from < seconds:
                continue
            rows = self._rows(at - seconds if seconds else -math.inf)
            verdict = check(rows, expression, counts=self._records.counts()) if len(rows) else None
            if verdict:
                return f"{text}: {str(verdict).strip()}"
        return ""

    def _rows(self, since: float) -> Rows:
        """What has ended since a moment (monotonic), as the reports see it. Column by column: a run may be long."""
        import numpy as np

        from worker_dispatcher.reports.rows import Rows
        from worker_dispatcher.reports.verdict import successes

        records = self._records
        status = np.frombuffer(bytes(records.status), np.uint8)
        ends, starts = np.array(records.ended), np.array(records.started)
        known = (status > 0) & (status <= CANCELLED) & (ends >= since)
        if records.due:
            known &= np.array(records.due) >= records.measured_from
        places = np.flatnonzero(known)
        succeeded = np.array(successes([records.results[at] for at in places.tolist()]), np.bool_)
        ok = (status[places] == OK) & succeeded
        due = np.array(records.due)[places] if records.due else None
        return Rows.from_columns(
            starts[places],
            ends[places],
            ok,
            response_times=None if due is None else ends[places] - due,
            queue_delays=None if due is None else starts[places] - due,
        )


def _parse(expressions: Sequence[str]) -> list[tuple[str, str, float]]:
    """(the text, its check, over how many seconds) of each. Refuses those that are none, before anything starts."""
    if not expressions:
        return []
    from worker_dispatcher.reports.check import expect_checks

    read, problems = [], []
    for nth, text in enumerate(expressions):
        found = _FOR.fullmatch(text)
        assert found is not None  # it matches anything
        try:
            expect_checks(found["check"])
        except ValueError as error:
            problems.append((f"worker.frequency_mode.abort_on[{nth}]", str(error)))
        read.append((text, found["check"], float(found["seconds"] or 0)))
    if problems:
        raise ConfigError(problems)
    return read
