"""A report's logs as CSV, a row per task."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from worker_dispatcher.reports.facts import Facts
from worker_dispatcher.reports.places import place_of
from worker_dispatcher.reports.verdict import cause_of_log, row_is_success
from worker_dispatcher.reports.wording import printable, shown

__all__ = ["COLUMNS", "cells_of_log", "rows_of", "safe_cell", "write_csv"]

COLUMNS = (
    *("task_id", "started_at", "ended_at", "duration", "success", "status", "attempts", "worker", "pid"),
    *("scheduled_at", "queue_delay", "response_time", "phase"),
    *("input", "error_type", "error_place", "error_message", "result"),
)
_PLAIN = COLUMNS[1:4] + COLUMNS[5:13]
_LONGEST = 1000  # characters of a result or message; whole results are in the logs
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def write_csv(facts: Facts, file: TextIO) -> None:
    """A header, then a row per log, in log order. Text that a spreadsheet would take for a formula gets
    an apostrophe before it; numbers are written as they are."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    writer.writerows([safe_cell(cell) for cell in cells] for cells in rows_of(facts))


def rows_of(facts: Facts) -> Iterator[list[Any]]:
    """The cells of every log, in log order; warm-up and malformed logs too, since they were run."""
    for log in facts.logs:
        if isinstance(log, Mapping):
            yield cells_of_log(log)


def cells_of_log(log: Mapping[str, Any]) -> list[Any]:
    """The values of COLUMNS for one log: numbers, bools and printable text; None where the log says nothing."""
    given = log.get("error")
    error: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    traceback = error.get("traceback")
    plain = [_plain(log.get(name)) for name in _PLAIN]
    return [
        _plain(log.get("task_id")),
        *plain[:3],
        row_is_success(log),
        *plain[3:],
        shown(log["input"], _LONGEST) if log.get("input") else None,
        shown(error.get("type") or cause_of_log(log), 80) or None,
        printable(place_of(traceback), 120) if isinstance(traceback, str) and traceback else None,
        shown(error["message"], _LONGEST) if error.get("message") else None,
        shown(log.get("result"), _LONGEST) if not error else None,
    ]


def safe_cell(cell: Any) -> Any:
    """Text that would be run as a formula when the file is opened, made text again."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_STARTS_A_FORMULA) else cell


def _plain(value: Any) -> Any:
    if value is None or type(value) in (int, float, bool):
        return value
    return shown(value, _LONGEST)
