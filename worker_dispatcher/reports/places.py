"""Failures grouped by their cause: type, line of code they came from, and HTTP status."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.reports.failures import error_of_log
from worker_dispatcher.reports.verdict import cause_of_log
from worker_dispatcher.reports.wording import printable, shown

__all__ = ["Cause", "FailureGroup", "group_failures", "place_of"]

_FRAME = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+)', re.MULTILINE)
_HEAD = "Traceback (most recent call last):"
_NOT_OURS = re.compile(r"[/\\](?:site-packages|dist-packages|python3\.\d+|worker_dispatcher)[/\\]|^<frozen")
_SLASH = re.compile(r"[/\\]")
# How urllib, httpx, requests and aiohttp begin to say that a response had a status that is an error.
_STATUS = re.compile(r"(?:HTTP Error |(?:Client|Server) error '|Redirect response ')?([1-5]\d\d)(?=[: ,])")
_IDS_KEPT = 5
_LONGEST_INPUT = 40  # characters; the whole is in the log


class Cause(NamedTuple):
    """What failures have in common that are told of on one line. status: of the HTTP response that was raised for,
    which one line of code does for all of them; else ''."""

    type: str
    place: str
    status: str

    @staticmethod
    def of(kind: str, place: str = "", message: str = "") -> Cause:
        """message: of the exception, of type `kind`."""
        found = _STATUS.match(message[:60]) if "HTTP" in kind or kind == "ClientResponseError" else None
        return Cause(kind, place, found[1] if found else "")


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


def group_failures(logs: Iterable[Mapping[str, Any]]) -> list[FailureGroup]:
    """Group the logs of rows that are no success. Largest group first; ties in order of appearance."""
    groups: dict[Cause, FailureGroup] = {}
    places: dict[str, str] = {}  # a million tasks fail in a few ways
    for log in logs:
        kind, message, task_id = error_of_log(log) or (cause_of_log(log), "", log.get("task_id"))
        traceback = _traceback(log)
        place = places.get(traceback)
        if place is None:
            place = places[traceback] = place_of(traceback)
        cause = Cause.of(kind, place, message)
        group = groups.get(cause)
        if group is None:
            given = shown(log["input"], _LONGEST_INPUT) if log.get("input") else ""
            group = groups[cause] = FailureGroup(kind, place, message, given)
        group.count += 1
        if task_id is not None and len(group.task_ids) < _IDS_KEPT:
            group.task_ids.append(task_id if type(task_id) is int else shown(task_id, 40))
    return sorted(groups.values(), key=lambda group: -group.count)


def place_of(traceback: str) -> str:
    """'file.py:12': the last line of the user's own code in a traceback as text, else its last line; '' without one.

    A library's frame says little to who called it with a wrong value. Of chained exceptions the last one counts.
    """
    frames = _FRAME.findall(traceback[max(0, traceback.rfind(_HEAD)) :])
    if not frames:
        return ""
    own = [frame for frame in frames if not _NOT_OURS.search(frame[0])]
    file, line = (own or frames)[-1]
    return f"{_SLASH.split(file)[-1]}:{line}"


def _traceback(log: Mapping[str, Any]) -> str:
    error = log.get("error")
    text = error.get("traceback") if isinstance(error, Mapping) else ""
    return text if isinstance(text, str) else ""
