"""Jobs that have one id after the other have one row in the file of their engine, whoever is removed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker_dispatcher.engine import Engine, EngineSetting, ExecutorError, ThreadJob
from worker_dispatcher.engine.rows import read_store
from worker_dispatcher.engine.store import Store

QUIET = EngineSetting(print_traceback=False)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "nightly.jobs")


def test_jobs_that_had_an_id_before_another_never_leave_a_row_of_their_own(path: str) -> None:
    """A job that comes again after the one in its place was removed, and a third has the id."""
    first, second, third = (ThreadJob(abs, (1,), id="one") for _ in range(3))
    with Engine(QUIET, store=path) as engine:
        for job in (first, second):
            engine.submit(job)
            engine.wait(30)
        engine.remove(second)
        for job in (third, first):
            engine.submit(job)
            engine.wait(30)
    found = read_store(path)[1]
    assert [(row.id, row.status) for row in found] == [("one", "done")]
    with Engine(QUIET, store=path, resume=True) as engine:
        assert [job.status for job in engine.jobs] == ["done"]


def test_a_job_that_is_removed_while_another_of_its_id_is_refused_is_not_in_the_file(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ThreadJob(abs, (1,), id="one"), ThreadJob(abs, (2,), id="one")
    with Engine(QUIET, store=path) as engine:
        engine.submit(first)
        engine.wait(30)

        def removed_meanwhile(job: ThreadJob, engine: Engine, at: float) -> None:
            engine.remove(first)
            raise ExecutorError("not this one")

        monkeypatch.setattr(ThreadJob, "prepare", removed_meanwhile)
        with pytest.raises(ExecutorError, match="not this one"):
            engine.submit(second)
        monkeypatch.undo()
    assert not read_store(path)[1]


def test_a_job_in_the_place_of_one_that_is_removed_meanwhile_is_kept(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (ThreadJob(abs, (n,), id="one") for n in range(3))
    pack = Store.pack
    with Engine(QUIET, store=path) as engine:
        engine.submit(first)
        engine.wait(30)
        monkeypatch.setattr(Store, "pack", lambda store, job: (pack(store, job), engine.remove(first)))
        engine.submit(second)
        monkeypatch.undo()
        engine.wait(30)
        engine.submit(third)
        engine.wait(30)
    found = read_store(path)[1]
    assert [(row.id, row.status) for row in found] == [("one", "done")]
