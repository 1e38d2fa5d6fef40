"""Errors of a run, grouped by their type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

__all__ = ["Error", "ErrorGroup", "error_of_log", "group_errors", "render_errors"]

_IDS_KEPT = 5  # enough to look the tasks up; all of them are in the logs


Error = tuple[str, str, int | str | None]
"""Of one failed task: type name, message, task id (None if it has none)."""


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """count: tasks that failed so; message: of the first of them; task_ids: of the first five, in row order."""

    count: int
    message: str
    task_ids: tuple[int | str, ...]


def group_errors(errors: Iterable[Error]) -> dict[str, ErrorGroup]:
    """Group errors given in row order. Largest group first; ties in order of appearance."""
    counts: dict[str, int] = {}
    messages: dict[str, str] = {}
    ids: dict[str, list[int | str]] = {}
    for kind, message, task_id in errors:
        counts[kind] = counts.get(kind, 0) + 1
        messages.setdefault(kind, message)
        known = ids.setdefault(kind, [])
        if task_id is not None and len(known) < _IDS_KEPT:
            known.append(task_id)
    order = sorted(counts, key=lambda kind: -counts[kind])
    return {kind: ErrorGroup(counts[kind], messages[kind], tuple(ids[kind])) for kind in order}


def error_of_log(log: Mapping[str, Any]) -> Error | None:
    """What group_errors wants of one failed row.

    A row with a failed status and no error goes by its status. None for a row that only returned a falsy result:
    nothing was raised there.
    """
    task_id = _plain_id(log.get("task_id"))
    error = log.get("error")
    if isinstance(error, Mapping):
        return _text(error.get("type")), _text(error.get("message")), task_id
    status = log.get("status", "ok")
    return None if status == "ok" else (_text(status), "", task_id)


def render_errors(groups: Mapping[str, ErrorGroup]) -> dict[str, dict[str, Any]]:
    """The groups as plain data: {type: {count, message, task_ids}}."""
    return {
        kind: {"count": group.count, "message": group.message, "task_ids": list(group.task_ids)}
        for kind, group in groups.items()
    }


def _plain_id(task_id: Any) -> int | str | None:
    if task_id is None or isinstance(task_id, str):
        return task_id
    return int(task_id) if isinstance(task_id, Integral) else str(task_id)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return value.__name__ if isinstance(value, type) else str(value)
