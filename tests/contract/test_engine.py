"""Engine and its jobs, as its users have them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import namedtuple
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import ConfigError, DeadlineExceeded, TaskTimeout, WorkerDied, WorkerWarning, current_task
from worker_dispatcher.engine import (
    Engine,
    EngineSetting,
    ExecutorError,
    InvalidStateError,
    Job,
    JobNotFoundError,
    LocalJob,
    ProcessJob,
    ThreadJob,
)
from worker_dispatcher.engine.conditions import (
    AfterAnother,
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
        jobs = [LocalJob(meet) for _ in range(2)]
        engine.submit(*jobs)
        engine.wait()
        assert [job.status for job in jobs] == ["done", "done"]


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
