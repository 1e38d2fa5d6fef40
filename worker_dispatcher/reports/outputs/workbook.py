"""A report as an xlsx workbook: numbers with native charts, the run in intervals, and a row per task.

Every text is written as text, whatever it begins with, and numbers as numbers. Rows are written in order and leave the
memory at once (constant_memory), so a sheet's cells must be written from top to bottom.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO

import numpy as np

from worker_dispatcher.reports.outputs import load
from worker_dispatcher.reports.outputs.csv_file import COLUMNS, NO_FIELDS, Fields, cells_of_log, values_of
from worker_dispatcher.reports.outputs.figures import COLORS
from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.safe_text import printable, shown
from worker_dispatcher.reports.timeline import percentiles_over_time
from worker_dispatcher.tracebacks import own

MOST_ROWS = 1_048_576  # of a sheet, by the file format
_LONGEST = 32_000  # characters of a cell; the format ends at 32 767
_LARGEST = 2**53  # what a cell's number holds exactly
_EPOCH = 25_569  # 1970-01-01 in the days of a spreadsheet
_DATES = {"started_at", "ended_at", "scheduled_at"}
_OF_LOAD_TESTS = {"scheduled_at", "queue_delay", "response_time"}
_PERCENTS = (50, 95, 99)


def write_workbook(report: ReportData, target: str | BinaryIO, fields: Fields = NO_FIELDS) -> None:
    """Sheets Report, Timeline, Intervals, Raw Logs (Raw Logs 2, ... beyond a sheet's rows).

    target: path, or an open file; fields: more columns; a function that raises leaves its error in the cell.
    ImportError without XlsxWriter.
    Cost: about 70 us a task.
    """
    xlsxwriter = load("xlsx")
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(target, options) as workbook:
        book = _Book(workbook, report)
        book.report()
        if len(report.run.rows):
            book.timeline()
        book.intervals()
        book.raw_logs(fields)


class _Book:
    """One workbook while it is written. workbook: of XlsxWriter, of which nothing is known here but its methods."""

    def __init__(self, workbook: Any, report: ReportData) -> None:
        self._workbook, self._report = workbook, report
        self._head = workbook.add_format({"bold": True, "bottom": 1})
        self._bold = workbook.add_format({"bold": True})
        self._date = workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000", "align": "left"})
        self._share = workbook.add_format({"num_format": "0.00%", "align": "left"})
        self._left = workbook.add_format({"align": "left"})
        self._offset = _utc_offset(report.run.began)

    def report(self) -> None:
        sheet = self._workbook.add_worksheet("Report")
        sheet.set_column(0, 0, 30)
        sheet.set_column(1, 1, 26)
        sheet.set_column(2, 9, 14)
        if len(self._report.run.rows):
            self._charts(sheet)
        for row, (name, *values) in enumerate(self._report_rows()):
            heading = not values
            sheet.write_string(row, 0, name, self._bold if heading else None)
            for column, value in enumerate(values, 1):
                self._write(sheet, row, column, value)

    def _report_rows(self) -> Iterator[tuple[Any, ...]]:
        report, tps = self._report, self._report.tps
        yield (printable(report.title, 200),)
        if report.health is not None:
            yield "Load generator", report.health.sentence
        if report.stopped:
            yield "Stopped early", report.stopped
        yield from (("Note", remark) for remark in report.remarks)
        yield from _summary_rows(tps)
        peak = tps["peak_rate"] if report.peak else None
        names = [("", *values) for values in report.latencies.values()][:1]
        sections: dict[str, Iterable[tuple[Any, ...]]] = {
            "Outcomes": report.run.outcomes.items(),
            "Phases": report.run.phases.items(),
            "Peak": [("TPS", peak["tps"]), *_time_rows(peak), ("Successes", peak["count"])] if peak else (),
            "Latency (sec)": [*names, *((of, *values.values()) for of, values in report.latencies.items())],
            "Checks": [
                (one.expression, "holds" if one.holds else "FAILS", one.observed)
                for one in (report.verdict.findings if report.verdict is not None else ())
            ],
            "Failures": [
                (printable(group.type, 80), group.place, group.count, printable(group.message, 1000))
                for group in report.run.failures
            ],
        }
        for name, rows in sections.items():
            if rows:
                yield from [("",)] * (name != "Phases")
                yield (name,)
                yield from rows

    def timeline(self) -> None:
        """What the charts show: the run in bins."""
        run, bins = self._report.run, self._report.bins
        names = ["Second", "Offered per second", "Succeeded per second", "Failed per second", "p50", "p95", "p99"]
        columns = [
            np.round(bins.edges[:-1], 6),
            *(counts / bins.step for counts in (bins.offered, bins.succeeded, bins.failed)),
            *percentiles_over_time(run, run.rows.times, bins, _PERCENTS),
        ]
        if run.rows.response_times is not None:
            names += ["p50 from due time", "p95 from due time", "p99 from due time"]
            columns += percentiles_over_time(run, run.rows.response_times, bins, _PERCENTS)
        self._table("Timeline", names, zip(*(column.tolist() for column in columns), strict=True))

    def intervals(self) -> None:
        names = [
            *("TPS", "Started at", "Ended at", "Duration (sec)", "Success", "Total (Done)", "Request", "Response"),
            *("Average Execution Time", "Success Average Execution Time"),
        ]
        rows = (
            [
                one["tps"],
                _Moment(one["started_at"]),
                _Moment(one["ended_at"]),
                one["duration"],
                *(one["count"][name] for name in ("success", "total", "start", "end")),
                *(one["metrics"][name]["avg"] for name in ("execution_time", "success_execution_time")),
            ]
            for one in self._report.tps["intervals"]
        )
        self._table("Intervals", names, rows)

    def raw_logs(self, fields: Fields) -> None:
        run = self._report.run
        left_out = set() if run.rows.response_times is not None else set(_OF_LOAD_TESTS)
        left_out |= set() if run.phases else {"phase"}
        kept = [index for index, name in enumerate(COLUMNS) if name not in left_out]
        dates = [COLUMNS[index] in _DATES for index in kept]
        names = [_HEADINGS.get(COLUMNS[index], COLUMNS[index].replace("_", " ").capitalize()) for index in kept]

        def rows() -> Iterator[list[Any]]:
            for log in run.logs:
                if not isinstance(log, Mapping):
                    continue
                cells = cells_of_log(log)
                plain = [_dated(cells[i]) if date else cells[i] for i, date in zip(kept, dates, strict=True)]
                yield [*plain, *values_of(fields, log)]

        self._table("Raw Logs", [*names, *fields], rows())

    def _table(self, name: str, names: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
        sheets, sheet, at = 0, None, 0
        for cells in rows:
            if sheet is None or at == MOST_ROWS:
                sheets, at = sheets + 1, 1
                sheet = self._sheet(name if sheets == 1 else f"{name} {sheets}", names)
            for column, cell in enumerate(cells):
                self._write(sheet, at, column, cell)
            at += 1
        if sheet is None:
            self._sheet(name, names)

    def _sheet(self, name: str, names: Sequence[str]) -> Any:
        sheet = self._workbook.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        for column, heading in enumerate(names):
            date = heading.endswith(" at")
            sheet.set_column(column, column, 22 if date else min(40, max(11, len(heading) + 2)))
            sheet.write_string(0, column, printable(heading, 200), self._head)
        return sheet

    def _write(self, sheet: Any, row: int, column: int, value: Any) -> None:
        kind = type(value)
        if kind is float or kind is int:
            if math.isfinite(value) and abs(value) <= _LARGEST:
                sheet.write_number(row, column, value, self._left if sheet.name == "Report" else None)
            elif value == value:  # NaN is an empty cell
                sheet.write_string(row, column, str(value)[:_LONGEST])
        elif kind is str:
            sheet.write_string(row, column, printable(value, _LONGEST))
        elif kind is bool:
            sheet.write_boolean(row, column, value)
        elif kind is _Moment:
            self._write_moment(sheet, row, column, value)
        elif kind is _Share:
            sheet.write_number(row, column, value, self._share)
        elif value is not None:
            sheet.write_string(row, column, shown(value, _LONGEST))

    def _write_moment(self, sheet: Any, row: int, column: int, moment: _Moment) -> None:
        days = (float(moment) + self._offset) / 86_400 + _EPOCH
        if 1 <= days < 2_958_466:  # the years 1900 to 9999
            sheet.write_number(row, column, days, self._date)
        elif moment == moment:
            self._write(sheet, row, column, float(moment))

    def _charts(self, sheet: Any) -> None:
        last = len(self._report.bins)
        due = self._report.run.rows.response_times is not None
        rate = self._workbook.add_chart({"type": "column", "subtype": "stacked"})
        for column, name in ((2, "succeeded"), (3, "failed")):
            fill = {"fill": {"color": COLORS[name]}, "gap": 0}
            rate.add_series({"name": name, **_ranges(column, last), **fill})
        if due:
            offered = self._workbook.add_chart({"type": "line"})
            offered.add_series(
                {"name": "offered", **_ranges(1, last), "line": {"color": COLORS["offered"], "width": 1}}
            )
            rate.combine(offered)
        latency = self._workbook.add_chart({"type": "line"})
        for group in range(2 if due else 1):
            for offset, percent in enumerate(_PERCENTS):
                line = {"color": COLORS[f"p{percent}"], "width": 1.5, "dash_type": "dash" if group else "solid"}
                name = f"p{percent}{' due' if group else ''}"
                latency.add_series({"name": name, **_ranges(4 + 3 * group + offset, last), "line": line})
        for place, title, unit, chart in (("L2", "Tasks per second", "", rate), ("L19", "Latency", "seconds", latency)):
            chart.set_title({"name": title, "name_font": {"size": 12}})
            chart.set_x_axis({"name": "seconds since the start", "interval_unit": max(1, last // 10)})
            chart.set_y_axis({"name": unit, "min": 0})
            chart.set_legend({"position": "bottom"})
            chart.set_size({"width": 640, "height": 320})
            sheet.insert_chart(place, chart)


class _Moment(float):
    """Unix time, written as a date in local time."""


class _Share(float):
    """0 to 1, written in percent."""


_HEADINGS = {"task_id": "Task ID", "duration": "Duration (sec)", "pid": "PID", "error_place": "Error line"} | {
    name: f"{name.replace('_', ' ').capitalize()} (sec)" for name in ("queue_delay", "response_time")
}


def _dated(cell: Any) -> Any:
    return _Moment(cell) if type(cell) in (float, int) else cell  # a malformed log may have none


def _ranges(column: int, last: int) -> dict[str, Any]:
    return {"categories": ["Timeline", 1, 0, last, 0], "values": ["Timeline", 1, column, last, column]}


def _summary_rows(summary: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    count, metrics = summary["count"], summary["metrics"]
    yield "TPS", summary["tps"]
    yield from _time_rows(summary)
    yield "Tasks", count["total"]
    yield "Successes", count["success"]
    yield "Success rate", _Share(count["success"] / count["total"] if count["total"] else 0)
    if "invalidity" in count:
        yield "Malformed logs", count["invalidity"]
    for prefix, name in (("", "execution_time"), ("Success ", "success_execution_time")):
        for word, key in (("average", "avg"), ("maximum", "max"), ("minimum", "min")):
            yield f"{prefix}{word} execution time (sec)".capitalize(), metrics[name][key]


def _time_rows(window: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    yield "Started at", _Moment(window["started_at"])
    yield "Ended at", _Moment(window["ended_at"])
    yield "Duration (sec)", window["duration"]


def _utc_offset(wall: float) -> float:
    """Seconds by which local time was ahead then; 0 for a moment that no calendar has."""
    try:
        offset = datetime.fromtimestamp(wall, UTC).astimezone().utcoffset()
    except own(OverflowError, OSError, ValueError):
        return 0.0
    return offset.total_seconds() if offset else 0.0
