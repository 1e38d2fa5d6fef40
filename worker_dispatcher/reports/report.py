"""Report: what a run's records say, to be read, written to files or held against thresholds."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from worker_dispatcher.reports.check import Verdict, expect_checks
from worker_dispatcher.reports.health import Health
from worker_dispatcher.reports.outputs import expect_name
from worker_dispatcher.reports.outputs.csv_file import RawFields, fields_of, write_csv
from worker_dispatcher.reports.outputs.json_lines import report_as_data, write_json, write_jsonl
from worker_dispatcher.reports.outputs.page import notebook_html, page_text
from worker_dispatcher.reports.outputs.picture import write_picture
from worker_dispatcher.reports.outputs.text import report_text
from worker_dispatcher.reports.outputs.workbook import write_workbook
from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.rows import Rows
from worker_dispatcher.reports.run_data import RunData, run_data_of
from worker_dispatcher.zipped import open_to_write

__tracebackhide__ = True  # see tracebacks

FilePath: TypeAlias = "str | os.PathLike[str]"


def make_report(
    source: object,
    *,
    title: str | None = None,
    checks: str | Iterable[str] = (),
    window: float = 1.0,
    interval: float = 0,
) -> Report:
    """A report of a run, a list of logs, or a .jsonl or .jsonl.gz file of them.

    checks: thresholds shown with the rest (`reports.check` has the grammar); window: least seconds of the peak rate;
    interval: seconds of the intervals in tables, 0 to choose one.
    TypeError for a source that is none; ValueError for a check, window or interval that is none.
    """
    asked = expect_checks(checks)
    if not (0 < window < math.inf and 0 <= interval < math.inf):
        raise ValueError(f"window must be over 0 s and interval at least 0 s, got {window!r} and {interval!r}")
    run = source.run if isinstance(source, Report) else run_data_of(source)
    return Report(ReportData(run, title or "Run report", asked, window, interval))


class Report:
    """What a run's records say. Made of a finished run it does not change; its numbers are made when first asked for.

    str() gives the text for a terminal; `check` a Verdict; the to_... methods write one file each and return its path.
    Files are overwritten. A form whose package is missing raises ImportError, naming the extra that has it; a path that
    names another kind of file, ValueError.
    raw_fields: more columns for tasks, from what they noted in `metadata`: {column: key, or function of the metadata},
    or a list of keys. What such a function raises stands in its cell, and text is never a formula or markup.
    """

    def __init__(self, data: ReportData) -> None:
        self._data = data

    @property
    def run(self) -> RunData:
        """The logs, and what else is known of the run."""
        return self._data.run

    @property
    def rows(self) -> Rows:
        """The columns that the numbers come from."""
        return self._data.run.rows

    @property
    def tps(self) -> dict[str, Any]:
        """What get_tps(display_intervals=True) gives."""
        return self._data.tps

    @property
    def verdict(self) -> Verdict | None:
        """Of the checks that the report was made with; None without any."""
        return self._data.verdict

    @property
    def health(self) -> Health | None:
        """Whether the load generator kept up; None for a run without due times."""
        return self._data.health

    def check(self, expressions: str | Iterable[str] | None = None) -> Verdict:
        """Hold the run against thresholds: check(["p99<300ms", "error_rate<1%"]) is true if all hold. Without any,
        against those that the report was made with; ValueError where it was made without."""
        if expressions is not None:
            return self._data.check(expressions)
        if self.verdict is None:
            raise ValueError(
                'there is nothing to check: give checks, as in check(["p99<300ms"]), or make the report with them'
            )
        return self.verdict

    def as_data(self) -> dict[str, Any]:
        """What `to_json` writes."""
        return report_as_data(self._data)

    def text(self, *, ascii_only: bool = False, columns: int | None = None) -> str:
        """For a terminal of so many columns; None for those of the program's terminal, 80 and more are the same."""
        return report_text(self._data, ascii_only=ascii_only, columns=columns)

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__  # so that a prompt shows it

    def _repr_html_(self) -> str:
        return notebook_html(self._data)

    def to_html(self, path: FilePath, *, raw_fields: RawFields | None = None) -> Path:
        """One page with interactive charts that needs no network; 5 MB. Extra [report]. raw_fields are columns of its
        slowest tasks."""
        expect_name("html", path)
        page = page_text(
            self._data, fields_of(raw_fields, self.run)
        )  # before the file is touched: plotly may not be there
        Path(path).write_text(page, encoding="utf-8")
        return Path(path)

    def to_png(self, path: FilePath) -> Path:
        """One picture, 1280 x 900. Extra [report]."""
        expect_name("png", path)
        drawn = io.BytesIO()
        write_picture(self._data, drawn)
        Path(path).write_bytes(drawn.getvalue())
        return Path(path)

    def to_xlsx(self, path: FilePath, *, raw_fields: RawFields | None = None) -> Path:
        """A workbook with native charts, the intervals, and a row per task. Extra [xlsx]."""
        expect_name("xlsx", path)
        write_workbook(self._data, os.fspath(path), fields_of(raw_fields, self.run))
        return Path(path)

    def to_json(self, path: FilePath) -> Path:
        """All numbers as one JSON document."""
        expect_name("json", path)
        with Path(path).open("w", encoding="ascii") as file:
            write_json(self._data, file)
        return Path(path)

    def to_jsonl(self, path: FilePath) -> Path:
        """The logs, one JSON object a line, compressed if the name ends in .gz; `report(path)` reads them again."""
        expect_name("jsonl", path)
        with open_to_write(path) as file:
            write_jsonl(file, self.run.logs, self.run.info, self.run.dropped)
        return Path(path)

    def to_csv(self, path: FilePath, *, raw_fields: RawFields | None = None) -> Path:
        """The logs, one row a task; `metadata` is JSON."""
        expect_name("csv", path)
        fields = fields_of(raw_fields, self.run)  # before the file is touched: it may be none
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            write_csv(self._data.run, file, fields)
        return Path(path)
