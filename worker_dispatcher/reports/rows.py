"""The columns that every number of a report is computed from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.reports.failure_groups import Failed, group_errors, raised_of_log
from worker_dispatcher.reports.verdict import NO_SUCCESS, successes, successes_in_1x

__tracebackhide__ = True  # see tracebacks

Floats = NDArray[np.float64]

_ABSENT: Any = object()  # in a column of a log's values: the key is not there
_CHUNK = 4_096  # logs read at a time: their dicts stay in the processor's cache from key to key
_LATEST = 2.0**52  # seconds; up to here a float and the same a second later differ


class Earlier(NamedTuple):
    """Attempts before the last ones: of which row each is, when it began and when it failed (seconds)."""

    rows: NDArray[np.intp]
    starts: Floats
    ends: Floats

    @staticmethod
    def of(attempts: Iterable[tuple[int, float, float]]) -> Earlier | None:
        """None for none of them."""
        listed = list(attempts)
        rows, starts, ends = zip(*listed, strict=True) if listed else ((), (), ())
        return Earlier(np.array(rows, np.intp), np.array(starts), np.array(ends)) if listed else None

    def kept(self, valid: NDArray[np.bool_]) -> Earlier | None:
        """Those of the rows that are valid, where these alone are left."""
        picked = valid[self.rows]
        rows = (np.cumsum(valid) - 1)[self.rows[picked]]
        return Earlier(rows, self.starts[picked], self.ends[picked]) if len(rows) else None


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The well-formed rows of a run, one entry per row in each column, in log order.

    starts, ends: seconds, finite, starts <= ends; times: seconds that the task itself took (a log's `duration`); all of
    its last attempt
    ok: the row is a success (reports.verdict)
    response_times, queue_delays: seconds, NaN where a row has none; None if no row has one
    errors: of the rows that are not ok, as get_tps gives them
    invalidity: malformed rows, which are in no column
    places: where each row stood in what it was read from, so that other columns can be read beside these
    planned: from when to when the tasks of a load were to be due, or sessions went on (seconds, as starts), else None
    earlier: the attempts before the last ones, where any are known
    """

    starts: Floats
    ends: Floats
    times: Floats
    ok: NDArray[np.bool_]
    response_times: Floats | None = None
    queue_delays: Floats | None = None
    errors: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    invalidity: int = 0
    places: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    planned: tuple[float, float] | None = None
    earlier: Earlier | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def span(self) -> tuple[float, float]:
        """What rates are counted over: from the first start to the last end; of a load its planned window, and on to
        the last success where that came later: a service that lags behind the plan has not reached its rate."""
        if self.planned is not None:
            return self.planned[0], max(self.planned[1], float(self.ends[self.ok].max(initial=-math.inf)))
        return (float(self.begun.min()), float(self.ends.max())) if len(self) else (0, 0)

    @property
    def begun(self) -> Floats:
        """When each task's first attempt started."""
        if self.earlier is None:
            return self.starts
        first = self.starts.copy()
        np.minimum.at(first, self.earlier.rows, self.earlier.starts)
        return first

    @property
    def task_times(self) -> Floats | None:
        """Seconds that each task took with all its attempts and the waits between them; None if none was retried."""
        return None if self.earlier is None else np.where(self.begun < self.starts, self.ends - self.begun, self.times)

    @property
    def attempts(self) -> tuple[Floats, Floats]:
        """When every attempt began and ended, in no order."""
        if self.earlier is None:
            return self.starts, self.ends
        starts = np.concatenate([self.starts, self.earlier.starts])
        return starts, np.concatenate([self.ends, self.earlier.ends])

    @classmethod
    def from_logs(cls, logs: Sequence[Mapping[str, Any]], *, as_in_1x: bool = False) -> Rows:
        """Read dicts as `get_logs()` gives them. as_in_1x: by the rule of 1.x for what is a success.

        A row is malformed, counted and left out if it is not a mapping; has no `started_at`, `ended_at` or `result`;
        has a time (`duration` too, where it is there) that is not a real number within 2**52 s (a bool or text is
        none); or ends before it starts. A `response_time` or `queue_delay` that is no number only
        misses in its own percentiles.
        A row of a `phase` other than 'main' is left out, and not counted: it was run, but is not to be measured.
        TypeError for anything but a sequence of rows. Cost: about 0.7 us a row.
        """
        if not isinstance(logs, Sequence) or isinstance(logs, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"logs must be a list or another sequence of dicts, got {type(logs).__name__}")
        kept = _measured(logs)
        left = iter(logs if kept is None else [logs[place] for place in kept.tolist()])
        judge: _Judge = (lambda _, results: successes_in_1x(results)) if as_in_1x else judged
        pieces = [_Columns.of(list(islice(left, _CHUNK)), judge)]
        while chunk := list(islice(left, _CHUNK)):
            pieces.append(_Columns.of(chunk, judge))
        earlier = [
            (nth * _CHUNK + row, start, end) for nth, piece in enumerate(pieces) for row, start, end in piece.earlier
        ]
        columns = [np.concatenate(column) for column in zip(*(piece.numbers for piece in pieces), strict=True)]
        starts, ends, times, response_times, queue_delays = columns
        rows = cls.from_columns(
            starts,
            ends,
            np.concatenate([piece.ok for piece in pieces]),
            times=times,
            response_times=response_times,
            queue_delays=queue_delays,
            errors=group_errors(error for piece in pieces for error in piece.errors),
            earlier=Earlier.of(earlier),
        )
        return rows if kept is None else rows.at_places(kept)

    def at_places(self, places: NDArray[np.intp]) -> Rows:
        """The same, read from what stood at these places."""
        return replace(self, places=places[self.places])

    @classmethod
    def from_columns(
        cls,
        starts: ArrayLike,
        ends: ArrayLike,
        ok: ArrayLike,
        *,
        times: ArrayLike | None = None,
        response_times: ArrayLike | None = None,
        queue_delays: ArrayLike | None = None,
        errors: Mapping[str, dict[str, Any]] | None = None,
        earlier: Earlier | None = None,
    ) -> Rows:
        """Take columns as they are; no dict is made. All in seconds and of one length, else ValueError.

        times: None means ends - starts. Entries that are malformed in the sense of from_logs (NaN stands for "not
        there") are counted and left out of every column. Cost: some ns a row; nothing is copied if all are well-formed.
        """
        begun, ended = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
        took = _lengths(begun, ended) if times is None else np.asarray(times, np.float64)
        waits = [None if one is None else np.asarray(one, np.float64) for one in (response_times, queue_delays)]
        columns: list[Any] = [begun, ended, took, np.asarray(ok, np.bool_), *waits]
        if any(column is not None and column.shape != (len(begun),) for column in columns):
            shapes = [column.shape for column in columns if column is not None]
            raise ValueError(f"columns must have one length, got {shapes}")
        valid = well_formed(begun, ended, took)
        dropped = int(len(valid) - np.count_nonzero(valid))
        if dropped:
            columns = [None if column is None else column[valid] for column in columns]
            earlier = None if earlier is None else earlier.kept(valid)
        begun, ended, took, good, *waits = columns
        response, queue = (None if one is None or not np.isfinite(one).any() else one for one in waits)
        places = np.flatnonzero(valid)
        return cls(begun, ended, took, good, response, queue, errors or {}, dropped, places, earlier=earlier)


