"""What a verbose run says of itself at the end."""

from __future__ import annotations

import re
import time
from array import array
from typing import Any

import pytest

import worker_dispatcher
from worker_dispatcher.clock import Anchor
from worker_dispatcher.dispatch.summary import summary_lines, worker_lines
from worker_dispatcher.records import CANCELLED, CRASHED, ERROR, NOT_RUN, OK, TIMEOUT, Failure, Outcome, Records
from worker_dispatcher.reports.failure_groups import failed_of_log, group_failures

TRACE = (
    'Traceback (most recent call last):\n  File "/home/user/sizes.py", line {}, in fetch\n    raise\nValueError: x\n'
)


def info(records: Records, duration: float = 1.6, stopped: str | None = None) -> dict[str, Any]:
    return {"counts": records.counts(), "duration": duration, "stopped": stopped}


def records() -> Records:
    made = Records(Anchor(1000.0, 0.0))
    made.draw(10)
    made.complete_run(1, [0.0, 0.0, 1.0], [0.001, 0.002, 1.5], [1, 2, 3], [1, 2, 1])
    made.complete(
        Outcome(
            4, ERROR, 0.0, 0.01, failure=Failure("ValueError", "no\x1b[31m\nsuch\torder", TRACE.format(9)), worker=2
        )
    )
    made.complete(Outcome(5, ERROR, 0.0, 0.01, failure=Failure("ValueError", "another", TRACE.format(9)), worker=2))
    made.complete(Outcome(6, CRASHED, 0.0, 20e-6, failure=Failure("WorkerDied", "x" * 1000), worker=2))
    made.complete(Outcome(7, NOT_RUN, 0.0, 0.0))
    made.complete(Outcome(8, TIMEOUT, 0.0, 0.01, failure=Failure("TaskTimeout", "late"), worker=2))
    made.complete(Outcome(9, ERROR, 0.0, 0.01, failure=Failure("ValueError", "elsewhere", TRACE.format(11)), worker=2))
    made.complete(Outcome(10, CANCELLED, 0.0, 0.01, failure=Failure("RunStopped", "was running"), worker=2))
    made.pids = {1: 11, 2: 22}
    return made


def test_outcomes_times_rate_and_the_first_failure_of_each_kind() -> None:
    made = records()
    first, heading, *failures = summary_lines(made, info(made))
    assert first == (
        "done in 1.60 s   ok 3   failed 5 (1 timeout, 1 crashed)   cancelled 1   not run 1"
        "   p50 10.0 ms  p95 500 ms  p99 500 ms   2.00 tasks/s succeeded"
    )
    assert heading == "first failures"
    assert failures[0] == "  #4  " + "ValueError: no\\x1b[31m such order".ljust(100) + "  sizes.py:9  (+1 like it)"
    assert failures[1] == "  #6  WorkerDied: " + "x" * 87 + "…"
    assert failures[2] == "  #8  TaskTimeout: late"
    assert failures[3:] == ["  and 1 more kind; all are in get_logs()", ""]


@pytest.mark.parametrize("width", [72, 80, 100, 120, 160, 400])
def test_a_terminal_tears_no_line(width: int) -> None:
    made = records()
    whole, lines = summary_lines(made, info(made)), summary_lines(made, info(made), width)
    assert max(map(len, lines)) <= width
    head = lines[: lines.index("first failures")]
    assert re.split(" {2,}", "   ".join(head)) == re.split(" {2,}", whole[0])
    failures = [line.split() for line in lines[len(head) + 1 :]]
    for line, full in zip(failures, map(str.split, whole[2:]), strict=True):
        assert line[:2] == full[:2]  # the task, and what it raised
    assert [line[-4:] for line in failures if "like" in line] == [["sizes.py:9", "(+1", "like", "it)"]]


@pytest.mark.parametrize("width", [72, 100, 400, None])
def test_inputs_stand_in_a_column_of_their_own_and_tear_no_line(width: int | None) -> None:
    made = Records(Anchor(1000.0, 0.0))
    made.draw(3)
    for task_id, given in enumerate(("'ORD_1'", "", repr("a\x1b[1m" + "y" * 70)), 1):
        failure = Failure(f"Error{task_id}", "m" * 300, TRACE.format(9), input=given)
        made.complete(Outcome(task_id, ERROR, 0.0, 0.01, failure=failure))
    lines = summary_lines(made, info(made), width)
    failures = lines[lines.index("first failures") + 1 : -1]
    assert width is None or max(map(len, lines)) <= width
    assert [line.split()[0] for line in failures] == ["#1", "#2", "#3"]
    assert len({line.index("Error") for line in failures}) == 1
    assert failures[0].startswith("  #1  'ORD_1'  ")
    assert "yyy" in failures[2]
    assert "\x1b" not in "".join(lines)


