"""Engine and its jobs, as its users have them."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections import namedtuple
from concurrent.futures import CancelledError, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import ConfigError, DeadlineExceeded, TaskTimeout, WorkerDied, WorkerWarning, current_task
from worker_dispatcher.engine import (
    DependencyCycle,
    Engine,
    EngineSetting,
    ExecutorError,
    InvalidStateError,
    Job,
    JobNotFoundError,
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


def test_results_go_from_job_to_job_through_all_kinds() -> None:
    with Engine() as engine:
        first = LocalJob(add, (1, 2))
        second = ThreadJob(add, (first.future, 4))
        third = ProcessJob(add, kwargs={"a": second.future, "b": 5})
        engine.submit(third, second, first)
        engine.wait()
        assert (first.result(), second.result(), third.result()) == (3, 7, 12)
        assert third.dep_job_ids == [second.id]


def test_nothing_is_written_where_nothing_is_asked_for() -> None:
    with Engine() as engine:
        engine.submit(ThreadJob(add, (1, 2)))
    assert os.listdir() == []


def test_futures_within_lists_tuples_and_dicts_are_resolved() -> None:
    pair = namedtuple("pair", "left right")
    with Engine() as engine:
        one = ThreadJob(add, (1, 2))
        deep: Any = {"list": [one.future, (one.future, "x")], "pair": pair(one.future, 0)}
        two = ThreadJob(lambda value: value, (deep,))
        engine.submit(one, two)
        engine.wait()
        assert two.result() == {"list": [3, (3, "x")], "pair": pair(3, 0)}
        assert deep["list"][0] is one.future, "the arguments of the caller are as they were"


@each_kind
def test_on_return_from_submit_a_job_with_a_free_slot_is_running(kind: type[Job]) -> None:
    with Engine(EngineSetting(max_jobs=1)) as engine:
        job, later = kind(time.sleep, (0.2,)), kind(time.sleep, (0,))
        engine.submit(job, later)
        assert (job.status, later.status) == ("running", "pending")
        assert len(engine.jobs.running) == 1
        engine.wait()
        assert [job.id, later.id] == engine.jobs.done.keys()


def test_submit_needs_a_started_engine_and_submit_async_does_not() -> None:
    engine = Engine()
    with pytest.raises(RuntimeError, match="not running"):
        engine.submit(ThreadJob(add, (1, 2)))

    async def main() -> int:
        job = ThreadJob(add, (1, 2))
        await engine.submit_async(job)
        await engine.join()
        return int(job.result())

    assert asyncio.run(main()) == 3
    assert asyncio.run(main()) == 3, "in another loop, too"
    engine.start()
    engine.stop()


def test_the_sync_submit_works_in_a_running_loop() -> None:
    async def main() -> Any:
        with Engine() as engine:
            job = ThreadJob(add, (1, 2))
            engine.submit(job)
            return await job

    assert asyncio.run(main()) == 3


@each_kind
def test_what_a_job_raises_is_its_failure_and_is_told(kind: type[Job]) -> None:
    told: list[BaseException] = []
    with Engine(QUIET) as engine:
        job = kind(fail, ("broken",), error_callback=told.append)
        engine.submit(job)
        assert engine.wait_job(job) is None
        assert (job.status, str(job.exception())) == ("failed", "broken")
        assert [str(error) for error in told] == ["broken"]
        with pytest.raises(InvalidStateError):
            job.result()
        with pytest.raises(ValueError, match="broken"):
            engine.wait_job(job, raise_=True)


@each_kind
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_any_exception_of_a_job_is_that_jobs_failure(kind: type[Job], error: type[BaseException]) -> None:
    def leave() -> None:
        raise error

    with Engine(QUIET) as engine:
        job, other = kind(leave), kind(add, (1, 2))
        engine.submit(job, other)
        engine.wait()
        assert (job.status, other.status) == ("failed", "done")


def test_a_process_that_dies_costs_its_job_alone() -> None:
    with Engine(QUIET) as engine:
        job, other = ProcessJob(os._exit, (3,)), ProcessJob(add, (1, 2))
        engine.submit(job, other)
        engine.wait()
        assert isinstance(job.exception(), WorkerDied)
        assert other.result() == 3


def test_retries_wait_tell_of_each_failure_and_end_with_the_last_outcome() -> None:
    tries: list[float] = []
    told: list[BaseException] = []

    def third_time() -> str:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OSError(len(tries))
        return "fine"

    with Engine(QUIET) as engine:
        job = ThreadJob(third_time, retries=5, retry_time_delta=0.05, error_callback=told.append)
        engine.submit(job)
        assert engine.wait_job(job) == "fine"
    assert (len(tries), len(told), job.attempts, job.retry_remain) == (3, 2, 3, 3)
    assert tries[2] - tries[0] >= 0.1
    assert isinstance(job.exception(), OSError), "the last failure stays known"


def test_retry_on_and_backoff_say_which_failures_are_tried_again_and_when() -> None:
    waits: list[int] = []

    def backoff(attempt: int) -> float:
        waits.append(attempt)
        return 0.0

    with Engine(QUIET) as engine:
        twice = ThreadJob(fail, retries=1, backoff=backoff)
        never = ThreadJob(fail, retries=1, retry_on=OSError)
        engine.submit(twice, never)
        engine.wait()
    assert (twice.attempts, never.attempts, waits) == (2, 1, [1])


@pytest.mark.parametrize("kind", [ThreadJob, ProcessJob])
def test_a_timeout_ends_an_attempt_and_a_deadline_all_of_them(kind: type[Job]) -> None:
    go = threading.Event()
    sleep = go.wait if kind is ThreadJob else time.sleep
    with Engine(QUIET) as engine:
        slow = kind(sleep, (30,), timeout=0.2)
        late = kind(sleep, (30,), deadline=0.2, name="late")
        waiting = kind(add, (1, 2), condition=AfterAnother("nobody"), deadline=0.2)
        engine.submit(slow, late, waiting)
        engine.wait(20)
        assert isinstance(slow.exception(), TaskTimeout)
        assert isinstance(late.exception(), DeadlineExceeded)
        assert "late" in str(late.exception())
        assert isinstance(waiting.exception(), DeadlineExceeded)
    go.set()


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


def test_current_task_speaks_of_the_job() -> None:
    def who() -> tuple[Any, str, int]:
        task = current_task()
        assert task is not None
        return task.id, task.name, task.attempt

    with Engine() as engine:
        job = ThreadJob(who, name="me")
        engine.submit(job)
        assert engine.wait_job(job) == (job.id, "me", 1)


@each_kind
def test_coroutine_functions_are_awaited(kind: type[Job]) -> None:
    async def later(value: int) -> int:
        await asyncio.sleep(0.01)
        return value

    with Engine() as engine:
        job = kind(later, (7,))
        engine.submit(job)
        assert engine.wait_job(job) == 7


def test_local_coroutines_run_side_by_side() -> None:
    both = threading.Barrier(2)

    async def meet() -> None:
        await asyncio.to_thread(both.wait, 20)

    with Engine() as engine:
        engine.submit(LocalJob(meet), LocalJob(meet))


def test_a_local_job_does_not_hold_up_the_submit_of_others() -> None:
    go = threading.Event()
    with Engine() as engine:
        slow = LocalJob(go.wait, (20,))
        engine.submit(slow)
        other = ThreadJob(add, (1, 2))
        engine.submit(other)
        assert engine.wait_job(other) == 3
        assert slow.status == "running"
        go.set()


def test_callbacks_are_called_before_wait_returns_and_after_the_status_has_changed() -> None:
    told: list[Any] = []
    with Engine() as engine:
        job: Job = ThreadJob(add, (1, 2), callback=lambda value: told.append((value, job.status)))
        engine.submit(job)
        engine.wait()
        assert told == [(3, "done")]
        job.future.add_done_callback(lambda future: told.append(future.result()))
        deadline = time.monotonic() + 20
        while len(told) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert told[1] == 3, "one that comes late is called, too"


def test_a_coroutine_function_may_be_a_callback() -> None:
    told: list[int] = []

    async def tell(value: int) -> None:
        await asyncio.sleep(0)
        told.append(value)

    with Engine() as engine:
        engine.submit(ThreadJob(add, (1, 2), callback=tell))
    assert told == [3]


def test_callbacks_that_raise_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def leave(_: Any) -> None:
        raise SystemExit("callback")

    with Engine() as engine:
        job, other = ThreadJob(add, (1, 2), callback=leave), ThreadJob(add, (1, 2))
        engine.submit(job)
        engine.wait()
        engine.submit(other)
        engine.wait()
        assert (job.status, other.status) == ("done", "done")
    assert "callback" in caplog.text


def test_futures_of_jobs_are_those_of_concurrent_futures() -> None:
    with Engine() as engine:
        jobs = [ThreadJob(add, (n, 1)) for n in range(5)]
        engine.submit(*jobs)
        assert sorted(future.result(20) for future in as_completed(job.future for job in jobs)) == [1, 2, 3, 4, 5]

        async def main() -> list[int]:
            return [await job for job in jobs]

        assert asyncio.run(main()) == [1, 2, 3, 4, 5]


def test_an_ended_job_that_is_submitted_again_runs_again() -> None:
    runs: list[int] = []

    def count() -> int:
        runs.append(1)
        return len(runs)

    with Engine() as engine:
        job = ThreadJob(count)
        engine.submit(job)
        assert engine.wait_job(job) == 1
        old = job.future
        engine.submit(job)
        assert engine.wait_job(job) == 2
        assert (old.result(), job.future.result()) == (1, 2)

        async def again() -> None:
            await job.rerun()
            await job.join()

        asyncio.run(again())
        assert job.result() == 3


def test_a_function_that_has_the_key_gets_the_engine() -> None:
    def outer(__engine__: Engine) -> str:
        inner = ThreadJob(add, (1, 2))
        __engine__.submit(inner)
        return inner.id

    with Engine() as engine:
        job = LocalJob(outer)
        engine.submit(job)
        inner = engine.wait_job(job)
        engine.wait()
        assert engine.jobs.get_job_by_id(inner).result() == 3


def test_any_callable_may_be_a_job() -> None:
    class Adder:
        def __call__(self, value: int) -> int:
            return value + 1

    with Engine() as engine:
        jobs = [
            ThreadJob(abs, (-3,)),
            ThreadJob(partial(add, 1), (2,)),
            ThreadJob(Adder(), (2,)),
            ThreadJob(int, ("3",)),
        ]
        engine.submit(*jobs)
        engine.wait()
        assert [job.result() for job in jobs] == [3, 3, 3, 3]
        assert [job.name for job in jobs] == ["abs", "add", "Adder", "int"]


def test_jobs_are_found_by_id_and_can_be_forgotten() -> None:
    with Engine() as engine:
        job = ThreadJob(add, (1, 2))
        engine.submit(job)
        engine.wait()
        assert engine.jobs.get_job_by_id(job.id) is job
        assert job.id in engine.jobs
        assert job in engine.jobs
        engine.jobs.clear_non_active()
        assert len(engine.jobs) == 0
        with pytest.raises(JobNotFoundError, match=job.id):
            engine.jobs.get_job_by_id(job.id)


def test_a_job_belongs_to_one_engine() -> None:
    with Engine() as engine, Engine() as other:
        job = ThreadJob(add, (1, 2))
        engine.submit(job)
        with pytest.raises(ExecutorError, match="another engine"):
            other.submit(job)


def test_all_that_is_wrong_with_a_job_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        ThreadJob(add, retries=-1, timeout="soon", on_upstream="ignore", condition="later")  # type: ignore[arg-type]
    assert {name for name, _ in raised.value.problems} == {"retries", "timeout", "on_upstream", "condition"}
    with pytest.raises(ConfigError, match="max_jobs"):
        Engine(EngineSetting(max_jobs=-1))
    with pytest.raises(TypeError, match="called already"):
        ThreadJob(add(1, 2))  # type: ignore[arg-type]


def test_an_engine_can_be_started_again_and_what_was_pending_runs_then() -> None:
    gate = threading.Event()
    engine = Engine(EngineSetting(max_jobs=1))
    engine.start()
    first, second = ThreadJob(gate.wait, (20,)), ThreadJob(add, (1, 2))
    engine.submit(first, second)
    engine.stop()
    gate.set()
    with pytest.warns(WorkerWarning, match="not running"):
        engine.stop()
    assert second.status == "pending"
    engine.start()
    with pytest.warns(WorkerWarning, match="started already"):
        engine.start()
    assert engine.wait_job(second, 20) == 3
    engine.wait(20)
    engine.stop()


def test_an_exception_in_the_block_cancels_what_has_not_ended() -> None:
    began = time.monotonic()
    job = ProcessJob(time.sleep, (60,))

    def block() -> None:
        with Engine() as engine:
            engine.submit(job)
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        block()
    assert job.status == "cancelled"
    assert time.monotonic() - began < 20


def test_wait_job_of_a_job_that_was_never_submitted_is_refused() -> None:
    with Engine() as engine, pytest.raises(InvalidStateError, match="should be"):
        engine.wait_job(ThreadJob(add, (1, 2)))


def test_wait_until_status_times_out_and_join_returns_quietly() -> None:
    go = threading.Event()

    async def main(engine: Engine) -> None:
        job = ThreadJob(go.wait, (20,))
        await engine.submit_async(job)
        with pytest.raises(asyncio.TimeoutError):
            await job.wait_until_status("done", timeout=0.05)
        await job.join(timeout=0.05)
        assert job.status == "running"
        go.set()
        await job.wait_until_status("done", timeout=20)

    with Engine() as engine:
        asyncio.run(main(engine))


def test_threads_are_no_more_than_the_slots_whatever_was_done() -> None:
    with Engine(EngineSetting(max_thread_jobs=3)) as engine:
        before = threading.active_count()
        engine.submit(*(ThreadJob(add, (n, 1)) for n in range(500)))
        engine.wait()
        assert threading.active_count() - before <= 3 + 3  # the pool's driver, the keeper, the callbacks


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
