"""Which job an id and a future stand for, and who holds what jobs gave."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from pathlib import Path

import pytest

from worker_dispatcher.engine import (
    Engine,
    ExecutorError,
    Job,
    ThreadJob,
)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def add(a: int, b: int) -> int:
    return a + b


def test_an_id_of_a_job_that_has_not_ended_is_refused_for_another_and_free_again_then() -> None:
    go = threading.Event()
    with Engine() as engine:
        first, second = (ThreadJob(go.wait, (20,), id="same") for _ in range(2))
        engine.submit(first)
        with pytest.raises(ExecutorError, match="id 'same' has not ended"):
            engine.submit(second)
        with pytest.raises(ExecutorError, match="id 'twice'"):
            engine.submit(*(ThreadJob(add, (1, 2), id="twice") for _ in range(2)))
        go.set()
        engine.wait()
        engine.submit(second)
        engine.wait()
        assert engine.jobs.get_job_by_id("same") is second


def test_a_job_that_is_submitted_twice_at_once_runs_once() -> None:
    runs: list[int] = []
    with Engine() as engine:
        for _ in range(50):
            job, start = ThreadJob(runs.append, (1,)), threading.Barrier(4)

            def submit(job: Job = job, start: threading.Barrier = start) -> None:
                start.wait(20)
                engine.submit(job, job)

            engine._dispatcher.pause()
            threads = [threading.Thread(target=submit) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            engine._dispatcher.open()
            engine.wait()
    assert len(runs) == 50


def test_the_future_of_a_done_job_is_good_wherever_the_job_is_and_else_refused() -> None:
    go = threading.Event()
    with Engine() as engine, Engine() as other:
        done, running = ThreadJob(add, (1, 2)), ThreadJob(go.wait, (20,))
        engine.submit(done, running)
        engine.wait_job(done)
        with pytest.raises(ExecutorError, match="of another engine"):
            other.submit(ThreadJob(add, (running.future, 1)))
        go.set()
        there = ThreadJob(add, (done.future, 1))
        other.submit(there)
        assert other.wait_job(there) == 4
        engine.remove(done)
        here = ThreadJob(add, (done.future, 2))
        engine.submit(here)
        assert engine.wait_job(here) == 5


def test_a_job_that_was_removed_is_held_by_nobody() -> None:
    class Large:
        """Can be asked whether it is still there."""

    with Engine() as engine:
        job = ThreadJob(Large)
        engine.submit(job)
        alive = weakref.ref(engine.wait_job(job))
        engine.remove(job)
        del job
        until = time.monotonic() + 20
        while alive() is not None and time.monotonic() < until:
            gc.collect()
            time.sleep(0.01)
        assert alive() is None


def test_an_engine_that_nobody_holds_is_let_go() -> None:
    engine = Engine()
    engine.start()
    engine.submit(ThreadJob(add, (1, 2)))
    engine.wait()
    alive = weakref.ref(engine)
    del engine
    until = time.monotonic() + 20
    while alive() is not None and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    assert alive() is None
