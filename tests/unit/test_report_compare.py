"""Two runs side by side: what changed, and what may be chance."""

from __future__ import annotations

import numpy as np
import pytest

from worker_dispatcher.reports.compare import compare, judge_changes, read_changes
from worker_dispatcher.reports.rows import Rows


def run(count: int, mean: float, seed: int, failing: float = 0.0, queue: float | None = None) -> Rows:
    dice = np.random.default_rng(seed)
    starts, took = np.arange(count) * 0.01, dice.exponential(mean, count)
    response = None if queue is None else took + queue
    return Rows.from_columns(starts, starts + took, dice.random(count) >= failing, response_times=response)


def test_a_slower_run_differs_clearly() -> None:
    found = compare(run(2000, 0.10, 1), run(3000, 0.15, 2))
    assert (found.count_a, found.count_b) == (2000, 3000)
    assert found["p95"].clear is True
    assert found["p95"].relative == pytest.approx(0.5, abs=0.15)
    assert found["p95"].change == found["p95"].b - found["p95"].a  # type: ignore[operator]
    assert "clear difference" in str(found).splitlines()[-1]


def test_runs_alike_show_no_clear_difference_and_say_so() -> None:
    texts = [str(compare(run(500, 0.1, seed), run(500, 0.1, seed + 1000))) for seed in range(40)]
    alike = sum(text.splitlines()[-1] == "no clear difference" for text in texts)
    assert alike >= 36  # stricter than a 95 % test, for each of four quantiles


def test_few_tasks_are_too_few_for_a_high_quantile() -> None:
    found = compare(run(50, 0.1, 1), run(50, 10.0, 2))
    assert found["p50"].clear is True
    assert found["p99"].clear is False
    assert "no clear difference" in str(found["p99"])


def test_an_error_rate_is_held_against_its_own_spread() -> None:
    assert compare(run(1000, 0.1, 1), run(1000, 0.1, 1, failing=0.05))["error_rate"].clear is True
    assert compare(run(20, 0.1, 1), run(20, 0.1, 1, failing=0.05))["error_rate"].clear is False


def test_response_times_are_compared_where_both_runs_have_them() -> None:
    waiting, plain = run(500, 0.1, 1, queue=1.0), run(500, 0.1, 1)
    assert compare(waiting, waiting)["response.p50"].change == 0
    assert compare(waiting, waiting)["p50"].a == pytest.approx(1.07, abs=0.05)
    assert compare(waiting, waiting)["execution.p50"].a == pytest.approx(0.07, abs=0.05)
    with pytest.raises(KeyError):
        compare(waiting, plain)["response.p50"]
    told = "is a load, so the times of both are from the start"
    assert f"only a {told}" in str(compare(waiting, plain))
    assert f"only b {told}" in str(compare(plain, waiting))
    assert told not in str(compare(waiting, waiting)) + str(compare(plain, plain))


def test_a_rate_has_no_spread_and_a_run_without_tasks_no_numbers() -> None:
    found = compare(run(100, 0.1, 1), Rows.from_columns([], [], []))
    assert (found["tps"].clear, found["tps"].b) == (None, None)
    assert (found["p50"].b, found["p50"].change, found["p50"].relative, found["p50"].clear) == (None, None, None, False)
    assert "no data" in str(found)


def test_a_server_that_refuses_everything_quickly_is_no_better() -> None:
    refusing = Rows.from_columns(np.arange(100.0), np.arange(100.0) + 0.001, [False] * 100)
    found = compare(run(100, 0.1, 1), refusing)
    assert [one.name for one in found.differences[:2]] == ["success", "error_rate"]
    assert (found["success"].b, found["error_rate"].b, found["error_rate"].clear) == (0, 1, True)
    assert (found["p99"].b, found["tps"].b) == (None, None)
    assert str(found).splitlines()[-2:] == [
        "b has no success, so its times and rates say nothing",
        "1 clear difference: error_rate",
    ]
    assert not judge_changes(read_changes(["p95>+10%"]), found)
    assert not judge_changes(read_changes(["tps<-99%"]), found)


def test_an_empty_run_and_rows_left_out_are_named() -> None:
    found = compare(run(100, 0.1, 1), Rows.from_columns([np.nan, 0.0], [1.0, -1.0], [True, True]))
    assert str(found).splitlines()[-3:] == ["malformed rows left out: 2 in b", "b has no tasks", "nothing to compare"]


def test_a_comparison_names_its_runs_and_has_units_as_checks_have() -> None:
    slow = Rows.from_columns(np.arange(100.0), np.arange(100.0) + 0.0323, [False, True] * 50)
    found = compare(slow, run(100, 0.1, 1, failing=1.0), names=("base.jsonl", "new\x1b.jsonl"))
    lines = str(found).splitlines()
    assert lines[:3] == ["a  base.jsonl", "b  new\\x1b.jsonl", ""]
    assert str(found["p95"]).split()[:3] == ["p95", "32.3", "ms"]
    assert " ".join(str(found["error_rate"]).split()) == "error_rate 50 % 100 % +100.0 % clear"
    assert str(compare(slow, slow)).startswith("    ")


@pytest.mark.parametrize("change", ["error_rate>+1", "error_rate < -1.0", "error_rate>=+5"])
def test_a_change_of_a_share_that_can_never_come_is_refused(change: str) -> None:
    with pytest.raises(ValueError, match=r"perhaps [-+]?[15](\.0)?% is meant"):
        read_changes([change])


def test_all_changes_that_are_none_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="change") as caught:
        read_changes(["p95>+10", "oranges>+1%", "error_rate>+1"])
    lines = str(caught.value).split("\n")
    assert lines[:3] == [
        "change 'p95>+10': it has no unit",
        "change 'oranges>+1%': there is no 'oranges'",
        "change 'error_rate>+1': a share changes by less than 1; perhaps +1% is meant",
    ]
    assert str(caught.value).count("a change is NAME") == 1


@pytest.mark.parametrize("columns", [40, 58, 79, 80, 200])
def test_the_table_fits_any_terminal_of_40_columns_and_more(columns: int) -> None:
    runs = [
        [{"started_at": n, "ended_at": n + 1234.5678 * k, "result": n % k == 0} for n in range(500)] for k in (1, 9)
    ]
    found = compare(*map(Rows.from_logs, runs), names=("some/folder/with/a/long/name/" * 3 + "base.jsonl", "new.jsonl"))
    lines = found.text(columns).splitlines()
    assert lines.pop(0).endswith("name/base.jsonl")  # a path stays in one piece
    assert max(map(len, lines)) < min(columns, 80)
    for said in ("p95", "error_rate", "steady_tps", "a (n=500)", "-88.8 %", "clear"):
        assert said in found.text(columns)
    assert found.text(80) == found.text(200)
