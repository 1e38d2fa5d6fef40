"""What a report is made of: a run's logs, what else is known of the run, and columns beside those of Rows."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from worker_dispatcher.records import Records
from worker_dispatcher.reports.failure_groups import FailureGroup, group_failures
from worker_dispatcher.reports.readers import LogReader, Reader, RecordsReader
from worker_dispatcher.reports.rows import Floats, Rows
from worker_dispatcher.reports.safe_text import shown
from worker_dispatcher.reports.sessions import Sessions
from worker_dispatcher.zipped import lines_of

__tracebackhide__ = True  # see tracebacks

_MOST_FAILURES_SHOWN = 50
_LONGEST_WAIT = 2.0**52  # seconds; beyond it a log of another program says something else


def run_data_of(source: Any) -> RunData:
    """Read a run, a list or tuple of logs, or a file of logs as JSON lines; RunData come back. TypeError for anything
    else. A run has `logs`, `info` and `config`, as get_logs(), get_result_info() and get_last_config() give them; one
    with `columns`, Records that do not change any more, is read from there."""
    if isinstance(source, RunData):
        return source
    if isinstance(source, str | os.PathLike):
        return _read(Path(source))
    # By its class: asking an instance for an attribute would make the logs once more.
    if hasattr(type(source), "logs") and hasattr(type(source), "info"):
        records: Records | None = getattr(source, "columns", None)
        logs = source.logs if records is None else RecordsReader(records, lambda: source.logs)
        return RunData(logs, source.info, source.config, getattr(source, "dropped", ()))
    if isinstance(source, Sequence) and not isinstance(source, bytes | bytearray | memoryview):
        if source and not any(isinstance(one, Mapping) and "started_at" in one for one in source):
            raise TypeError(
                f"a report is made of logs, and in this list is none, but {type(source[0]).__name__}; "
                "results are none: get_logs() gives the logs of a run"
            )
        # What read_journal gives has them.
        known = {name: getattr(source, name, None) for name in ("total", "sessions")}
        return RunData(source, {name: value for name, value in known.items() if isinstance(value, int | list)})
    raise TypeError(
        f"a report is made of a run, a list of logs or the path of a .jsonl file, got {type(source).__name__}"
    )


def _read(path: Path) -> RunData:
    with path.open("rb") as file:
        return run_data_of_lines(lines_of(file, str(path)), str(path))


def run_data_of_lines(lines: Iterable[bytes], name: str) -> RunData:
    """A log on each line; a line {"run": info, "dropped": [...]} is what else is known (as `to_jsonl` writes them).
    ValueError for lines that are none."""
    logs: list[dict[str, Any]] = []
    info: dict[str, Any] = {}
    dropped: list[Any] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = _entry(line, name, number)
        if isinstance(entry.get("run"), dict) and "started_at" not in entry:
            info, dropped = entry["run"], list(entry.get("dropped") or ())
        else:
            logs.append(entry)
    return RunData(logs, info, dropped=dropped)


def _entry(line: bytes, name: str, number: int) -> dict[str, Any]:
    if line.startswith(b"SQLite format 3\0"):
        raise ValueError(f"{name}: is a journal, which can only be read from its own file")
    try:
        entry = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        where = f"byte {error.object[error.start]:#04x} of line {number} is not UTF-8"
        raise ValueError(f"{name}: neither JSON lines nor a journal: {where}") from None
    except ValueError as error:
        raise ValueError(f"{name}, line {number}: this is no JSON line: {error}") from None
    if not isinstance(entry, dict):
        raise ValueError(f"{name}, line {number}: a log is an object, got {type(entry).__name__}")
    return entry


class RunData:
    """Everything known of a run. Rows and what follows from it leave out malformed rows.

    logs: dicts as from get_logs(), or what reads them; info: as from get_result_info(), {} if unknown; config: {} if
    unknown; dropped: a dict with `scheduled_at` for each task that was due and never ran.
    Columns are made when they are first asked for; all are in row order. Nothing of it changes.
    """

    def __init__(
        self,
        logs: Sequence[Mapping[str, Any]] | RecordsReader,
        info: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        dropped: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.reader: Reader = logs if isinstance(logs, RecordsReader) else LogReader(logs)
        self.info, self.config, self.dropped = info or {}, config or {}, dropped

    @property
    def logs(self) -> Sequence[Mapping[str, Any]]:
        """All of them, as dicts: of a run these take some us each to make."""
        return self.reader.logs

    @cached_property
    def sessions(self) -> Sessions | None:
        """Those of a journal, where there are more than one."""
        return Sessions.of(self.info.get("sessions"))

    def _joined(self, rows: Rows) -> Rows:
        if self.sessions is None:
            return rows
        return self.sessions.joined(rows, (self.reader.log(place).get("session") for place in rows.places.tolist()))

    @cached_property
    def rows(self) -> Rows:
        """The pauses between sessions are left out of all their times."""
        return self._joined(replace(self.reader.rows(), planned=self.window))

    def log(self, row: int) -> Mapping[str, Any]:
        """What is known of one task, but for `in_flight`."""
        return self.reader.log(int(self.rows.places[row]))

    @cached_property
    def began(self) -> float:
        """When the run's first task was due or started, or its window began, Unix seconds; 0 without a row. Charts
        count from here."""
        if not len(self.rows):
            return 0.0
        first, window = float(np.fmin(self.dues.min(), self.rows.begun.min())), self.rows.planned
        return first if window is None else min(first, window[0])

    @cached_property
    def ended(self) -> float:
        if not len(self.rows):
            return 0.0
        last, window = float(self.rows.ends.max()), self.rows.planned
        return last if window is None else max(last, window[1])

    @cached_property
    def dues(self) -> Floats:
        """When each task was meant to start; its start where the log does not say."""
        waits = self.rows.queue_delays
        if waits is None:
            return self.rows.begun
        with np.errstate(invalid="ignore"):
            known = np.abs(waits) <= _LONGEST_WAIT
        due: Floats = self.rows.begun - np.where(known, waits, 0.0)
        return due

    @cached_property
    def dropped_dues(self) -> Floats:
        """When each task was due that was to be measured, and was dropped."""
        times = [one.get("scheduled_at") for one in self.dropped if one.get("phase", "main") == "main"]
        return np.array([float(at) for at in times if _is_moment(at)], np.float64)

    @cached_property
    def offered(self) -> Floats:
        """When each task was due that was to be measured, those that were dropped included."""
        lost = self.dropped_dues
        return np.concatenate([self.dues, lost[(lost >= self.began) & (lost <= self.ended)]])

    @cached_property
    def last_due(self) -> float:
        """When the last task was due; 0 without one."""
        return float(self.offered.max()) if len(self.rows) else 0.0

    @cached_property
    def window(self) -> tuple[float, float] | None:
        """From when to when the tasks of a load were planned to be due (Unix seconds), warm-up and cool-down left out,
        up to when it was stopped; None where there is no such plan, or nobody knows."""
        load = self.info.get("load")
        load = load if isinstance(load, Mapping) and self.sessions is None else {}
        begin, end = load.get("from", 0), load.get("until", 0)
        known = _is_moment(begin) and _is_moment(end) and begin < end
        return (float(begin), float(end)) if known else None

    @cached_property
    def max_workers(self) -> float | None:
        """How many tasks could run at once: infinite without a cap, None where nobody knows."""
        load = self.info.get("load")
        most = load.get("max_workers", 0) if isinstance(load, Mapping) else 0
        return math.inf if most is None else most if isinstance(most, int) and most > 0 else None

    @cached_property
    def all_rows(self) -> Rows:
        """`rows` and those of a warm-up or cool-down: they keep workers busy, too."""
        return self._joined(self.reader.rows_of_all_phases()) if self.phases else self.rows

    @cached_property
    def attempts(self) -> NDArray[np.int_]:
        """How many the task of each row took."""
        return self.reader.attempts(self.rows.places)

    @cached_property
    def retries(self) -> tuple[int, int]:
        """(attempts after each task's first, tasks that had any)."""
        return int((self.attempts - 1).sum()), int(np.count_nonzero(self.attempts > 1))

    @cached_property
    def counts(self) -> dict[str, int]:
        """Tasks by status; of the run where that is known, else of the logs. Those not zero, and ok."""
        known = self.info.get("counts")
        counts = dict(known) if isinstance(known, Mapping) else self.reader.statuses()
        kept = {str(name): int(count) for name, count in counts.items() if count or name == "ok"}
        return {"ok": 0} | kept

    @property
    def total(self) -> int | None:
        """How many tasks there are, where a journal, or a run that goes on, says so and has not all of them yet."""
        total = self.info.get("total")
        return total if isinstance(total, int) and total > sum(self.counts.values()) else None

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """Tasks by outcome: `counts`, with those that ended ok as `succeeded` or, where any are none, `no success`."""
        without = self.reader.without_success()
        ok, *others = self.counts.items()
        return {"succeeded": ok[1] - without} | ({"no success": without} if without else {}) | dict(others)

    @cached_property
    def phases(self) -> dict[str, int]:
        """Logs by phase, where the run had a warm-up or a cool-down, or took tasks from a journal; {} where not."""
        named = self.reader.phases()
        return {shown(name, 40): count for name, count in named.items()} if set(named) - {"main"} else {}

    @cached_property
    def workers(self) -> tuple[NDArray[np.intp], list[str]]:
        """(which worker ran each row, their names in order); -1 where the log names none."""
        given = self.reader.workers(self.rows.places)
        known = set(map(_worker_key, given)) - {None}
        named = sorted(one for one in known if isinstance(one, str))
        numbers = [*sorted(one for one in known if not isinstance(one, str)), *named]
        code = {number: index for index, number in enumerate(numbers)}
        codes = np.fromiter((code.get(_worker_key(one), -1) for one in given), np.intp, len(given))
        return codes, [shown(number, 40) for number in numbers]

    @cached_property
    def failures(self) -> list[FailureGroup]:
        """Rows that are no success, by type and line of code; all counts are right, only the largest groups kept."""
        groups = group_failures(self.reader.failed(self.rows.places[~self.rows.ok]))
        return sorted(groups, key=lambda group: -group.count)[:_MOST_FAILURES_SHOWN]

    def slowest(self, most: int = 20) -> list[int]:
        """Rows that took longest (from when they were due, where that is known), the slowest first."""
        times = self.rows.times if self.rows.response_times is None else self.rows.ends - self.dues
        most = min(most, len(times))
        if not most:
            return []
        top = np.argpartition(-times, most - 1)[:most]
        return [int(row) for row in top[np.argsort(-times[top], kind="stable")]]


def _is_moment(at: object) -> TypeGuard[float]:
    return isinstance(at, float | int) and 0 < at < _LONGEST_WAIT


def _worker_key(worker: Any) -> Any:
    return worker if worker is None or isinstance(worker, int | str) else shown(worker, 40)
