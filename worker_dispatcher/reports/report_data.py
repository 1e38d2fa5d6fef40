"""Everything that the outputs show of a run, computed once and shared by all of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from worker_dispatcher.reports.check import Verdict, check
from worker_dispatcher.reports.health import Health, generator_health
from worker_dispatcher.reports.rate import notable_peak
from worker_dispatcher.reports.run_data import RunData
from worker_dispatcher.reports.safe_text import printable, shown
from worker_dispatcher.reports.timeline import Bins, bins_of
from worker_dispatcher.reports.tps import get_tps
from worker_dispatcher.reports.window_numbers import PERCENTILES, percentile_name, percentiles_of
from worker_dispatcher.units import count_text, counted, rate_text, seconds_text, share_text

__tracebackhide__ = True  # see tracebacks

SHOWN_PERCENTILES = (50, 75, 90, 95, 99, 99.9)


@dataclass(frozen=True, slots=True)
class Slow:
    """One of the slowest tasks. started: seconds since the run began; response: from its due time, None if unknown."""

    task_id: str
    worker: str
    started: float
    duration: float
    response: float | None
    status: str
    said: str


@dataclass(frozen=True, eq=False)
class ReportData:
    """run: what was read; checks: thresholds to hold it against; window: least seconds of the peak rate."""

    run: RunData
    title: str = "Run report"
    checks: tuple[str, ...] = ()
    window: float = 1.0
    interval: float = 0

    @cached_property
    def tps(self) -> dict[str, Any]:
        """The get_tps dict, with intervals."""
        sessions = self.run.sessions
        return self._joined if sessions is None else sessions.told(self._joined)

    @cached_property
    def _joined(self) -> dict[str, Any]:
        """The same, with the moments that charts go by: without the pauses between sessions."""
        percents = {*PERCENTILES, *SHOWN_PERCENTILES}
        return get_tps(
            self.run.rows,
            display_intervals=True,
            interval=self.interval,
            percentiles=sorted(percents),
            window=self.window,
            whole=True,
        )

    def check(self, expressions: str | Iterable[str]) -> Verdict:
        """Hold the run against thresholds; see reports.check."""
        counts = dict.fromkeys(("error", "timeout", "crashed", "cancelled", "not_run", "dropped"), 0)
        known = counts | self.run.counts if self.run.info.get("counts") else self.run.counts
        return check(self.run.rows, expressions, counts=known)

    @cached_property
    def verdict(self) -> Verdict | None:
        return self.check(self.checks) if self.checks else None

    @cached_property
    def health(self) -> Health | None:
        return generator_health(self.run)

    @cached_property
    def bins(self) -> Bins:
        return bins_of(self.run)

    @cached_property
    def latencies(self) -> dict[str, dict[str, float]]:
        """The latency table: 'from start', 'from due time' and 'waited to start', of a run with retries 'last attempt'
        in the place of the first, and 'with retries'; of each seconds by name: nearest rank, then the largest. Empty
        without a row."""
        rows = self.run.rows
        names = [percentile_name(percent) for percent in SHOWN_PERCENTILES]
        columns = [
            (self.from_start, "execution_time", rows.times),
            ("with retries", "task_time", rows.task_times),
            ("from due time", "response_time", rows.response_times),
            ("waited to start", "queue_delay", rows.queue_delays),
        ]
        found = {}
        for label, key, column in columns:
            table = self.tps["percentiles"].get(key)
            if column is not None and table:
                longest = percentiles_of(column, [100])["p100"]
                found[label] = {name: table[name] for name in names} | {"max": longest}
        return found

    @property
    def from_start(self) -> str:
        """What times are called that count from a task's start: of one that was retried, its last."""
        return "last attempt" if self.run.retries[0] else "from start"

    @property
    def remarks(self) -> list[str]:
        """Sentences, without an end, on what the numbers are of; the same in all outputs."""
        said = [_STILL_RUNNING] if self.run.info.get("running") else []
        said += [] if self.run.sessions is None else [str(self.run.sessions)]
        if self.run.phases:
            phases = ", ".join(f"{name} {count_text(count)}" for name, count in self.run.phases.items())
            said.append(f"phases: {phases}; the numbers are of the main phase")
        more, tasks = self.run.retries
        if more:
            said.append(f"retries: {counted(more, 'attempt')} more, of {counted(tasks, 'task')}")
        return said

    @cached_property
    def slowest(self) -> list[Slow]:
        return [self._slow(row) for row in self.run.slowest()]

    def _slow(self, row: int) -> Slow:
        rows, log = self.run.rows, self.run.log(row)
        known = rows.response_times is not None
        error = log.get("error")
        said = _error_line(error) if isinstance(error, Mapping) else shown(log.get("result"), 120)
        return Slow(
            shown(log.get("task_id"), 40),
            shown(log.get("worker"), 40) if log.get("worker") is not None else "-",
            float(rows.starts[row]) - self.run.began,
            float(rows.times[row]),
            float(rows.ends[row] - self.run.dues[row]) if known else None,
            shown(log.get("status", "ok"), 40),
            said,
        )

    @property
    def nothing(self) -> str:
        """What is said where there is no task at all to tell of; else ''."""
        if len(self.run.reader) or any(self.run.counts.values()):
            return ""
        return "No task ran, or none has ended yet: there is nothing to tell."

    @property
    def peak(self) -> dict[str, Any] | None:
        """The stretch of the highest rate, where it is worth telling; its moments are as charts have them."""
        tps = self._joined
        return notable_peak(tps["peak_rate"], tps["tps"], tps["duration"], self.run.window is not None)

    @cached_property
    def headline(self) -> list[tuple[str, str, str]]:
        """(name, value, note) of the cards, most wanted first."""
        tps, counts = self.tps, self.run.counts
        total, success = tps["count"]["total"], tps["count"]["success"]
        due = "response_time" in tps["percentiles"]
        table = tps["percentiles"].get("response_time" if due else "execution_time", {})
        since = "from due time" if due else self.from_start
        ran = sum(counts.values()) - counts.get("not_run", 0) - counts.get("dropped", 0)
        failed, of = total - success, self.run.total
        peak, measured = self.peak, " of measured" if self.run.phases else ""
        return [
            (
                "Tasks",
                count_text(sum(counts.values())) + ("" if of is None else f" of {count_text(of)}"),
                f"{count_text(total)} measured" if self.run.phases else f"{count_text(ran)} ran",
            ),
            ("Succeeded", count_text(success), share_text(success, total) + measured if total else ""),
            ("Failed", count_text(failed), share_text(failed, total) if failed else "none"),
            ("Rate", rate_text(tps["tps"]), "successes, whole run" if failed else "whole run"),
            ("Peak", rate_text(peak["tps"]) if peak else "-", f"over {seconds_text(peak['duration'])}" if peak else ""),
            *((name, seconds_text(table[name]) if table else "-", since) for name in ("p50", "p95", "p99")),
            ("Duration", seconds_text(tps["duration"]), self._duration_note),
        ]

    @property
    def _duration_note(self) -> str:
        if self.run.sessions is not None:
            return "of all sessions"
        planned = self.run.rows.planned
        if planned is None:
            return "first start to last end"
        return "as planned" if self.run.rows.span == planned else "to the last success"

    @property
    def stopped(self) -> str | None:
        """Why the run ended early, None if it did not or nobody knows."""
        why = self.run.info.get("stopped")
        return shown(why, 120) if why else None

    @cached_property
    def settings(self) -> list[tuple[str, str]]:
        """What was configured, as (dotted name, value); values of tasks and of task.config are left out."""
        return [(printable(name), value) for name, value in _flat(self.run.config)]

    @cached_property
    def machine(self) -> list[tuple[str, str]]:
        """Where the report was made; empty where the run may have been elsewhere."""
        if not self.run.config:
            return []
        return [
            ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
            ("Processors", str(os.cpu_count() or "unknown")),
            ("System", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ]


_STILL_RUNNING = "still running when this was read; the numbers are of the tasks that had ended"
_PRIVATE = {"config", "list"}  # under `task`: the user's data


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        if prefix == "task." and key in _PRIVATE:
            found.append((name, _kind(value)))
        elif isinstance(value, Mapping):
            found += _flat(value, f"{name}.")
        else:
            found.append((name, getattr(value, "__qualname__", None) or shown(value, 80)))
    return found


def _kind(value: Any) -> str:
    """Type and size of a value that is nobody else's business."""
    if isinstance(value, int):
        return count_text(value)
    name = type(value).__name__
    return f"{name} of {count_text(len(value))}" if isinstance(value, list | tuple | dict | set | range) else name


def _error_line(error: Mapping[str, Any]) -> str:
    message = shown(error.get("message", ""), 120)
    kind = shown(error.get("type", ""), 60)
    return f"{kind}: {message}" if message else kind
