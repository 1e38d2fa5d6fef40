"""Generators as jobs: values come one by one, from wherever the generator runs."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import TaskTimeout, WorkerDied
from worker_dispatcher.engine import Engine, EngineSetting, Job, LocalJob, ProcessJob, ThreadJob

KINDS = [LocalJob, ThreadJob, ProcessJob]
each_kind = pytest.mark.parametrize("kind", KINDS)
QUIET = EngineSetting(print_traceback=False)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def numbers(most: int) -> Iterator[int]:
    yield from range(most)
    raise_if_odd(most)


def raise_if_odd(number: int) -> None:
    if number % 2:
        raise ValueError("odd")


async def soft_numbers(most: int) -> AsyncIterator[int]:
    for number in range(most):
        await asyncio.sleep(0)
        yield number
    raise_if_odd(most)


def echo(path: str = "") -> Iterator[Any]:
    """Gives back what it is sent; leaves a file when it is closed."""
    got = None
    try:
        while True:
            try:
                got = yield got
            except KeyError as error:
                got = f"caught {error}"
    finally:
        if path:
            Path(path).touch()


async def soft_echo() -> AsyncIterator[Any]:
    got = None
    while True:
        try:
            got = yield got
        except KeyError as error:
            got = f"caught {error}"


@each_kind
def test_values_come_one_by_one_and_the_status_is_final_before_the_end_is_told(kind: type[Job]) -> None:
    with Engine() as engine:
        job = kind(numbers, (4,))
        engine.submit(job)
        assert job.status == "running"
        values = job.result()
        assert values is job.result()
        assert [next(values) for _ in range(4)] == [0, 1, 2, 3]
        assert job.status == "running"
        with pytest.raises(StopIteration):
            next(values)
        assert job.status == "done"
        assert list(values) == []


@each_kind
def test_what_a_generator_raises_comes_where_its_next_value_would(kind: type[Job]) -> None:
    with Engine(QUIET) as engine:
        job = kind(numbers, (1,), retries=3)
        engine.submit(job)
        values = job.result()
        assert next(values) == 0
        with pytest.raises(ValueError, match="odd"):
            next(values)
        assert (job.status, job.attempts) == ("failed", 1), "what was given cannot be given again"
        assert isinstance(job.exception(), ValueError)


@each_kind
def test_a_generator_is_sent_values_and_exceptions_and_is_closed(kind: type[Job]) -> None:
    with Engine() as engine:
        job = kind(echo, (os.path.abspath("closed"),))
        engine.submit(job)
        values = job.result()
        assert next(values) is None
        assert values.send({"a": 1}) == {"a": 1}
        assert values.throw(KeyError("k")) == "caught 'k'"
        values.close()
        assert job.status == "done"
        assert os.path.exists("closed")
        values.close()


@each_kind
def test_an_async_generator_is_gone_through_on_any_loop(kind: type[Job]) -> None:
    async def main(engine: Engine) -> None:
        job = kind(soft_numbers, (4,))
        await engine.submit_async(job)
        assert job.status == "running"
        values = job.result()
        assert await anext(values) == 0
        assert [value async for value in values] == [1, 2, 3]
        assert job.status == "done"
        failing, sent = kind(soft_numbers, (1,)), kind(soft_echo)
        engine.submit(failing, sent)
        values = failing.result()
        assert await anext(values) == 0
        with pytest.raises(ValueError, match="odd"):
            await anext(values)
        assert failing.status == "failed"
        values = sent.result()
        assert await anext(values) is None
        assert await values.asend(5) == 5
        assert await values.athrow(KeyError("k")) == "caught 'k'"
        await values.aclose()
        assert sent.status == "done"

    with Engine(QUIET) as engine:
        asyncio.run(main(engine))
        asyncio.run(main(engine))


@each_kind
def test_a_generator_may_be_gone_through_in_a_running_loop(kind: type[Job]) -> None:
    async def main() -> list[int]:
        engine = Engine()
        job = kind(numbers, (4,))
        await engine.submit_async(job)
        found = list(job.result())
        engine.start()
        engine.stop()
        return found

    assert asyncio.run(main()) == [0, 1, 2, 3]


@each_kind
def test_a_worker_goes_on_only_when_it_is_asked(kind: type[Job], tmp_path: Path) -> None:
    def steps() -> Iterator[int]:
        for number in range(3):
            (tmp_path / str(number)).touch()
            yield number

    with Engine() as engine:
        job = kind(steps)
        engine.submit(job)
        values = job.result()
        assert os.listdir(tmp_path) == []
        assert next(values) == 0
        engine.submit(ThreadJob(len, ("a",)))
        assert os.listdir(tmp_path) == ["0"]
        values.close()


@each_kind
def test_who_lets_go_of_the_values_cancels_the_job(kind: type[Job], wait_until: Callable[..., None]) -> None:
    with Engine() as engine:
        job = kind(echo, (os.path.abspath("closed"),))
        engine.submit(job)
        for value in job.result():
            assert value is None
            break
        gc.collect()
        wait_until(lambda: job.status == "cancelled")
        if kind is not ProcessJob:  # which is killed
            wait_until(lambda: os.path.exists("closed"))
        engine.wait()


@each_kind
def test_who_waits_for_a_value_hears_of_a_cancel(kind: type[Job]) -> None:
    with Engine() as engine:
        job = kind(echo)
        engine.submit(job)
        values = job.result()
        next(values)
        engine.cancel(job)
        with pytest.raises(CancelledError):
            next(values)
        engine.wait()


def wait_for(path: str) -> Iterator[int]:
    yield 0
    while not os.path.exists(path):
        threading.Event().wait(0.01)
    yield 1


@pytest.mark.parametrize("kind", [ThreadJob, ProcessJob])
def test_a_value_whose_consumer_has_given_up_is_the_next_ones(kind: type[Job]) -> None:
    async def soft_wait_for(path: str) -> AsyncIterator[int]:
        for value in wait_for(path):
            yield value

    async def main(engine: Engine) -> None:
        job = kind(soft_wait_for, ("go",))
        engine.submit(job)
        values = job.result()
        assert await anext(values) == 0
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(values), 0.05)
        with pytest.raises(ValueError, match="already executing"):
            await values.asend(1)
        Path("go").touch()
        assert await anext(values) == 1
        await values.aclose()

    with Engine() as engine:
        asyncio.run(main(engine))


def test_one_consumer_at_a_time(wait_until: Callable[..., None]) -> None:
    with Engine() as engine:
        job = ThreadJob(wait_for, ("go",))
        engine.submit(job)
        values = job.result()
        next(values)
        found: list[int] = []
        other = threading.Thread(target=lambda: found.append(next(values)))
        other.start()
        wait_until(lambda: job.stream is not None and job.stream._waiting)
        with pytest.raises(ValueError, match="already executing"):
            next(values)
        Path("go").touch()
        other.join()
        assert found == [1]
        values.close()


def test_a_process_that_dies_and_one_over_its_time_end_who_waits() -> None:
    def die() -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), 9)

    with Engine(QUIET) as engine:
        dying, slow = ProcessJob(die), ProcessJob(wait_for, ("go",), timeout=0.3)
        engine.submit(dying, slow)
        values, slow_values = dying.result(), slow.result()
        assert next(values) == 1
        with pytest.raises(WorkerDied):
            next(values)
        with pytest.raises(TaskTimeout):
            list(slow_values)
        assert (dying.status, slow.status) == ("failed", "failed")


def test_values_of_a_process_may_be_large_and_what_cannot_be_sent_is_its_failure() -> None:
    def large() -> Iterator[Any]:
        yield b"x" * 3_000_000
        yield threading.Lock()

    with Engine(QUIET) as engine:
        job = ProcessJob(large)
        engine.submit(job)
        values = job.result()
        assert len(next(values)) == 3_000_000
        with pytest.raises(TypeError, match="lock"):
            next(values)
        assert job.status == "failed"


def test_a_generator_job_that_is_submitted_again_begins_anew() -> None:
    with Engine() as engine:
        job = ThreadJob(numbers, (2,))
        engine.submit(job)
        assert list(job.result()) == [0, 1]
        engine.submit(job)
        assert list(job.result()) == [0, 1]
        assert job.future.result() is job.result()


def test_the_end_of_the_block_ends_generators_that_nobody_goes_through() -> None:
    setting = EngineSetting(on_exit="cancel")
    with Engine(setting) as engine:
        jobs = [kind(echo) for kind in KINDS]
        engine.submit(*jobs)
        assert engine.resource.n_job == 17
    assert {job.status for job in jobs} == {"cancelled"}
