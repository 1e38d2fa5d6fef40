"""Jobs that run again, that give their id to others or are removed, while others submit, stop and start the engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker_dispatcher import current_task
from worker_dispatcher.engine import Engine, EngineSetting, ExecutorError, Job, ProcessJob, SubprocessJob, ThreadJob
from worker_dispatcher.engine.conditions import Condition
from worker_dispatcher.engine.log import logger

QUIET = EngineSetting(print_traceback=False)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def add(a: int, b: int) -> int:
    return a + b


@contextmanager
def nobody_acts(engine: Engine) -> Iterator[None]:
    """As if another thread were in the midst of what the board has said."""
    with engine._dispatcher._acting:
        yield
    engine._dispatcher._act()


def test_a_job_that_has_taken_the_id_of_an_ended_one_is_the_only_one_of_it() -> None:
    with Engine(QUIET) as engine:
        first, second = ThreadJob(add, (1, 2), id="same"), ThreadJob(add, (1, "x"), id="same")
        for job in (first, second):
            engine.submit(job)
            engine.wait()
        assert (engine.jobs.done.values(), engine.jobs.failed.values()) == ([], [second])
        engine.remove(first)
        assert engine.jobs.all_jobs() == [second], "who has given the id away cannot take the other one along"
        third = ThreadJob(add, (first.future, 5))
        engine.submit(third)
        assert engine.wait_job(third) == 8, "its future is still its own"


def test_the_id_of_a_job_that_is_about_to_be_submitted_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, runs = Job.prepare, list[int]()
    with Engine() as engine:
        first, second = (ThreadJob(runs.append, (n,), id="same") for n in (1, 2))

        def late(self: Job, engine: Engine, at: float) -> object:
            if self is first:
                with pytest.raises(ExecutorError, match="id 'same' has not ended"):
                    engine.submit(second)
            return prepare(self, engine, at)

        monkeypatch.setattr(ThreadJob, "prepare", late)
        engine.submit(first)
        engine.wait()
        assert (runs, second.status) == ([1], "created")


def test_a_job_that_is_run_again_before_its_end_was_told_has_two_ends() -> None:
    go = threading.Event()
    with Engine() as engine:
        job: Job = ThreadJob(go.wait, (20,))
        engine.submit(job)
        old = job.future
        with nobody_acts(engine):
            engine.cancel(job)
            again = threading.Thread(target=engine.submit, args=(job,))
            again.start()
        again.join()
        assert old.cancelled()
        assert job.future is not old
        go.set()
        assert engine.wait_job(job, 20) is True


def test_what_was_cancelled_is_stopped_though_the_job_runs_again_at_once() -> None:
    seen = threading.Event()

    def until_cancelled() -> int:
        task = current_task()
        assert task is not None
        if task.attempt == 2:
            return 2
        while not task.cancelled():
            time.sleep(0.005)
        seen.set()
        return 1

    with Engine() as engine:
        job = ThreadJob(until_cancelled)
        engine.submit(job)
        while job.running is None:
            time.sleep(0.005)
        with nobody_acts(engine):
            engine.cancel(job)
            again = threading.Thread(target=engine.submit, args=(job,))
            again.start()
        again.join()
        assert engine.wait_job(job, 20) == 2
        assert seen.wait(20)


def test_a_removed_job_that_another_thread_submits_again_meanwhile_ends_nevertheless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Engine() as engine:
        job = ThreadJob(add, (1, 2))
        engine.submit(job)
        engine.wait()
        cancel, again = engine.cancel, [job]

        def cancel_and_lose_a_race(*jobs: Job) -> bool:
            done = cancel(*jobs)
            if again:
                engine.submit(again.pop())
            return done

        monkeypatch.setattr(engine, "cancel", cancel_and_lose_a_race)
        engine.remove(job)
        engine.wait(20)
        assert (len(engine.jobs), engine._dispatcher.left) == (0, 0)


def test_the_job_of_another_engine_cannot_be_removed() -> None:
    with Engine() as engine, Engine(EngineSetting(max_jobs=1)) as other:
        go = threading.Event()
        first, job = ThreadJob(go.wait, (20,)), ThreadJob(add, (1, 2))
        other.submit(first, job)
        with pytest.raises(ExecutorError, match="another engine"):
            engine.remove(job)
        assert job.status == "pending"
        engine.remove(ThreadJob(add))
        go.set()


@pytest.mark.parametrize("kind", [ThreadJob, ProcessJob])
@pytest.mark.parametrize("timeout", [None, 60])
def test_what_a_stopped_engine_runs_can_be_cancelled(kind: type[Job], timeout: float | None) -> None:
    began = time.monotonic()
    go = threading.Event()
    engine = Engine()
    engine.start()
    job = kind(go.wait if kind is ThreadJob else time.sleep, (60,), timeout=timeout)
    engine.submit(job)
    engine.stop()
    engine.cancel(job)
    assert engine.wait_job(job, 20) is None
    assert job.status == "cancelled"
    assert job.future.cancelled()
    go.set()
    assert time.monotonic() - began < 20


def test_an_engine_that_is_stopped_and_started_at_once_runs_or_does_not(wait_until: Callable[..., None]) -> None:
    class Never(Condition):
        def satisfy(self, engine: Engine) -> bool:
            return False

    engine = Engine()
    engine.start()
    inside, go = threading.Event(), threading.Event()
    close = engine._dispatcher.close

    def slow_close(*, kill: bool) -> None:
        inside.set()
        go.wait(0.2)
        close(kill=kill)

    engine._dispatcher.close = slow_close  # type: ignore[method-assign]
    stops = threading.Thread(target=engine.stop)
    stops.start()
    assert inside.wait(20)
    engine.start()
    stops.join()
    job = ThreadJob(add, (1, 2))
    engine.submit(job)
    assert engine.wait_job(job, 20) == 3
    engine.stop()


def test_a_condition_that_was_to_be_asked_when_the_engine_was_stopped_is_asked_later() -> None:
    inside, go, says = threading.Event(), threading.Event(), [False]

    class Slow(Condition):
        def satisfy(self, engine: Engine) -> bool:
            inside.set()
            go.wait(20)
            return False

    class Soon(Condition):
        def satisfy(self, engine: Engine) -> bool:
            return says[0]

    engine = Engine()
    engine.start()
    engine.submit(ThreadJob(add, (1, 2), condition=Slow(), wait_time_delta=60))
    assert inside.wait(20)
    job = ThreadJob(add, (1, 2), condition=Soon(), wait_time_delta=0.01)
    engine.submit(job)
    stops = threading.Thread(target=engine.stop)
    stops.start()
    while not engine._dispatcher._keeper._closed:
        time.sleep(0.005)
    go.set()
    stops.join()
    says[0] = True
    engine.start()
    assert engine.wait_job(job, 20) == 3
    engine.cancel_all()
    engine.stop()


def test_commands_that_never_began_do_not_hold_up_the_end() -> None:
    with Engine(EngineSetting(max_jobs=30, on_exit="cancel")) as engine:
        for _ in range(10):
            jobs = [SubprocessJob("true", record_cmd=False) for _ in range(10)]
            with nobody_acts(engine):
                engine.submit(*jobs)
                engine.cancel(*jobs)
        began = time.monotonic()
    assert time.monotonic() - began < 3


def test_a_sink_of_the_log_that_raises_loses_no_job(capfd: pytest.CaptureFixture[str]) -> None:
    def broken(line: str) -> None:
        raise OSError("the pipe is closed")

    level, number = logger.level, logger.add(broken, level="INFO")
    try:
        with Engine() as engine:
            job = ThreadJob(add, (1, "x"))
            engine.submit(job)
            engine.wait_job(job, 20)
            assert (job.status, job.future.done()) == ("failed", True)
    finally:
        logger.remove(number)
    assert logger.level == level
    assert "the pipe is closed" in capfd.readouterr().err
