"""get_tps: the report of a run as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from worker_dispatcher.records import Records
from worker_dispatcher.reports.intervals import Intervals, checked_interval, default_interval
from worker_dispatcher.reports.peak import find_peak, scan_peaks
from worker_dispatcher.reports.rate import in_flight, peak_rate, steady_tps
from worker_dispatcher.reports.readers import RecordsReader
from worker_dispatcher.reports.rows import Rows
from worker_dispatcher.reports.sessions import Sessions
from worker_dispatcher.reports.window_numbers import PERCENTILES, percentile_tables, summary_of_run

__tracebackhide__ = True  # see tracebacks

Emit = Callable[[str], None]
"""Takes one line of text, without its end, and shows it."""


def get_tps(
    source: Sequence[Mapping[str, Any]] | Records | Rows,
    display_intervals: bool = False,
    interval: float = 0,
    reverse_interval: bool = False,
    use_processing: bool = False,
    verbose: bool = False,
    debug: bool = False,
    *,
    percentiles: Iterable[float] = PERCENTILES,
    window: float = 1.0,
    whole: bool = False,
    emit: Emit | None = None,
) -> dict[str, Any]:
    """Rates, times and the peak of a run, as plain dicts, lists and numbers; last_run.get_tps says which.

    source: a sequence of dicts as from get_logs(), or the columns that they are made of, by the rule of 1.x for what is
    a success; malformed rows are counted in count.invalidity (Rows.from_logs says which). Or Rows, as they were read.
    use_processing: only names another worker in the debug lines. whole: see Intervals.of. emit: is given the lines.
    TypeError if source is no sequence; ValueError for an interval, percentile or window that is none.
    Cost: 1e6 dicts in about 1.5 s, half of it reading them.
    """
    rows, sessions = (source, None) if isinstance(source, Rows) else _read(source)
    length = checked_interval(interval)
    lines = _Lines(emit if verbose or debug else None, debug, use_processing)
    report = summary_of_run(rows)
    lines.begin(report)
    cut = _cut(rows, report, length, reverse_interval, whole, lines)
    report["peak"] = _peak(rows, report["tps"], cut, lines)
    if display_intervals:
        report["intervals"] = [cut.summary(position) for position in cut.order()] if cut else []
    report |= {name: make() for name, make in additions(rows, percentiles, window).items()}
    return report if sessions is None else sessions.told(report)


def _read(logs: Sequence[Mapping[str, Any]] | Records) -> tuple[Rows, Sessions | None]:
    if isinstance(logs, Records):
        return RecordsReader(logs, logs.logs).rows(as_in_1x=True), None
    rows, sessions = Rows.from_logs(logs, as_in_1x=True), Sessions.of(getattr(logs, "sessions", None))
    if sessions is None:  # what read_journal gives may have them
        return rows, None
    return sessions.joined(rows, (logs[place].get("session") for place in rows.places.tolist())), sessions


def additions(rows: Rows, percentiles: Iterable[float], window: float = 1.0) -> dict[str, Callable[[], Any]]:
    """What makes the keys beside those of a summary."""
    return {
        "percentiles": lambda: percentile_tables(rows, percentiles),
        "peak_rate": lambda: peak_rate(rows, window),
        "steady_tps": lambda: steady_tps(rows),
        "errors": lambda: deepcopy(dict(rows.errors)),
        "in_flight": lambda: in_flight(rows),
    }


def _cut(
    rows: Rows, report: Mapping[str, Any], length: float, newest_first: bool, whole: bool, lines: _Lines
) -> Intervals | None:
    """The run in intervals, or None without a success."""
    if not report["count"]["success"]:
        lines.no_intervals()
        return None
    step = length or default_interval(report["duration"], report["metrics"]["execution_time"]["avg"])
    lines.intervals(-step if newest_first else step)
    # The window of a load may be over before its last failure is: that is in an interval, too.
    last = max(report["ended_at"], float(rows.ends.max()))
    return Intervals.of(rows, report["started_at"], last, step, newest_first=newest_first, whole=whole)


def _peak(rows: Rows, average: float, cut: Intervals | None, lines: _Lines) -> dict[str, Any]:
    """The best interval if it beats the average, unless a window between whole seconds beats both; else {}."""
    peaks = dict(cut.peaks(average)) if cut else {}
    if cut:
        lines.each_interval(cut, peaks, average)
    threshold = max(peaks.values(), default=average)
    lines.peaks(rows, threshold)
    found = find_peak(rows, threshold)
    if found is not None:
        begin: Any = np.array([found.started_at])  # whole seconds stay whole
        return Intervals.between(rows, begin, begin + found.length).summary(0)
    return cut.summary(list(peaks)[-1]) if cut and peaks else {}


@dataclass(frozen=True, slots=True)
class _Lines:
    """The text of the steps. emit: None to say nothing; details: also what is found in each step."""

    emit: Emit | None
    details: bool
    use_processing: bool

    def begin(self, report: Mapping[str, Any]) -> None:
        self._step("--- Start calculating the TPS data ---")
        self._detail(
            f"  - Average TPS: {report['tps']}, Total Duration: {report['duration']}s, "
            f"Success Count: {report['count']['success']}"
        )

    def no_intervals(self) -> None:
        self._step("--- No sucessful task to compile intervals ---")  # sic: who looks for this line finds it

    def intervals(self, step: float) -> None:
        self._step(f"--- Start to compile intervals with an interval of {step} seconds ---")

    def each_interval(self, cut: Intervals, peaks: Mapping[int, float], average: float) -> None:
        if not (self.emit and self.details):
            return
        threshold = average
        for position in cut.order():
            began, ended, rate = float(cut.lows[position]), float(cut.highs[position]), float(cut.rate(position))
            self._detail(f"  - Interval - Start Time: {began}, End Time: {ended}, TPS: {rate}")
            if position in peaks:
                self._beaten(f"Interval TPS: {rate}, Main TPS: {threshold}")
                threshold = rate

    def peaks(self, rows: Rows, threshold: float) -> None:
        self._step("--- Start to find the peak TPS ---")
        if not (self.emit and self.details):
            return
        for scan in scan_peaks(rows, threshold):
            self._detail(
                f"  - Detecting from Start Time: {scan.started_at}, Count: {scan.begun}, "
                f"Current TPS Threshold: {scan.threshold}, Worker: {1 if self.use_processing else 'MainProcess'}"
            )
            for peak in scan.found:
                ended = peak.started_at + peak.length
                self._beaten(f"TPS: {peak.rate}, Started at: {peak.started_at}, Ended at: {ended}")

    def _beaten(self, by: str) -> None:
        self._detail(f"    * Peak detected above the current TPS threshold - {by}")

    def _step(self, line: str) -> None:
        if self.emit:
            self.emit(line)

    def _detail(self, line: str) -> None:
        if self.emit and self.details:
            self.emit(line)
