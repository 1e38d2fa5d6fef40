"""How an engine is left, and what its store says of it then."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from worker_dispatcher import WorkerWarning
from worker_dispatcher.engine import CronJob, Engine, EngineSetting, StoreError, ThreadJob
from worker_dispatcher.engine.conditions import AfterAnother, EveryPeriod
from worker_dispatcher.engine.rows import read_store


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "nightly.jobs")


def statuses(path: str) -> dict[str, str]:
    return {row.id: row.status for row in read_store(path)[1]}


def run(path: str, go: threading.Event) -> None:
    with Engine(EngineSetting(max_jobs=1), store=path) as engine:
        engine.submit(ThreadJob(abs, (-1,), id="first"))
        engine.wait()
        with pytest.warns(WorkerWarning, match="cannot be pickled"):
            engine.submit(ThreadJob(go.wait, (20,), id="second"), ThreadJob(abs, (-3,), id="third"))
        raise KeyboardInterrupt


def test_what_an_interrupt_ends_is_there_for_who_resumes(path: str) -> None:
    go = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        run(path, go)
    go.set()
    assert statuses(path) == {"first": "done", "second": "running", "third": "pending"}
    with pytest.raises(StoreError, match="resume=True"):
        Engine(store=path)
    with Engine(EngineSetting(print_traceback=False), store=path, resume=True) as engine:
        engine.wait()
        assert engine.jobs.get_job_by_id("third").result() == 3
        assert engine.jobs.get_job_by_id("second").status == "failed", "its function could not be kept"
    assert set(statuses(path).values()) == {"done", "failed"}


def test_what_is_cancelled_on_purpose_has_ended(path: str) -> None:
    with Engine(EngineSetting(on_exit="cancel"), store=path) as engine:
        engine.submit(ThreadJob(abs, (-1,), id="later", condition=AfterAnother("nobody")))
    assert statuses(path) == {"later": "cancelled"}
    Engine(store=path)


def test_what_can_never_begin_is_not_lost(path: str) -> None:
    def block() -> None:
        with Engine(store=path) as engine:
            engine.submit(ThreadJob(abs, (-1,), id="later", condition=AfterAnother("nobody")))

    with pytest.warns(WorkerWarning, match="nothing can begin"):
        block()
    assert statuses(path) == {"later": "pending"}
    with Engine(store=path, resume=True) as engine:
        engine.submit(ThreadJob(abs, (-1,), id="nobody"))
        engine.wait()
        assert engine.jobs.get_job_by_id("later").result() == 1


def test_what_never_ends_by_itself_ends_with_the_block(path: str) -> None:
    with Engine(store=path) as engine:
        engine.submit(CronJob(abs, EveryPeriod("1h"), args=(-1,), job_type="thread"))
    assert set(statuses(path).values()) <= {"cancelled"}
    Engine(store=path)


def test_an_engine_that_was_left_with_an_exception_keeps_its_jobs_again_once_it_is_started(path: str) -> None:
    engine = Engine(store=path)

    def block() -> None:
        with engine:
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        block()
    with engine:
        engine.submit(ThreadJob(abs, (-1,), id="first"))
    assert statuses(path) == {"first": "done"}
