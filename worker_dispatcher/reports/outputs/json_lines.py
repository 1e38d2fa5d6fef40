"""A report as one JSON document, and logs as JSON lines from which a report can be made again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from worker_dispatcher.reports.safe_text import shown
from worker_dispatcher.reports.verdict import NO_SUCCESS, Kept, cause_of_log, row_is_success, row_is_success_in_1x

if TYPE_CHECKING:  # a log can be written whatever cannot be loaded
    from worker_dispatcher.reports.report_data import ReportData

_LONGEST = 10_000  # characters of the text that stands for a value that JSON cannot hold


def report_as_data(report: ReportData) -> dict[str, Any]:
    """Everything the page shows but the charts, as dicts, lists, text and finite numbers."""
    run, health, verdict = report.run, report.health, report.verdict
    return {
        "title": report.title,
        "counts": run.counts,
        "total": run.total,
        "outcomes": run.outcomes,
        "phases": run.phases,
        "remarks": report.remarks,
        "retries": dict(zip(("attempts", "tasks"), run.retries, strict=True)),
        "stopped": report.stopped,
        "tps": report.tps,
        "latencies": report.latencies,
        "generator": None if health is None else {"ok": health.ok, "verdict": health.sentence},
        "checks": None
        if verdict is None
        else [{"check": one.expression} | {key: getattr(one, key) for key in _OF_CHECKS} for one in verdict.findings],
        "failures": [asdict(group) for group in run.failures],
        "slowest": [asdict(slow) for slow in report.slowest],
        "config": dict(report.settings),
        "machine": dict(report.machine),
    }


_OF_CHECKS = ("observed", "limit", "holds")


def write_json(report: ReportData, file: TextIO) -> None:
    """ASCII only: whatever a task said is escaped, so that no reader chokes on it."""
    json.dump(report_as_data(report), file, indent=1, allow_nan=False)
    file.write("\n")


def write_jsonl(
    file: TextIO, logs: Iterable[Mapping[str, Any]], info: Mapping[str, Any], dropped: Iterable[Mapping[str, Any]]
) -> None:
    """A line per log, then a line of what else is known of the run. `report(path)` reads it.

    A value that JSON cannot hold is written as text, so each line has the verdict too: `success`, and in `no_success`
    why a task that ended ok is none. If the text would make a success of what get_tps counts as none (an empty array
    is not true, its text is), `result` is null and the text stands in `result_text`.
    """
    for log in logs:
        if isinstance(log, Mapping):
            file.write(_line_text(log) + "\n")
    if info:
        rest = {"run": _plain(info), "dropped": [_plain(one) for one in dropped]}
        file.write(json.dumps(rest, allow_nan=False) + "\n")


def _line_text(log: Mapping[str, Any]) -> str:
    line, kept = _line(log), log.get("result")
    if type(kept) is Kept and kept.json is not None and line["result"] is not None:
        del line["result"]
        return f'{json.dumps(line, allow_nan=False)[:-1]}, "result": {kept.whole()}}}'
    return json.dumps(line, allow_nan=False)


def _line(log: Mapping[str, Any]) -> dict[str, Any]:
    line = {shown(key): _plain(value) for key, value in log.items() if key != "task"}  # its `input` may be shown
    if row_is_success_in_1x(line) and not row_is_success_in_1x(log):
        line |= {"result": None, "result_text": line["result"]}
    cause = cause_of_log(log)
    return line | {"success": row_is_success(log)} | ({NO_SUCCESS: cause} if cause else {})


def _plain(value: Any) -> Any:
    """The value if JSON gives it back as it is, but for tuples and keys; else its text."""
    if value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value)):
        return value
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        if type(value) is dict and len(value) <= 1000:
            return {
                shown(key): one if one is None or type(one) in (str, int, bool) else shown(one, _LONGEST)
                for key, one in value.items()
            }
        return shown(value, _LONGEST)
    return value
