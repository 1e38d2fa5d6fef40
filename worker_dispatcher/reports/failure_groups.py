"""Failures of a run: grouped by type, as get_tps gives them; and by cause: type, line of code, HTTP status."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.records import OK, STATUS_NAMES, Records
from worker_dispatcher.reports.safe_text import printable, shown
from worker_dispatcher.reports.verdict import cause_of_log, no_success

_FRAME = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+)', re.MULTILINE)
_HEAD = "Traceback (most recent call last):"
_NOT_OURS = re.compile(r"[/\\](?:site-packages|dist-packages|python3\.\d+|worker_dispatcher)[/\\]|^<frozen")
_CELL = re.compile(r"[/\\]ipykernel_\d+[/\\]\d+\.py$")  # what a notebook calls a cell, by a digest of its text
_SLASH = re.compile(r"[/\\]")
# How urllib, httpx, requests and aiohttp begin to say that a response had a status that is an error.
_STATUS = re.compile(r"(?:HTTP Error |(?:Client|Server) error '|Redirect response ')?([1-5]\d\d)(?=[: ,])")
_IDS_KEPT = 5  # enough to look the tasks up; all of them are in the logs
_LONGEST_INPUT = 40  # characters; the whole is in the log


class Failed(NamedTuple):
    """One task that is no success. type: of its exception, or its status, or why it is none ('HTTP 503', 'returned
    False'); task_id: None if it has none."""

    type: str
    message: str
    task_id: Any
    traceback: str = ""
    input: Any = ""


def raised_of_log(log: Mapping[str, Any]) -> Failed | None:
    """What a log says of a task that did not end ok; with a failed status and no error it goes by its status. None for
    one that only returned what is no success: nothing was raised there."""
    task_id, error, given = _plain_id(log.get("task_id")), log.get("error"), log.get("input")
    if isinstance(error, Mapping):
        traceback = error.get("traceback")
        traceback = traceback if isinstance(traceback, str) else ""
        return Failed(_text(error.get("type")), _text(error.get("message")), task_id, traceback, given)
    status = log.get("status", "ok")
    return None if status == "ok" else Failed(_text(status), "", task_id, input=given)


def failed_of_log(log: Mapping[str, Any]) -> Failed:
    """What a log says of a task that is no success."""
    return raised_of_log(log) or Failed(cause_of_log(log), "", log.get("task_id"), input=log.get("input"))


def raised_in(records: Records, task_id: int) -> Failed | None:
    """`raised_of_log` of a run's records."""
    if (failure := records.failures.get(task_id)) is not None:
        return Failed(failure.type, failure.message, task_id, failure.traceback, failure.input)
    status = records.status[task_id - 1]
    return None if status == OK else Failed(STATUS_NAMES[status], "", task_id)


def failed_in(records: Records, task_id: int) -> Failed:
    """`failed_of_log` of a run's records."""
    return raised_in(records, task_id) or Failed(no_success(records.results[task_id - 1]), "", task_id)


def _plain_id(task_id: Any) -> int | str | None:
    if task_id is None or isinstance(task_id, str):
        return task_id
    return int(task_id) if isinstance(task_id, Integral) else str(task_id)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return value.__name__ if isinstance(value, type) else str(value)


def group_errors(failed: Iterable[Failed]) -> dict[str, dict[str, Any]]:
    """Group by type, as plain data: count of tasks, message of the first, task_ids of the first five in row order.
    Largest group first; ties in order of appearance."""
    groups: dict[str, dict[str, Any]] = {}
    for kind, message, task_id, *_ in failed:
        group = groups.setdefault(kind, {"count": 0, "message": message, "task_ids": []})
        group["count"] += 1
        if task_id is not None and len(group["task_ids"]) < _IDS_KEPT:
            group["task_ids"].append(task_id)
    return dict(sorted(groups.items(), key=lambda item: -item[1]["count"]))


@dataclass(slots=True)
class FailureGroup:
    """count: rows; type: of the exception, or what else it was ('HTTP 503', 'returned False'); place: 'file.py:12' or
    ''; message, input: of the first one, where it may be shown; task_ids: of the first ones."""

    type: str
    place: str
    message: str
    input: str = ""
    count: int = 0
    task_ids: list[int | str] = field(default_factory=list)

    def first_ids(self, most: int) -> str:
        """The first tasks for a line of text: '#17, #88'; the very first with its input."""
        ids = [f"#{printable(str(task_id), 20)}" for task_id in self.task_ids[:most]]
        return ", ".join([f"{ids[0]} {self.input}", *ids[1:]] if ids and self.input else ids)


def group_failures(failed: Iterable[Failed]) -> list[FailureGroup]:
    """Group by cause, in order of appearance: by type, line of code, and the status of an HTTP response that was raised
    for, since one line of code may raise for all of them."""
    groups: dict[tuple[str, str, str], FailureGroup] = {}
    places: dict[str, str] = {}  # a million tasks fail in a few ways
    for kind, message, task_id, traceback, given in failed:
        place = places.get(traceback)
        if place is None:
            place = places[traceback] = place_of(traceback)
        cause = kind, place, _http_status(kind, message)
        group = groups.get(cause)
        if group is None:
            group = groups[cause] = FailureGroup(kind, place, message, shown(given, _LONGEST_INPUT) if given else "")
        group.count += 1
        if task_id is not None and len(group.task_ids) < _IDS_KEPT:
            group.task_ids.append(task_id if type(task_id) is int else shown(task_id, 40))
    return list(groups.values())


def _http_status(kind: str, message: str) -> str:
    """Of the response that an exception of this type was raised for, by its message; else ''."""
    found = _STATUS.match(message[:60]) if "HTTP" in kind or kind == "ClientResponseError" else None
    return found[1] if found else ""


def place_of(traceback: str) -> str:
    """'file.py:12': the last line of the user's own code in a traceback as text, else its last line; '' without one.
    'cell:12' where that is a notebook's.

    A library's frame says little to who called it with a wrong value. Of chained exceptions the last one counts.
    """
    frames = _FRAME.findall(traceback[max(0, traceback.rfind(_HEAD)) :])
    if not frames:
        return ""
    own = [frame for frame in frames if not _NOT_OURS.search(frame[0])]
    file, line = (own or frames)[-1]
    return f"{'cell' if _CELL.search(file) else _SLASH.split(file)[-1]}:{line}"
