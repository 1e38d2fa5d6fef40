"""Checks, lengths, rates and stages as people type them, who come from other tools."""

from __future__ import annotations

import pytest

from worker_dispatcher.config.describe import Refused
from worker_dispatcher.config.pacing import rate, stages
from worker_dispatcher.dispatch.load import Stage, _stages
from worker_dispatcher.reports.check import check
from worker_dispatcher.reports.rows import Rows
from worker_dispatcher.units import seconds_in

ROWS = Rows.from_columns([0.0, 1.0, 2.0, 3.0], [0.5, 1.5, 2.5, 3.5], [True, True, True, False])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("p(99)<300ms", "p99<300ms"),
        ("P99<300MS", "p99<300ms"),
        ("p( 99.9 ) < 1s", "p99.9<1s"),
        ("p99<1m", "p99<1min"),
        ("rps>100", "tps>100"),
        ("throughput>=1/m", "tps>=1/min"),
        ("failures==0", "failed==0"),
        ("failed=0", "failed==0"),
        ("failed=1", "failed==1"),
        ("errors<5%", "error_rate<5%"),
        ("errors<2", "failed<2"),
        ("max<2s", "execution.max<2s"),
        ("median<1s", "p50<1s"),
        ("requests==4", "total==4"),
    ],
)
def test_a_check_in_the_words_of_others_is_the_check_that_is_meant(typed: str, meant: str) -> None:
    (one,), (other,) = check(ROWS, [typed]).findings, check(ROWS, [meant]).findings
    assert (one.observed, one.limit, one.holds) == (other.observed, other.limit, other.holds)
    assert one.expression == typed


@pytest.mark.parametrize(("typed", "holds"), [("success_rate>99%", False), ("success_rate>=0.75", True)])
def test_the_share_of_successes_is_what_errors_leave(typed: str, holds: bool) -> None:
    verdict = check(ROWS, [typed])
    assert (verdict.findings[0].observed, bool(verdict)) == (0.75, holds)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("peek>3", "did you mean peak?"),
        ("p(95) < 300", "no unit; perhaps 300ms is meant"),
        ("p99<=0.3", "no unit; perhaps 0.3s is meant"),
        ("eror_rate<1%", "error_rate"),
    ],
)
def test_what_is_none_is_answered_with_the_nearest(typed: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("?", r"\?")):
        check(ROWS, [typed])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), (".5", 0.5), ("250ms", 0.25), ("1m", 60), ("1m30s", 90), ("1h 5min", 3900), ("5 Min", 300), ("0s", 0)],
)
def test_a_length_is_read_in_all_its_units(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "1x", "1m30", "m", "-1", "1,5s", "1e3"])
def test_what_is_no_length_is_none(text: str) -> None:
    assert seconds_in(text) is None


@pytest.mark.parametrize(
    ("text", "a_second"),
    [
        ("60/m", 1),
        ("120/min", 2),
        ("60/1m", 1),
        ("50/1s", 50),
        ("50rps", 50),
        ("3600/h", 1),
        ("200/S", 200),
        ("7/sec", 7),
    ],
)
def test_a_rate_is_read_as_other_tools_write_it(text: str, a_second: float) -> None:
    assert rate().accept(text) == a_second


@pytest.mark.parametrize("text", ["10/ms", "10/day", "10/", "/s", "10 per s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="write '250/s'"):
        rate().accept(text)


def test_a_stage_of_no_seconds_changes_the_rate_at_once() -> None:
    assert _stages(stages().accept([(0, 50), (5, 50), (0, 10), (2, 20)])).stages == (Stage(5, 50, 50), Stage(2, 10, 20))


def test_stages_of_no_seconds_alone_are_refused() -> None:
    with pytest.raises(Refused, match="more than 0 s"):
        stages().accept([(0, 50)])
