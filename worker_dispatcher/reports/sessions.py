"""The sessions of a journal: runs that went on where another had stopped, with the pauses between them left out.

    recorded    |== first ==|          pause          |=== second ===|
    told        |== first ==|=== second ===|

Their clocks may differ: by its own, a later session may even have begun before an earlier one. Its rows are told after
those of the session before it all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from worker_dispatcher.reports.rows import Earlier, Floats, Rows
from worker_dispatcher.units import seconds_text


class Sessions:
    """spans: when each began and ended, by its own clock (Unix seconds), in the order in which they recorded."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self.spans = spans
        begins, ends = (np.array(column, np.float64) for column in zip(*spans, strict=True))
        self._begins = np.concatenate([begins[:1], begins[0] + np.cumsum(ends - begins)[:-1]])  # as they are told
        self._moved = begins - self._begins

    @staticmethod
    def of(given: object) -> Sessions | None:
        """Read what `read_run` says, [{"from": ..., "until": ...}, ...]; None for one session, and for what is none."""
        try:
            spans = [(float(one["from"]), float(one["until"])) for one in given]  # type: ignore[attr-defined]
        except (TypeError, KeyError, ValueError):
            return None
        return Sessions(spans) if len(spans) > 1 and all(0 < a <= b < 2.0**52 for a, b in spans) else None

    def joined(self, rows: Rows, numbers: Iterable[object]) -> Rows:
        """The rows without the pauses. numbers: the session of each row, from 1; what is none counts as the first."""
        known = range(2, len(self.spans) + 1)
        places = [one - 1 if type(one) is int and one in known else 0 for one in numbers]
        by = self._moved[np.array(places, np.intp)]
        earlier = rows.earlier
        if earlier is not None:
            less = by[earlier.rows]
            earlier = Earlier(earlier.rows, earlier.starts - less, earlier.ends - less)
        # All of their time counts: that too in which tasks ran that a later session has run again.
        whole = float(self._begins[0]), float(self._begins[-1] + self.spans[-1][1] - self.spans[-1][0])
        return replace(rows, starts=rows.starts - by, ends=rows.ends - by, earlier=earlier, planned=whole)

    @property
    def last_began(self) -> float:
        """When the last one began, as it is told."""
        return float(self._begins[-1])

    def told(self, report: Any) -> Any:
        """Numbers of joined rows, as get_tps has them, with moments as they were recorded."""
        if isinstance(report, list):
            return [self.told(one) for one in report]
        if not isinstance(report, Mapping):
            return report
        made = {key: self.told(value) for key, value in report.items()}
        if "started_at" in made:
            made["started_at"] = self._recorded(made["started_at"], "right")
            made["ended_at"] = self._recorded(made["ended_at"], "left")
        return made

    def _recorded(self, moment: float, side: Any) -> float:
        place = max(0, int(np.searchsorted(self._begins, moment, side)) - 1)
        return float(moment + self._moved[place])

    def __str__(self) -> str:
        pauses: Floats = np.array(
            [later[0] - before[1] for before, later in zip(self.spans, self.spans[1:], strict=False)]
        )
        count = len(self.spans)
        if (pauses < 0).any():
            return f"{count} sessions, by clocks that differ; rates leave out what lay between"
        if count == 2:
            return f"2 sessions, {seconds_text(float(pauses[0]))} apart; rates and times leave the pause out"
        return f"{count} sessions with pauses of {seconds_text(float(pauses.sum()))}; rates and times leave them out"
