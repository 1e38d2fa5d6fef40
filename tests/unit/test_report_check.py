"""Thresholds: how they are read, what they are held against, what a wrong one says."""

from __future__ import annotations

from typing import Any

import pytest

from worker_dispatcher.max_rate import MaxRate
from worker_dispatcher.reports.check import GRAMMAR, Finding, check
from worker_dispatcher.reports.compare import compare
from worker_dispatcher.reports.rows import Rows
from worker_dispatcher.reports.tps import get_tps

# A hundred tasks, one each tenth of a second, of 0.01 to 1 s; every tenth fails; answered 0.1 s later than they took.
TOOK = [n / 100 for n in range(1, 101)]
ROWS = Rows.from_columns(
    [n / 10 for n in range(100)],
    [n / 10 + took for n, took in enumerate(TOOK)],
    [n % 10 > 0 for n in range(100)],
    times=TOOK,
    response_times=[took + 0.1 for took in TOOK],
)
REPORT = get_tps(ROWS)


@pytest.mark.parametrize("source", [ROWS, REPORT], ids=["rows", "report"])
@pytest.mark.parametrize(
    ("expression", "observed", "holds"),
    [
        ("p99<1s", 1.09, False),  # the rows have due times
        ("p99<=1090.1ms", 1.09, True),
        ("execution.p99<1s", 0.99, True),
        ("execution.p99<=990ms", 0.99, True),
        ("execution.p99<990ms", 0.99, False),
        ("execution.p50 == 500000 us", 0.5, True),
        ("p50<1min", 0.6, True),
        (" execution.p95 > 0.9s ", 0.95, True),
        ("response.p95<1050ms", 1.05, False),
        ("response.p50<=0.6s", 0.6, True),
        ("queue.p99<1s", None, False),
        ("execution.max<=1s", 1.0, True),
        ("execution.min>=10ms", 0.01, True),
        ("execution.avg<.6s", 0.505, True),
        ("error_rate<=10%", 0.1, True),
        ("error_rate<1%", 0.1, False),
        ("error_rate<0.2", 0.1, True),
        ("tps>=200", REPORT["tps"], False),
        ("tps<1000/min", REPORT["tps"], True),
        ("steady_tps>1", REPORT["steady_tps"], True),
        ("peak>=1/s", REPORT["peak"]["tps"], True),
        ("peak_rate>1", REPORT["peak_rate"]["tps"], True),
        ("peak_rate(1s)>1", REPORT["peak_rate"]["tps"], True),
        ("total==100", 100, True),
        ("success!=90", 90, False),
        ("failed<=1e1", 10, True),
        ("invalid==0", 0, True),
        ("in_flight<100", REPORT["in_flight"]["max"], True),
        ("in_flight.mean>1", REPORT["in_flight"]["mean"], True),
        ("dropped==0", 3, False),
    ],
)
def test_a_check_holds_or_not_and_says_what_was_observed(
    source: Any, expression: str, observed: float | None, holds: bool
) -> None:
    verdict = check(source, [expression], counts={"dropped": 3})
    (finding,) = verdict.findings
    assert finding.observed == (None if observed is None else pytest.approx(observed))
    assert (finding.holds, bool(verdict), finding.expression) == (holds, holds, expression)