def _measured(logs: Sequence[Any]) -> NDArray[np.intp] | None:
    """Where the rows stand that are to be measured; None if that is all of them."""
    dicts = logs if set(map(type, logs)) <= {dict} else [log for log in logs if type(log) is dict]
    if not _any_has(dicts, "phase"):
        return None
    phases = [log.get("phase") for log in dicts]
    if set(map(type, phases)) <= {str, type(None)} and set(phases) <= {"main", None}:
        return None
    phases = [log.get("phase") if type(log) is dict else None for log in logs]
    kept = [place for place, phase in enumerate(phases) if phase.__class__ is not str or phase == "main"]
    return None if len(kept) == len(logs) else np.array(kept, np.intp)


def _any_has(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Whether a key that few logs have is to be read at all: to look for it takes a third of the time."""
    return len(rows) > 0 and (key in rows[0] or bool([None for row in rows if key in row]))


def mappings(logs: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
    """The logs, an empty one in the place of each that is none."""
    return logs if set(map(type, logs)) <= {dict} else [log if isinstance(log, Mapping) else {} for log in logs]


_Judge = Callable[[Sequence[Mapping[str, Any]], list[Any]], list[bool]]
"""Of logs and their results: which of the results are a success."""


def judged(rows: Sequence[Mapping[str, Any]], results: list[Any]) -> list[bool]:
    """Of logs that ended ok: which are a success, by our rule."""
    good = successes(results)
    if not _any_has(rows, NO_SUCCESS):
        return good
    return [one and not row.get(NO_SUCCESS) for one, row in zip(good, rows, strict=True)]


class _Columns(NamedTuple):
    """What a chunk of logs says. numbers: starts, ends, times, response times, queue delays; NaN for "not there".
    earlier: (row, start, end) of attempts before the last."""

    numbers: tuple[Floats, ...]
    ok: NDArray[np.bool_]
    errors: list[Failed]
    earlier: list[tuple[int, float, float]]

    @staticmethod
    def of(logs: Sequence[Any], judge: _Judge) -> _Columns:
        rows = mappings(logs)
        starts, ends = _numbers(_values(rows, "started_at")), _numbers(_values(rows, "ended_at"))
        results = _values(rows, "result")
        starts[_flags([result is _ABSENT for result in results])] = math.nan  # no result, no row
        ok = _flags(judge(rows, results))
        ok &= _flags([isinstance(status, str) and status == "ok" for status in _values(rows, "status", "ok")])
        times = _times(_values(rows, "duration"), starts, ends)
        failed = np.flatnonzero(well_formed(starts, ends, times) & ~ok)
        errors = [error for index in failed.tolist() if (error := raised_of_log(rows[index])) is not None]
        waits = [_numbers(_values(rows, key) if _any_has(rows, key) else [_ABSENT] * len(rows)) for key in _WAITS]
        known = enumerate(_values(rows, _EARLIER, None) if _any_has(rows, _EARLIER) else ())
        earlier = [(row, *span) for row, given in known if given for span in _spans(given, float(starts[row]))]
        return _Columns((starts, ends, times, *waits), ok, errors, earlier)


_WAITS, _EARLIER = ("response_time", "queue_delay"), "earlier_attempts"


def _spans(given: Any, until: float) -> list[tuple[float, float]]:
    """The attempts that a log tells of, [[start, end], ...]; none, where these are no times before its last one."""
    try:
        spans = [(_number(began), _number(ended)) for began, ended in given]
    except (TypeError, ValueError):
        return []
    return spans if all(-_LATEST <= began <= ended <= _LATEST and began <= until for began, ended in spans) else []


def _values(rows: Sequence[Mapping[str, Any]], key: str, default: Any = _ABSENT) -> list[Any]:
    return [row.get(key, default) for row in rows]


def _flags(values: list[bool]) -> NDArray[np.bool_]:
    return np.array(values, np.bool_)


def _numbers(values: list[Any]) -> Floats:
    """The values as floats, NaN where one is not a real number."""
    kinds = set(map(type, values))
    if kinds <= {object}:  # every one is absent, as in logs without load fields
        return np.full(len(values), math.nan)
    if kinds <= {float, int}:
        try:
            return np.array(values, np.float64)
        except OverflowError:  # an int beyond any float; one by one below finds it
            pass
    return np.fromiter(map(_number, values), np.float64, len(values))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return math.nan


def _times(values: list[Any], starts: Floats, ends: Floats) -> Floats:
    """What each task took: its `duration` where the key is there, else ends - starts."""
    times = _numbers(values)
    missing = _flags([value is _ABSENT for value in values])
    times[missing] = _lengths(starts, ends)[missing]
    return times


def _lengths(starts: Floats, ends: Floats) -> Floats:
    with np.errstate(invalid="ignore", over="ignore"):  # of malformed rows, which are not left out yet
        return ends - starts


def well_formed(starts: Floats, ends: Floats, times: Floats) -> NDArray[np.bool_]:
    """Which rows have times that make sense; see Rows.from_logs."""
    known = (np.abs(starts) <= _LATEST) & (np.abs(ends) <= _LATEST) & (np.abs(times) <= _LATEST)
    return known & (ends >= starts)
