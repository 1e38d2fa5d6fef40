"""The board of jobs: what begins when, and what each end means for others."""

from __future__ import annotations

import math

import pytest

from worker_dispatcher.engine.board import Board
from worker_dispatcher.engine.errors import DependencyCycle
from worker_dispatcher.engine.events import Entry, Moved, Raised, Returned, Revoked, Submitted, Ticked
from worker_dispatcher.engine.watches import OfJob, Some

SLOTS = {"job": 2, "thread": math.inf}


def entry(name: str, *needs: str, **said: object) -> Entry:
    made = Entry(name, None, ("job", "thread"), name)
    parts = [OfJob(need, needed=True) for need in needs]
    made.root = Some(list(parts), len(parts)) if parts else None
    for key, value in said.items():
        setattr(made, key, value)
    return made


def moves(commands: list[object]) -> list[tuple[str, str]]:
    return [(move.entry.id, move.new) for move in commands if isinstance(move, Moved)]


def submit(board: Board, *entries: Entry) -> list[tuple[str, str]]:
    return moves(board.feed(Submitted(entries, 0.0, 0.0)))


def test_no_more_jobs_begin_than_there_are_slots_and_the_oldest_first() -> None:
    board = Board(SLOTS)
    jobs = [entry(name) for name in "abc"]
    assert submit(board, *jobs)[-2:] == [("a", "running"), ("b", "running")]
    assert moves(board.feed(Returned(jobs[1], 1, None))) == [("b", "done"), ("c", "running")]
    assert board.free["job"] == 0


def test_of_those_that_wait_for_a_slot_the_one_of_the_highest_priority_begins() -> None:
    board = Board({"job": 1, "thread": math.inf})
    first, low, high = entry("first"), entry("low"), entry("high", priority=5)
    submit(board, first)
    submit(board, low, high)
    assert moves(board.feed(Returned(first, 1, None)))[-1] == ("high", "running")


def test_a_job_begins_with_the_end_of_the_last_one_that_it_needs() -> None:
    board = Board(SLOTS)
    a, b, c = entry("a"), entry("b"), entry("c", "a", "b")
    submit(board, c, a, b)
    assert moves(board.feed(Returned(a, 1, None))) == [("a", "done")]
    assert moves(board.feed(Returned(b, 1, None))) == [("b", "done"), ("c", "running")]


def test_the_end_of_a_stale_attempt_changes_nothing() -> None:
    board = Board(SLOTS)
    a = entry("a", retries=1)
    submit(board, a)
    board.feed(Raised(a, 1, ValueError(), 0.0, 0.0))
    assert (a.status, a.attempt) == ("running", 2)
    assert board.feed(Returned(a, 1, None)) == []


def test_a_retry_holds_no_slot_while_it_waits() -> None:
    board = Board({"job": 1, "thread": math.inf})
    a, b = entry("a", retries=1), entry("b")
    submit(board, a, b)
    assert moves(board.feed(Raised(a, 1, ValueError(), 5.0, 10.0))) == [("a", "pending"), ("b", "running")]
    assert board.next_due() == 15.0
    board.feed(Returned(b, 1, None), Ticked(14.9, 0.0))
    assert a.status == "pending"
    board.feed(Ticked(15.0, 0.0))
    assert a.status == "running"


def test_a_failure_goes_down_a_chain_of_ten_thousand() -> None:
    board = Board(SLOTS)
    chain = [entry("0"), *(entry(str(n), str(n - 1)) for n in range(1, 10_000))]
    submit(board, *chain)
    board.feed(Raised(chain[0], 1, ValueError("no"), None, 0.0))
    assert chain[0].status == "failed"
    assert {one.status for one in chain[1:]} == {"cancelled"}


@pytest.mark.parametrize(("on_upstream", "status"), [("cancel", "cancelled"), ("fail", "failed"), ("run", "running")])
def test_what_becomes_of_a_job_whose_upstream_fails_is_as_it_says(on_upstream: str, status: str) -> None:
    board = Board(SLOTS)
    a, b = entry("a"), entry("b", "a", on_upstream=on_upstream)
    submit(board, a, b)
    board.feed(Raised(a, 1, ValueError("no"), None, 0.0))
    assert b.status == status
    late = entry("late", "a", on_upstream=on_upstream)
    submit(board, late)
    assert late.status == status


@pytest.mark.parametrize("size", [1, 2, 3, 2000])
def test_a_circle_is_refused_and_nothing_has_changed(size: int) -> None:
    board = Board(SLOTS)
    jobs = [entry(str(n), str((n + 1) % size)) for n in range(size)]
    with pytest.raises(DependencyCycle, match="after"):
        submit(board, *jobs)
    assert not board.entries
    assert {job.status for job in jobs} == {"created"}
    for job in jobs[1:]:
        submit(board, job)
    if size > 1:
        with pytest.raises(DependencyCycle):
            submit(board, jobs[0])


def test_a_deadline_ends_what_waits_and_what_runs() -> None:
    board = Board({"job": 1, "thread": math.inf})
    a, b = entry("a", deadline=3.0), entry("b", deadline=2.0)
    submit(board, a, b)
    assert board.next_due() == 2.0
    assert moves(board.feed(Ticked(2.0, 0.0))) == [("b", "failed")]
    assert moves(board.feed(Ticked(3.0, 0.0))) == [("a", "failed")]
    assert (board.free["job"], board.next_due()) == (1, math.inf)


def test_deadlines_of_jobs_that_have_ended_are_not_kept() -> None:
    board = Board(SLOTS)
    for n in range(10_000):
        job = entry(str(n), deadline=1e9)
        submit(board, job)
        board.feed(Returned(job, 1, None))
    assert len(board._timers) < 200
    assert not board._followers


def test_a_board_with_jobs_that_nobody_will_ever_begin_says_so() -> None:
    board = Board(SLOTS)
    a, b = entry("a", "nobody"), entry("b", "a")
    submit(board, a, b)
    assert board.is_stuck()
    assert board.waits_of(a) == ["job nobody, which was never submitted"]
    assert "a to be" in board.waits_of(b)[0]
    submit(board, entry("nobody"))
    assert not board.is_stuck()


def test_an_ended_job_can_be_submitted_again() -> None:
    board = Board(SLOTS)
    a = entry("a")
    submit(board, a)
    board.feed(Revoked(a))
    assert a.status == "cancelled"
    submit(board, a)
    assert (a.status, a.attempt, board.free["job"]) == ("running", 2, 1)
