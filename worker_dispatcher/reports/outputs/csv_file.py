"""A report's logs as CSV, a row per task."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import methodcaller
from typing import Any, TextIO, TypeAlias

from worker_dispatcher.reports.failure_groups import place_of
from worker_dispatcher.reports.run_data import RunData
from worker_dispatcher.reports.safe_text import printable, shown
from worker_dispatcher.reports.verdict import cause_of_log, row_is_success
from worker_dispatcher.tracebacks import own

__tracebackhide__ = True  # see tracebacks

COLUMNS = (
    *("task_id", "started_at", "ended_at", "duration", "success", "status", "attempts", "worker", "pid"),
    *("scheduled_at", "queue_delay", "response_time", "phase"),
    *("input", "error_type", "error_place", "error_message", "result", "metadata"),
)
_PLAIN = COLUMNS[1:4] + COLUMNS[5:13]
_LONGEST = 1000  # characters of a result or message; whole results are in the logs
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


Fields: TypeAlias = Mapping[str, Callable[[dict[Any, Any]], Any]]
"""{column: function of metadata}."""

NO_FIELDS: Fields = {}

RawFields: TypeAlias = Mapping[str, str | Callable[[dict[Any, Any]], Any]] | Sequence[str]
"""As users give them: {column: key of metadata, or function of metadata}, or a list of keys."""


def fields_of(given: RawFields | None, run: RunData) -> Fields:
    """TypeError for what is neither a dict nor a list. Warns of a key that no task has noted: it may be misspelt."""
    if given is None:
        return {}
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise TypeError(f"raw_fields must be a dict or a list of keys of metadata, got {given!r}")
    named: Mapping[str, Any] = given if isinstance(given, Mapping) else {key: key for key in given}
    _warn_of_unknown({wanted for wanted in named.values() if not callable(wanted)}, run)
    return {
        _apart(str(name)): wanted if callable(wanted) else methodcaller("get", wanted) for name, wanted in named.items()
    }


def _apart(name: str) -> str:
    """The name of a column of notes: who reads a row as a dict would lose one of two columns of one name."""
    return f"metadata.{name}" if name in COLUMNS else name


def _warn_of_unknown(keys: set[Any], run: RunData) -> None:
    noted: dict[Any, None] = {}
    for place in range(len(run.reader)):
        if not keys - noted.keys():
            return
        log = run.reader.log(place)
        notes = log.get("metadata") if isinstance(log, Mapping) else None
        noted |= dict.fromkeys(notes if isinstance(notes, Mapping) else ())
    known = [str(one) for one in noted]
    for key in keys - noted.keys() if len(run.reader) else ():
        import difflib  # only who is wrong needs it

        near = difflib.get_close_matches(str(key), known, 1)
        text = f"raw_fields: no task has noted {key!r} in its metadata, so its column is empty"
        text += f"; did you mean {near[0]!r}?" if near else f"; noted are {', '.join(known[:10]) or 'none'}"
        warnings.warn(text, stacklevel=4)  # past the methods of Report, to the line of the user


def values_of(fields: Fields, log: Mapping[str, Any]) -> Iterator[Any]:
    """One for each column. They are the user's functions, so whatever one raises stands in its cell."""
    metadata = log.get("metadata")
    noted = metadata if isinstance(metadata, dict) else {}
    for wanted in fields.values():
        try:
            yield wanted(noted)
        except own(Exception) as error:
            yield f"{type(error).__name__}: {shown(str(error), 200)}"


def write_csv(run: RunData, file: TextIO, fields: Fields = NO_FIELDS) -> None:
    """A header, then a row per log, in log order; warm-up and malformed logs too, since they were run. Text that a
    spreadsheet would take for a formula gets an apostrophe before it; numbers are written as they are.
    fields: more columns.
    """
    writer = csv.writer(file)
    writer.writerow([*COLUMNS, *(_safe_cell(printable(name, 200)) for name in fields)])
    for log in run.logs:
        if isinstance(log, Mapping):
            cells = [*cells_of_log(log), *map(_plain, values_of(fields, log))]
            writer.writerow(map(_safe_cell, cells))


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
        _noted(log.get("metadata")),
    ]


def _safe_cell(cell: Any) -> Any:
    """Text that would be run as a formula when the file is opened, made text again."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_STARTS_A_FORMULA) else cell


def _plain(value: Any) -> Any:
    if value is None or type(value) in (int, float, bool):
        return value
    return shown(value, _LONGEST)


def _noted(metadata: Any) -> str | None:
    """Notes of a task as JSON, so that a program can read them again; None of those that are none."""
    if not isinstance(metadata, Mapping) or not metadata:
        return None
    try:
        text = json.dumps(metadata, default=shown, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # keys that JSON has none of, a dict in itself
        text = shown(metadata, _LONGEST)
    return shown(text, _LONGEST)
