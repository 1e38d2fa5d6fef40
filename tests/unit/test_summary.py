"""What a verbose run says of itself at the end."""

from __future__ import annotations

from array import array

from worker_dispatcher.clock import Anchor
from worker_dispatcher.dispatch.summary import summary_lines, worker_lines
from worker_dispatcher.records import CRASHED, ERROR, NOT_RUN, OK, Failure, Ledger


def ledger() -> Ledger:
    made = Ledger(Anchor(1000.0, 0.0))
    made.draw(7)
    made.settle_run(1, [0.0, 0.0, 1.0], [0.001, 0.002, 1.5], [1, 2, 3], [1, 2, 1])
    made.settle(4, ERROR, 0.0, 0.01, failure=Failure("ValueError", "no\x1b[31m\nsuch\torder"), worker=2)
    made.settle(5, ERROR, 0.0, 0.01, failure=Failure("ValueError", "another"), worker=2)
    made.settle(6, CRASHED, 0.0, 20e-6, failure=Failure("WorkerDied", "x" * 1000), worker=2)
    made.settle(7, NOT_RUN, 0.0, 0.0)
    made.pids = {1: 11, 2: 22}
    return made


def test_outcomes_times_and_the_first_failure_of_each_type() -> None:
    lines = summary_lines(ledger())
    assert lines[0] == "Outcomes: 3 ok, 2 error, 1 crashed, 1 not run"
    assert lines[1] == "Time per task: p50 2 ms, p95 500 ms, p99 500 ms, max 500 ms"
    assert lines[2] == "First failures:"
    assert lines[3] == "  #4 ValueError: no\\x1b[31m such order  (and 1 more ValueError)"
    assert lines[4].startswith("  #6 WorkerDied: xxx")
    assert lines[4].endswith("xxx...")
    assert lines[5:] == [""]


def test_a_load_says_the_times_from_due_moments_too() -> None:
    made = Ledger(Anchor(0.0, 0.0))
    made.open_interval(0, 1)
    made.draw(1, array("d", [1.0]))
    made.settle(1, OK, 3.0, 3.5)
    assert "From due time: p50 2.5 s, p95 2.5 s, p99 2.5 s, max 2.5 s" in summary_lines(made)


def test_a_run_without_tasks_has_nothing_to_say() -> None:
    assert summary_lines(Ledger(Anchor(0.0, 0.0))) == []


def test_each_worker_has_a_start_and_an_end() -> None:
    made = ledger()
    assert list(worker_lines(made, list(made.started_ids()))) == [
        "worker 1 (pid 11): 2 tasks from 0.000 s to 1.500 s",
        "worker 2 (pid 22): 4 tasks from 0.000 s to 0.010 s",
    ]
