"""A check of rows finds what it finds in all that get_tps says of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import examples

from worker_dispatcher.reports import check as checks
from worker_dispatcher.reports import tps
from worker_dispatcher.reports.check import check
from worker_dispatcher.reports.rows import Rows
from worker_dispatcher.reports.tps import get_tps

ASKED = [
    *("tps>1", "steady_tps>1", "peak>1", "peak_rate>1", "peak_rate(1s)>1", "p50<1s", "p99.9<1s", "queue.p90<1s"),
    *("execution.avg<1s", "execution.max<1s", "execution.min<1s", "total>1", "success>1", "failed<1", "invalid<1"),
    *("error_rate<1%", "success_rate>50%", "in_flight<3", "in_flight.mean<3"),
]
SPANS = st.lists(st.tuples(st.floats(0, 9), st.floats(0, 4), st.booleans()), max_size=12)


@settings(max_examples=examples(150), deadline=None)
@given(SPANS, st.booleans())
def test_a_check_of_rows_is_that_of_their_report(spans: list[tuple[float, float, bool]], load: bool) -> None:
    starts, ends = np.array([one[0] for one in spans]), np.array([one[0] + one[1] for one in spans])
    waits = {"queue_delays": starts, "response_times": ends} if load else {}
    rows = Rows.from_columns(starts, ends, [one[2] for one in spans], **waits)
    report = get_tps(rows, percentiles=[50, 90, 99.9])
    assert [one.observed for one in check(rows, ASKED).findings] == [
        one.observed for one in check(report, ASKED).findings
    ]


def test_a_check_of_a_percentile_does_not_look_for_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(checks, "get_tps")
    monkeypatch.delattr(checks, "peak_rate")
    monkeypatch.delattr(tps, "peak_rate")
    asked = [one for one in ASKED if not re.match("peak", one)]
    assert len(check(Rows.from_columns([0.0, 1.0], [0.5, 1.5], [True, True]), asked).findings) == len(asked)
