"""What jobs wait for, what becomes of them if it does not come, and how they are cancelled."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from worker_dispatcher import WorkerWarning, current_task
from worker_dispatcher.engine import (
    DependencyCycle,
    Engine,
    EngineSetting,
    Job,
    LocalJob,
    ProcessJob,
    ThreadJob,
    UpstreamFailed,
)
from worker_dispatcher.engine.conditions import (
    AfterAnother,
    AfterOthers,
    AllSatisfied,
    AnySatisfied,
    Condition,
)

KINDS = [LocalJob, ThreadJob, ProcessJob]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def add(a: int, b: int) -> int:
    return a + b


def fail(text: str = "no") -> None:
    raise ValueError(text)


QUIET = EngineSetting(print_traceback=False)


def test_a_failed_upstream_gives_the_downstream_a_short_cause() -> None:
    with Engine(QUIET) as engine:
        bad = ThreadJob(fail, name="bad")
        cancelled = ThreadJob(add, (bad.future, 1))
        further = ThreadJob(add, (cancelled.future, 1))
        failed = ThreadJob(add, (bad.future, 1), on_upstream="fail")
        run = ThreadJob(lambda value: value, (bad.future,), on_upstream="run")
        engine.submit(further, cancelled, failed, run, bad)
        engine.wait()
        assert (cancelled.status, further.status, failed.status) == ("cancelled", "cancelled", "failed")
        assert isinstance(failed.exception(), UpstreamFailed)
        assert str(failed.exception()) == "its upstream job bad failed"
        assert run.result() is None


def test_conditions_on_other_jobs_have_a_job_wait() -> None:
    order: list[str] = []
    with Engine(QUIET) as engine:
        a, b = ThreadJob(order.append, ("a",)), ThreadJob(fail)
        c = ThreadJob(order.append, ("c",), condition=AfterOthers([a.id, b.id]))
        d = ThreadJob(order.append, ("d",), condition=AfterAnother(c.id) & AfterAnother(a.id))
        e = ThreadJob(order.append, ("e",), condition=AfterAnother(d.id) | AfterAnother("nobody"))
        f = ThreadJob(order.append, ("f",), condition=AfterOthers([e.id, "nobody"], mode="any"))
        engine.submit(f, e, d, c, b, a)
        engine.wait()
    assert order == ["a", "c", "d", "e", "f"]
    assert isinstance(d.condition, AllSatisfied)
    assert isinstance(e.condition, AnySatisfied)


def test_a_job_with_a_condition_and_futures_has_both_as_its_condition() -> None:
    with Engine() as engine:
        a, b = ThreadJob(add, (1, 2)), ThreadJob(add, (3, 4))
        c = ThreadJob(add, (a.future, 1), condition=AfterAnother(b.id))
        engine.submit(c, b, a)
        engine.wait()
        assert c.condition == AllSatisfied([AfterAnother(b.id), AfterOthers([a.id])])
        assert c.result() == 4


class Gate(Condition):
    def __init__(self) -> None:
        self.open, self.asked = False, 0

    def satisfy(self, engine: Engine) -> bool:
        self.asked += 1
        return self.open


def test_a_condition_of_ones_own_is_asked_now_and_then_and_at_the_end_of_each_job() -> None:
    gate, other = Gate(), Gate()
    with Engine() as engine:
        job = ThreadJob(add, (1, 2), condition=gate, wait_time_delta=0.01)
        rarely = ThreadJob(add, (1, 2), condition=other, wait_time_delta=60)
        engine.submit(job, rarely)
        while gate.asked < 3:
            time.sleep(0.01)
        assert job.status == "pending"
        other.open = gate.open = True
        engine.wait_job(job, 20)
        engine.wait_job(rarely, 20)
        assert (job.status, rarely.status) == ("done", "done")


def test_a_condition_that_raises_counts_as_false_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Condition):
        def satisfy(self, engine: Engine) -> bool:
            raise OSError("no such thing")

    with Engine(EngineSetting(on_exit="cancel")) as engine:
        job = ThreadJob(add, (1, 2), condition=Broken(), wait_time_delta=0.01)
        engine.submit(job)
        while "no such thing" not in caplog.text:
            time.sleep(0.01)
        assert job.status == "pending"


def test_jobs_that_wait_for_each_other_are_refused() -> None:
    with Engine() as engine:
        a = ThreadJob(add, (1, 2), id="a", name="first", condition=AfterAnother("b"))
        b = ThreadJob(add, (1, 2), id="b", name="second", condition=AfterAnother("a"))
        with pytest.raises(DependencyCycle, match="first after second after first"):
            engine.submit(a, b)
        assert (a.status, len(engine.jobs)) == ("created", 0)


def test_wait_says_what_jobs_wait_for_that_can_never_begin() -> None:
    with Engine(EngineSetting(on_exit="cancel")) as engine:
        engine.submit(ThreadJob(add, (1, 2), name="lonely", condition=AfterAnother("nobody")))
        with pytest.warns(WorkerWarning, match="lonely .* waits for job nobody, which was never submitted"):
            engine.wait()


@each_kind
def test_a_pending_job_that_is_cancelled_never_runs(kind: type[Job], tmp_path: Path) -> None:
    with Engine(EngineSetting(max_jobs=1)) as engine:
        first, second = kind(time.sleep, (0.1,)), kind((tmp_path / "ran").touch)
        engine.submit(first, second)
        assert engine.cancel(second)
        assert second.status == "cancelled"
        engine.wait()
        assert not engine.cancel(second)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(CancelledError):
        second.future.result(0)


def test_a_running_process_is_killed_and_its_slot_is_free() -> None:
    with Engine(EngineSetting(max_process_jobs=1)) as engine:
        job, other = ProcessJob(time.sleep, (60,)), ProcessJob(add, (1, 2))
        engine.submit(job, other)
        began = time.monotonic()
        engine.cancel(job)
        assert engine.wait_job(other, 20) == 3
        assert time.monotonic() - began < 10
        assert job.status == "cancelled"


def test_a_running_thread_that_is_cancelled_may_ask_and_its_slot_is_free_at_once() -> None:
    begun, saw = threading.Event(), threading.Event()

    def until_cancelled() -> None:
        begun.set()
        task = current_task()
        assert task is not None
        while not task.cancelled():
            time.sleep(0.005)
        saw.set()

    with Engine(EngineSetting(max_thread_jobs=1)) as engine:
        job, other = ThreadJob(until_cancelled), ThreadJob(add, (1, 2))
        engine.submit(job, other)
        assert begun.wait(20)
        engine.cancel(job)
        assert engine.wait_job(other, 20) == 3
        assert saw.wait(20)
        assert job.status == "cancelled"
