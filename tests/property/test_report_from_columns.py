"""What a report says of a run is the same, read from the run's columns and from the dicts of its logs."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import examples

from worker_dispatcher.clock import Anchor
from worker_dispatcher.records import (
    CANCELLED,
    CRASHED,
    DROPPED,
    ERROR,
    NOT_RUN,
    OK,
    OUTPUT,
    TIMEOUT,
    Failure,
    Outcome,
    Records,
)
from worker_dispatcher.reports.outputs.figures import figures_of
from worker_dispatcher.reports.outputs.json_lines import report_as_data
from worker_dispatcher.reports.readers import RecordsReader
from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.run_data import RunData
from worker_dispatcher.reports.tps import get_tps

TRACE = 'Traceback (most recent call last):\n  File "/home/user/sizes.py", line {}, in fetch\n    raise\nValueError\n'


def response(status: int) -> Any:
    kind = type("Response", (), {"__module__": "httpx", "__repr__": lambda self: f"<{self.status_code}>"})
    made: Any = kind()
    made.status_code = status
    return made


RESULTS = [None, True, False, 0, 1, "text", [], np.array([1, 2]), np.bool_(False), response(200), response(503)]
FAILURES = [
    None,
    Failure("ValueError", "no such order", TRACE.format(9), item=7, input="7"),
    Failure("ValueError", "another", TRACE.format(11), item="x" * 60, input="x" * 60),
    Failure("HTTPError", "HTTP Error 503: busy", TRACE.format(9)),
]
ENDS = [ERROR, TIMEOUT, CRASHED, CANCELLED, NOT_RUN, DROPPED]
SECONDS = st.floats(0, 20, allow_nan=False)


@dataclass
class Task:
    status: int
    start: float
    took: float
    wait: float
    result: Any
    failure: Failure | None
    worker: int
    attempts: int
    retried: bool
    notes: dict[Any, Any]


TASKS = st.builds(
    Task,
    st.one_of(st.just(OK), st.sampled_from(ENDS)),
    SECONDS,
    st.one_of(st.just(0.0), SECONDS),
    st.floats(-0.001, 3),
    st.sampled_from(RESULTS),
    st.sampled_from(FAILURES),
    st.integers(0, 4),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([{}, {"seen": 1}, {OUTPUT: "said\n"}]),
)


def completed(tasks: list[Task], resumed: int, load: bool, bounds: tuple[float, float]) -> Records:
    made = Records(Anchor(1.7e9 + 0.123, 5.0))
    if load:
        made.open_interval(0, 1)
        made.measured_from, made.measured_until = bounds
    made.draw(len(tasks), array("d", [5.0 + one.start - one.wait for one in tasks]) if load else None)
    made.complete_resumed(1, [5.0] * resumed, [6.0] * resumed, [one.result for one in tasks[:resumed]])
    for task_id, one in enumerate(tasks[resumed:], resumed + 1):
        status = NOT_RUN if one.status == DROPPED and not load else one.status
        made.metadata |= {task_id: one.notes} if one.notes else {}
        made.attempts |= {task_id: one.attempts} if one.attempts > 1 else {}
        start = 5.0 + one.start
        for nth in range(one.attempts - 1 if one.retried else 0):  # the last may be the one that counts
            made.earlier.setdefault(task_id, array("d")).extend([start + (nth - 1) * one.took] * 2)
        if one.status == OK:
            made.complete(Outcome(task_id, OK, start, start + one.took, result=one.result, worker=one.worker))
        else:
            made.complete(Outcome(task_id, status, start, start + one.took, failure=one.failure, worker=one.worker))
            if one.failure is not None and one.attempts == 3:  # as on_all_done does it
                made.results[task_id - 1] = one.result
    made.pids = {1: 11, 2: 22}
    return made


LEDGERS = st.builds(
    lambda tasks, resumed, load, bounds: completed(tasks, min(resumed, len(tasks)), load, bounds),
    st.lists(TASKS, max_size=25),
    st.sampled_from([0, 0, 3]),
    st.booleans(),
    st.sampled_from([(5.0, float("inf")), (9.0, 20.0), (-float("inf"), 12.0)]),
)


def both(records: Records, known: bool) -> tuple[RunData, RunData]:
    info = {"counts": records.counts()} if known else {}
    logs = records.logs()
    dicts = RunData(logs, info, {}, records.dropped())
    return dicts, RunData(RecordsReader(records, records.logs), info, {}, records.dropped())


def same(a: Any, b: Any) -> None:
    """Equal, and NaN where NaN is."""
    if isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b, strict=True)
    else:
        assert repr(a) == repr(b)


@settings(max_examples=examples(150), deadline=None)
@given(LEDGERS, st.booleans())
def test_columns_and_dicts_make_one_report(records: Records, known: bool) -> None:
    dicts, columns = both(records, known)
    assert report_as_data(ReportData(columns)) == report_as_data(ReportData(dicts))
    same(figures_of(ReportData(columns)), figures_of(ReportData(dicts)))
    for rows, others in ((columns.rows, dicts.rows), (columns.all_rows, dicts.all_rows)):
        for name in ("starts", "ends", "times", "ok", "response_times", "queue_delays", "errors", "invalidity"):
            same(getattr(rows, name), getattr(others, name))
        for one, other in zip(rows.attempts, others.attempts, strict=True):
            same(one, other)
    for name in ("attempts", "retries", "phases", "counts", "outcomes", "failures", "dues", "offered", "window"):
        same(getattr(columns, name), getattr(dicts, name))
    assert columns.rows.places.tolist() == dicts.rows.places.tolist()
    assert list(columns.phases) == list(dicts.phases)
    assert columns.logs == dicts.logs or "array" in repr(dicts.logs)


@settings(max_examples=examples(100), deadline=None)
@given(LEDGERS)
def test_columns_and_dicts_make_one_get_tps(records: Records) -> None:
    assert get_tps(records, display_intervals=True) == get_tps(records.logs(), display_intervals=True)
