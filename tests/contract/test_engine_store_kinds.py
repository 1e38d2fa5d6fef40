"""Kinds of jobs in the store of an engine, and the store as Jobs of a folder."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from worker_dispatcher.engine import (
    CronJob,
    Engine,
    EngineSetting,
    ExecutorError,
    Job,
    Jobs,
    StoreError,
    SubprocessJob,
    ThreadJob,
)
from worker_dispatcher.engine.conditions import EveryPeriod
from worker_dispatcher.engine.rows import Row, read_store

QUIET = EngineSetting(print_traceback=False)
_gate = threading.Event()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "nightly.jobs")


def add(a: int, b: int = 0) -> int:
    return a + b


def fail(text: str = "no") -> None:
    raise ValueError(text)


def open_gate() -> None:
    _gate.set()


def rows(path: str) -> dict[str, Row]:
    return {row.id: row for row in read_store(path)[1]}


def unfinished(path: str, *jobs: Job) -> None:
    """A store in which jobs are pending."""
    engine = Engine(QUIET, store=path)
    engine._dispatcher.pause()
    engine.take(jobs)
    engine._dispatcher.close(kill=True)


def test_a_job_is_pickled_as_it_was_before_its_submit(path: str) -> None:
    with Engine(QUIET, store=path) as engine:
        job = ThreadJob(lambda a: a + 1, (1,), id="one", priority=2, retries=3, colour="red")
        engine.submit(job)
        engine.wait()
    same = Job.deserialization(job.serialization())
    assert (same.id, same.status, same.priority, same.retries, same.attrs) == (
        "one",
        "created",
        2,
        3,
        {"colour": "red"},
    )
    with Engine(QUIET) as engine:
        engine.submit(same)
        assert engine.wait_job(same) == 2


def test_commands_come_back(path: str, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    command = SubprocessJob(["rm", str(tmp_path / "go")], id="rm")
    unfinished(path, command)
    with Engine(QUIET, store=path, resume=True) as engine:
        engine.wait()
        assert engine.jobs.get_job_by_id("rm").result() == 0
    assert not (tmp_path / "go").exists()


def test_endless_jobs_are_not_kept_and_what_they_begin_is(path: str) -> None:
    _gate.clear()
    with Engine(QUIET, store=path) as engine:
        engine.submit(CronJob(open_gate, EveryPeriod("1d", immediate=True), job_type="thread"))
        assert _gate.wait(30)
    kept = rows(path).values()
    assert [row.status for row in kept] == ["done"]
    Engine(QUIET, store=path)


def test_jobs_can_be_looked_at_without_an_engine_and_given_to_one(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    with Engine(QUIET, Jobs(folder)) as engine:
        engine.submit(ThreadJob(add, (1, 2), id="sum"), ThreadJob(fail, id="wrong"))
    unfinished(str(folder / "jobs.sqlite"), ThreadJob(add, (5,), id="left"))
    jobs = Jobs(folder)
    jobs.update_from_cache()
    assert {job.id: job.status for job in jobs} == {"sum": "done", "wrong": "failed", "left": "pending"}
    assert jobs.get_job_by_id("sum").result() == 3
    assert (len(jobs.done), list(jobs.pending)) == (1, ["left"])
    with Engine(QUIET, jobs) as engine:
        jobs.update_from_cache()
        engine.wait()
        assert jobs.get_job_by_id("left").result() == 5
    with pytest.raises(ExecutorError, match="these jobs are in no file"):
        Jobs().update_from_cache()
    with pytest.raises(StoreError, match="does not exist"):
        Jobs(tmp_path).update_from_cache()
