"""What a report reads of a run's logs: from dicts, or from the columns that a run keeps, where no dict is made.

Both give the same of the same run. A place is where a log stands among all logs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import compress
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from worker_dispatcher.records import (
    DROPPED,
    NOT_RUN,
    OK,
    PENDING,
    RESUMED,
    ROUNDING,
    STATUS_NAMES,
    Records,
    attempts_before,
)
from worker_dispatcher.reports.failure_groups import Failed, failed_in, failed_of_log, group_errors, raised_in
from worker_dispatcher.reports.rows import Earlier, Floats, Rows, judged, mappings, well_formed
from worker_dispatcher.reports.safe_text import shown
from worker_dispatcher.reports.verdict import successes, successes_in_1x

_Places: TypeAlias = NDArray[np.intp]
_MOST_ATTEMPTS = 1 << 40  # more are a log's mistake
_PHASES = ("main", "warmup", "cooldown", "resumed")


class LogReader:
    """Reads dicts as get_logs() gives them, or as anybody wrote them: any of them may be malformed."""

    def __init__(self, logs: Sequence[Mapping[str, Any]]) -> None:
        self.logs = logs

    def __len__(self) -> int:
        return len(self.logs)

    def log(self, place: int) -> Mapping[str, Any]:
        """All that is known of one task, but for `in_flight`."""
        return self.logs[place]

    def rows(self) -> Rows:
        return Rows.from_logs(self.logs)

    def rows_of_all_phases(self) -> Rows:
        return Rows.from_logs([{**log, "phase": "main"} for log in self.logs if isinstance(log, Mapping)])

    def attempts(self, places: _Places) -> NDArray[np.int_]:
        """How many each of them took."""
        given = (self.logs[place].get("attempts") for place in places.tolist())
        found = (one if isinstance(one, int) and 1 <= one < _MOST_ATTEMPTS else 1 for one in given)
        return np.fromiter(found, np.int_, len(places))

    def workers(self, places: _Places) -> list[Any]:
        """What each says of the worker that ran it; None for nothing."""
        return [self.logs[place].get("worker") for place in places.tolist()]

    def failed(self, places: _Places) -> Iterator[Failed]:
        """places: of tasks that are no success."""
        return (failed_of_log(self.logs[place]) for place in places.tolist())

    def statuses(self) -> Counter[str]:
        """Logs by status, in order of appearance, as `phases` are."""
        said = [log.get("status", "ok") if isinstance(log, dict | Mapping) else "malformed" for log in self.logs]
        found: Counter[str] = Counter()
        for text, count in Counter(said if set(map(type, said)) <= {str} else [shown(one, 40) for one in said]).items():
            found[shown(text, 40)] += count
        return found

    def phases(self) -> Counter[str]:
        given = [log.get("phase", "main") for log in self.logs if isinstance(log, dict | Mapping)]
        return Counter(phase for phase in given if isinstance(phase, str))

    def without_success(self) -> int:
        """How many ended ok, and are no success."""
        ok = [log for log in mappings(self.logs) if log.get("status", "ok") == "ok"]
        return judged(ok, [log.get("result") for log in ok]).count(False)


class RecordsReader:
    """Reads the columns of a run that is done. logs: what gives the dicts, for who needs all of them."""

    def __init__(self, records: Records, logs: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self._records, self._logs = records, logs

    @property
    def logs(self) -> Sequence[Mapping[str, Any]]:
        return self._logs()

    def __len__(self) -> int:
        return len(self._at)

    @cached_property
    def _at(self) -> _Places:
        """Where in the columns the tasks are that have a log."""
        return np.flatnonzero(~np.isin(_copied(self._records.status, np.uint8), (PENDING, NOT_RUN, DROPPED)))

    @cached_property
    def _status(self) -> NDArray[np.uint8]:
        return _copied(self._records.status, np.uint8)[self._at]

    @cached_property
    def _worker(self) -> NDArray[np.int_]:
        return _copied(self._records.worker, np.int_)[self._at]

    @cached_property
    def _due(self) -> Floats:
        """NaN for a task that has none: with fixed workers, and where an earlier run had it."""
        known = _copied(self._records.due, np.float64)
        column = np.full(len(self._records), math.nan)
        column[: len(known)] = known
        return np.where(self._worker == RESUMED, math.nan, column[self._at])

    @cached_property
    def _phase(self) -> NDArray[np.uint8]:
        """Of each log, its place in _PHASES; see records.phase_of."""
        early = self._due < self._records.measured_from - ROUNDING
        late = ~early & (self._due >= self._records.measured_until - ROUNDING)
        phase = early * np.uint8(1) + late * np.uint8(2)
        return np.where(self._worker == RESUMED, np.uint8(3), phase)

    def log(self, place: int) -> Mapping[str, Any]:
        return self._records.log(int(self._at[place]) + 1)

    def rows(self, *, as_in_1x: bool = False) -> Rows:
        """as_in_1x: by the rule of 1.x for what is a success."""
        return self._rows_at(np.flatnonzero(self._phase == 0), successes_in_1x if as_in_1x else successes)

    def rows_of_all_phases(self) -> Rows:
        return self._rows_at(np.arange(len(self)), successes)

    def _rows_at(self, places: _Places, judge: Callable[[Sequence[object]], list[bool]]) -> Rows:
        records, at, due = self._records, self._at[places], self._due[places]
        started, ended = _copied(records.started, np.float64)[at], _copied(records.ended, np.float64)[at]
        starts, ends = self._wall_at(started), self._wall_at(ended)
        results = records.results
        if len(at) < len(results):
            results = [results[place] for place in at.tolist()]
        ok = np.array(judge(results), np.bool_) & (self._status[places] == OK)
        times = ended - started
        failed = at[well_formed(starts, ends, times) & ~ok].tolist()
        errors = group_errors(error for place in failed if (error := raised_in(records, place + 1)) is not None)
        first, earlier = started, self._earlier(at, started)
        if earlier is not None:
            first = started.copy()
            np.minimum.at(first, earlier.rows, earlier.starts)
            earlier = Earlier(earlier.rows, self._wall_at(earlier.starts), self._wall_at(earlier.ends))
        waits = {"response_times": ended - due, "queue_delays": first - due}
        rows = Rows.from_columns(starts, ends, ok, times=times, **waits, errors=errors, earlier=earlier)
        return rows.at_places(places)

    def _wall_at(self, stamps: Floats) -> Floats:
        """In the order of Anchor.wall_at: another would round otherwise."""
        return self._records.anchor.wall + (stamps - self._records.anchor.monotonic)

    def _earlier(self, at: _Places, started: Floats) -> Earlier | None:
        """Monotonic. at: where the rows are in the columns, ascending."""
        known = self._records.earlier
        if not known or not len(at):
            return None
        wanted = np.fromiter(known, np.intp, len(known)) - 1
        rows = np.minimum(np.searchsorted(at, wanted), len(at) - 1)
        found = zip(rows.tolist(), (at[rows] == wanted).tolist(), known.values(), strict=True)
        return Earlier.of(
            (row, *span) for row, there, times in found if there for span in attempts_before(started[row], times)
        )

    def attempts(self, places: _Places) -> NDArray[np.int_]:
        every = np.ones(len(self._records), np.int_)
        for task_id, attempts in self._records.attempts.items():
            every[task_id - 1] = attempts
        found: NDArray[np.int_] = every[self._at[places]]
        return found

    def workers(self, places: _Places) -> list[Any]:
        numbers = self._worker[places]
        given: list[Any] = numbers.tolist()
        return given if (numbers > 0).all() else [number if number > 0 else None for number in given]

    def failed(self, places: _Places) -> Iterator[Failed]:
        return (failed_in(self._records, place + 1) for place in self._at[places].tolist())

    def statuses(self) -> Counter[str]:
        return _counted(self._status, STATUS_NAMES)

    def phases(self) -> Counter[str]:
        return _counted(self._phase, _PHASES)

    def without_success(self) -> int:
        ended_ok = map(OK.__eq__, self._records.status)
        return successes(list(compress(self._records.results, ended_ok))).count(False)


Reader: TypeAlias = LogReader | RecordsReader


def _copied(column: Any, kind: Any) -> NDArray[Any]:
    """As numpy has it; a copy, since what is looked at in place could not grow."""
    return np.frombuffer(column, kind).copy() if len(column) else np.empty(0, kind)


def _counted(codes: NDArray[np.uint8], names: Sequence[str]) -> Counter[str]:
    found, firsts, counts = np.unique(codes, return_index=True, return_counts=True)
    return Counter({names[found[at]]: int(counts[at]) for at in np.argsort(firsts).tolist()})