def test_a_run_that_was_stopped_is_not_called_done() -> None:
    made = records()
    assert summary_lines(made, info(made, stopped="runtime"))[0].startswith("stopped after 1.60 s   ok 3 ")


def test_a_run_of_two_seconds_has_a_peak_of_all_successes() -> None:
    made = Records(Anchor(1000.0, 0.0))
    made.draw(40)
    made.complete_run(1, [0.0] * 20, [0.1 + at / 20 for at in range(20)], list(range(20)), 1)
    made.complete_run(21, [5.0] * 19, [5.0 + at for at in range(19)], list(range(19)), 1)
    made.complete(Outcome(40, ERROR, 0.0, 1.1, failure=Failure("ValueError", "bad"), worker=1))
    assert summary_lines(made, info(made, 30.0))[0].endswith("   1.70 tasks/s succeeded, peak 20.0/s (1 s window)")


def test_a_run_under_two_seconds_has_no_peak() -> None:
    made = Records(Anchor(1000.0, 0.0))
    made.draw(20)
    made.complete_run(1, [0.0] * 20, [0.1 * at for at in range(20)], list(range(20)), 1)
    assert summary_lines(made, info(made, 30.0))[0].endswith("   10.5 tasks/s")


class Response:
    """As requests has it."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


Response.__module__ = "requests.models"


def test_what_ended_ok_and_is_no_success_is_not_called_ok_and_its_cause_is_named() -> None:
    made = Records(Anchor(0.0, 0.0))
    made.draw(6)
    results = [None, False, Response(503), Response(503), Response(200), 0]
    made.complete_run(1, [0.0] * 6, [1.0] * 6, results, 1)
    first, *failures = summary_lines(made, info(made))
    assert first.startswith("done in 1.60 s   ok 3   no success 3   failed 0   ")
    assert first.endswith("   3.00 tasks/s succeeded")
    assert failures == ["first failures", "  #2  returned False", "  #3  HTTP 503        (+1 like it)", ""]


def test_a_load_s_rate_goes_by_its_planned_window_as_that_of_its_report() -> None:
    made = Records(Anchor(1000.0, 0.0))
    made.open_interval(0, 1)
    made.draw(2, array("d", [0.0, 2.0]))
    made.complete_run(1, [0.0, 2.0], [0.01, 2.01], [None, None], 1)
    load = {"from": 1000.0, "until": 1004.0, "max_workers": None}
    said = summary_lines(made, {**info(made, 2.01), "load": load})[0]
    assert "   0.50 tasks/s" in said
    assert "peak" not in said


def test_a_load_s_warm_up_is_in_no_rate_and_no_time() -> None:
    made = Records(Anchor(1000.0, 0.0))
    made.measured_from = 1.0
    made.open_interval(0, 1)
    made.draw(3, array("d", [0.0, 1.0, 2.0]))
    made.complete_run(1, [0.0, 1.0, 2.0], [0.9, 1.1, 2.1], [None] * 3, 1)
    said = "\n".join(summary_lines(made, {**info(made, 4.0), "load": {"from": 1001.0, "until": 1005.0}}))
    assert "p50 100 ms  p95 100 ms  p99 100 ms   0.50 tasks/s" in said
    assert "from due time   p50 100 ms" in said


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("HTTPError", ("404 Client Error: Not Found for url: x", "503 Server Error: Busy for url: x")),
        ("HTTPError", ("HTTP Error 404: Not Found", "HTTP Error 503: Busy")),
        ("HTTPStatusError", ("Client error '404 Not Found' for url 'x'", "Server error '503 Busy' for url 'x'")),
        ("ClientResponseError", ("404, message='Not Found', url='x'", "503, message='Busy', url='x'")),
    ],
)
def test_errors_of_one_line_of_code_stand_apart_by_their_http_status(kind: str, texts: tuple[str, str]) -> None:
    made = Records(Anchor(0.0, 0.0))
    made.draw(4)
    for task_id, text in enumerate([texts[0], texts[1], texts[1].replace("x", "y"), texts[0]], 1):
        made.complete(Outcome(task_id, ERROR, 0.0, 0.01, failure=Failure(kind, text, TRACE.format(9))))
    lines = summary_lines(made, info(made))[2:-1]
    assert [(line.split()[0], "404" in line, line.endswith("(+1 like it)")) for line in lines] == [
        ("#1", True, True),
        ("#2", False, True),
    ]
    groups = group_failures(map(failed_of_log, made.logs()))
    assert [(group.count, "404" in group.message) for group in groups] == [(2, True), (2, False)]


def test_numbers_in_other_messages_make_no_kinds_of_failures() -> None:
    made = Records(Anchor(0.0, 0.0))
    made.draw(2)
    for task_id in (1, 2):
        failure = Failure("ValueError", f"{403 + task_id} items are missing", TRACE.format(9))
        made.complete(Outcome(task_id, ERROR, 0.0, 0.01, failure=failure))
    assert [group.count for group in group_failures(map(failed_of_log, made.logs()))] == [2]


def test_a_load_says_the_times_from_due_moments_too() -> None:
    made = Records(Anchor(0.0, 0.0))
    made.open_interval(0, 1)
    made.draw(1, array("d", [1.0]))
    made.complete(Outcome(1, OK, 3.0, 3.5))
    assert "from due time   p50 2.50 s  p95 2.50 s  p99 2.50 s" in summary_lines(made, info(made))
    narrow = summary_lines(made, info(made), 40)
    assert "from due time" in narrow
    assert max(map(len, narrow)) < 40


def test_a_run_without_tasks_has_nothing_to_say() -> None:
    made = Records(Anchor(0.0, 0.0))
    assert summary_lines(made, info(made)) == []


def test_a_run_in_which_nothing_started_says_only_that() -> None:
    made = Records(Anchor(0.0, 0.0))
    made.draw(1)
    made.complete(Outcome(1, NOT_RUN, 0.0, 0.0))
    assert summary_lines(made, info(made)) == ["done in 1.60 s   ok 0   failed 0   not run 1", ""]


def test_a_whole_run_ends_in_its_summary_and_shows_of_tasks_only_the_input_of_one_that_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fetch(task: str) -> str:
        if task.endswith("3"):
            raise ValueError("no such order")
        return task

    items = [f"ORD_{at}" for at in range(30)]
    worker_dispatcher.start({"task": {"list": items, "function": fetch, "config": "key"}, "debug": True})

    said = capsys.readouterr().out
    lines = said.rstrip("\n").split("\n")[-3:]
    took = r"\d+(\.\d+)? (us|ms|s)"
    numbers = rf"p50 {took}  p95 {took}  p99 {took}   [\d,.]+ tasks/s"
    assert re.fullmatch(
        rf"done in {took}( \({took} until workers began\))?   ok 27   failed 3   {numbers} succeeded(, peak .*)?",
        lines[0],
    )
    assert lines[1] == "first failures"
    assert re.fullmatch(r"  #4  'ORD_3'  ValueError: no such order  test_summary\.py:\d+  \(\+2 like it\)", lines[2])
    assert said.count("ORD_") == 1
    assert "key" not in said


def test_each_worker_has_a_start_and_an_end() -> None:
    made = records()
    assert list(worker_lines(made, list(made.started_ids()))) == [
        "worker 1 (pid 11): 2 tasks from 0.000 s to 1.500 s",
        "worker 2 (pid 22): 7 tasks from 0.000 s to 0.010 s",
    ]


@pytest.mark.parametrize(
    ("began", "told"),
    [(0.4, " (400 ms until workers began)"), (0.1, " (100 ms until workers began)"), (0.07, ""), (0.001, "")],
)
def test_the_end_says_how_much_of_a_run_was_starting_workers(began: float, told: str) -> None:
    made = Records(Anchor(1000.0, 50.0))
    made.draw(2)
    made.complete_run(1, [50.0 + began, 51.0], [51.0, 51.6], [1, 2], [1, 2])
    assert summary_lines(made, info(made))[0].startswith(f"done in 1.60 s{told}   ok 2   failed 0   ")


def test_a_slow_worker_init_is_part_of_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    config = {"task": {"list": 2, "function": lambda id: id}, "worker": {"number": 1, "init": lambda: time.sleep(0.1)}}
    worker_dispatcher.start(config)
    assert re.search(r"^done in .* \(1\d\d ms until workers began\)   ok 2", capsys.readouterr().out, re.M)
