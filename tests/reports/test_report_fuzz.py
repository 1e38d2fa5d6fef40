"""Whatever stands in logs, every output can be written: logs may come from a file, or from another program."""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rounds import examples

from worker_dispatcher.reports.outputs.csv_file import fields_of, write_csv
from worker_dispatcher.reports.outputs.figures import figures_of
from worker_dispatcher.reports.outputs.json_lines import write_json, write_jsonl
from worker_dispatcher.reports.outputs.page import notebook_html, page_text
from worker_dispatcher.reports.outputs.picture import write_picture
from worker_dispatcher.reports.outputs.text import report_text
from worker_dispatcher.reports.outputs.workbook import write_workbook
from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.run_data import RunData

# Without shrinking: a picture takes a quarter of a second, and the logs are short as they are.
quick = settings(suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])

numbers = st.one_of(
    st.floats(),
    st.integers(-(10**20), 10**20),
    st.floats(0, 100),
    st.sampled_from([0, 0.0, -0.0, 2.0**52, 1.7e9, 1e-9, True]),
)
odd = st.one_of(st.none(), numbers, st.text(max_size=8), st.lists(st.integers(), max_size=2), st.just({"a": object()}))
usual = st.floats(1.7e9, 1.7e9 + 100)
error = st.one_of(odd, st.fixed_dictionaries({}, optional={"type": odd, "message": odd, "traceback": odd}))
logs_made = st.lists(
    st.one_of(
        odd,
        st.fixed_dictionaries(
            {"started_at": st.one_of(usual, numbers), "ended_at": st.one_of(usual, numbers), "result": odd},
            optional={
                "task_id": odd,
                "duration": st.one_of(st.floats(0, 10), odd),
                "status": st.one_of(st.sampled_from(["ok", "error", "timeout"]), odd),
                "error": error,
                "worker": odd,
                "attempts": odd,
                "metadata": odd,
                "scheduled_at": odd,
                "queue_delay": st.one_of(st.floats(-1, 10), odd),
                "response_time": st.one_of(st.floats(-1, 10), odd),
                "phase": st.one_of(st.sampled_from(["main", "warmup"]), odd),
            },
        ),
    ),
    max_size=6,
)


@given(logs_made)
@settings(quick, max_examples=examples(60))
def test_every_output_can_be_written(logs: list[Any]) -> None:
    digest = ReportData(RunData(logs), checks=("p99<1s", "error_rate<=100%"))
    text = report_text(digest)
    assert all(line.isprintable() for line in text.splitlines())
    assert report_text(digest, ascii_only=True).isascii()
    assert notebook_html(digest)
    json.dumps([[figure.data, figure.layout] for figure in figures_of(digest)], allow_nan=False)
    lines, document, table = io.StringIO(), io.StringIO(), io.StringIO()
    write_jsonl(lines, digest.run.logs, digest.run.info, digest.run.dropped)
    write_json(digest, document)
    write_csv(digest.run, table)
    for line in [*lines.getvalue().splitlines(), document.getvalue()]:
        json.loads(line)
    assert page_text(digest)


@given(logs_made)
@settings(quick, max_examples=examples(8))
def test_every_picture_and_workbook_can_be_written(logs: list[Any]) -> None:
    digest = ReportData(RunData(logs))
    picture, workbook = io.BytesIO(), io.BytesIO()
    write_picture(digest, picture)
    write_workbook(digest, workbook, fields_of({"a": lambda notes: notes["a"]}, digest.run))
    assert picture.getvalue().startswith(b"\x89PNG")
    assert workbook.getvalue().startswith(b"PK")