def test_rows_answer_any_percentile_and_window_and_a_report_its_own() -> None:
    assert check(ROWS, ["p97.5<1.1s", "peak_rate(5s)>=1"])
    with pytest.raises(ValueError, match=r"p97\.5.*only p50, p75"):
        check(REPORT, ["p97.5<1s"])
    with pytest.raises(ValueError, match="window of 1 s"):
        check(REPORT, ["peak_rate(5s)>=1"])


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "cannot be read"),
        ("p99", "cannot be read"),
        ("p99 300ms", "cannot be read"),
        ("p99<300 ms or so", "cannot be read"),
        ("p99=<300ms", "cannot be read"),
        (300, "cannot be read"),
        ("latency<300ms", "no metric 'latency'"),
        ("response.max<3s", "no metric 'response.max'"),
        ("p99<3%", "not measured in %"),
        ("tps>3ms", "not measured in ms"),
        ("total>3s", "not measured in s"),
    ],
)
def test_an_expression_that_is_none_is_named_and_the_grammar_shown(expression: Any, why: str) -> None:
    with pytest.raises(ValueError, match="check") as caught:
        check(ROWS, [expression])
    assert repr(expression) in str(caught.value)
    assert why in str(caught.value)
    assert GRAMMAR in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("p99<300", "it has no unit; perhaps 300ms is meant"),
        ("success>99%", "success is not measured in %; did you mean success_rate?"),
        ("succeeded>99%", "success is not measured in %; did you mean success_rate?"),
        ("error<5%", "error is not measured in %; did you mean error_rate?"),
        ("failed<5%", "failed is not measured in %; did you mean error_rate?"),
        ("sucess_rate>99%", "did you mean success_rate?"),
        ("error_rate<5", "perhaps 5% is meant"),
        ("error_rate<1", "perhaps 1% is meant"),
        ("p0<1s", "at most 100"),
        ("p101<1s", "at most 100"),
        ("tps(3s)>1", "takes no argument"),
        ("peak_rate(0s)>1", "longer than nothing"),
        ("dropped==0", "counts="),
    ],
)
def test_one_line_is_enough_where_it_says_what_is_meant(expression: str, why: str) -> None:
    with pytest.raises(ValueError, match="check") as caught:
        check(ROWS, expression)
    assert str(caught.value).startswith(f"check {expression!r}: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_expressions_that_are_none_are_told_at_once_and_the_grammar_only_once() -> None:
    with pytest.raises(ValueError, match="check") as caught:
        check(ROWS, ["p99<300", "foo<3", "tps>1", "bar<3"])
    assert str(caught.value) == (
        "check 'p99<300': it has no unit; perhaps 300ms is meant\n"
        "check 'foo<3': there is no metric 'foo'\n"
        f"check 'bar<3': there is no metric 'bar'\n{GRAMMAR}"
    )


def test_all_that_a_source_does_not_know_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="check") as caught:
        check(ROWS, ["dropped==0", "tps>1", "timeout==0"])
    assert [line.partition(":")[0] for line in str(caught.value).split("\n")] == [
        "check 'dropped==0'",
        "check 'timeout==0'",
    ]


def test_a_limit_is_the_number_as_it_is_written() -> None:
    # In binary fractions 700 * 0.001 is more than 0.7, so this check held.
    rows = Rows.from_columns([0.0], [0.7], [True])
    assert not check(rows, "p50<700ms")


def test_silence_is_no_proof() -> None:
    empty = Rows.from_columns([], [], [])
    verdict = check(empty, ["p99<1s", "error_rate<1%", "response.p50<1s", "total==0", "peak_rate(3s)==0", "tps<5"])
    assert [finding.holds for finding in verdict.findings] == [False, False, False, True, False, False]
    assert "no data" in str(verdict)


def test_a_peak_that_was_not_found_is_the_average() -> None:
    rows = Rows.from_columns([0.0], [2.0], [True])
    assert get_tps(rows)["peak"] == {}
    assert check(rows, "peak==0.5")


def test_a_verdict_reads_as_lines() -> None:
    verdict = check(ROWS, ["execution.p99<1s", "error_rate<1%", "tps>200", "execution.p99<990.4ms", "error_rate<0.1"])
    assert str(verdict).splitlines() == [
        "ok    execution.p99<1s   observed 0.99 s",
        "FAIL  error_rate<1%   observed 10 %",
        f"FAIL  tps>200   observed {REPORT['tps']:.3g}/s",
        "ok    execution.p99<990.4ms   observed 990 ms",
        "FAIL  error_rate<0.1   observed 0.1",
    ]
    assert not verdict
    assert check(ROWS, [])
    assert verdict.findings[0] == Finding("execution.p99<1s", 0.99, 1.0, "s", True, "s", 1.0)


def test_a_prompt_shows_a_verdict_a_comparison_and_a_highest_rate_as_their_lines() -> None:
    verdict = check(ROWS, "execution.p99<1s")
    highest = MaxRate(20.0, None, "most", ())
    shown = [repr(verdict), repr(compare(ROWS, ROWS)), repr(highest)]
    assert shown == [str(verdict), str(compare(ROWS, ROWS)), str(highest)]
    assert shown[0] == "ok    execution.p99<1s   observed 0.99 s"
    assert shown[2] == "highest rate that holds: 20/s (limited by most)"


def test_of_a_load_a_bare_time_is_what_its_users_waited_for() -> None:
    found = {
        one.expression: one.observed for one in check(ROWS, ["p99<1s", "max<2s", "avg<1s", "response.p99<2s"]).findings
    }
    assert found == {
        "p99<1s": pytest.approx(1.09),
        "max<2s": pytest.approx(1.1),
        "avg<1s": pytest.approx(0.605),
        "response.p99<2s": pytest.approx(1.09),
    }
    plain = Rows.from_columns([0.0, 0.0], [0.5, 1.0], [True, True])
    assert check(plain, ["max==1s", "avg==750ms", "p50==0.5s"])
    with pytest.raises(ValueError, match="give the run, or logs"):
        check(REPORT, "max<2s")
