"""Launchers: functions of which each call is a job."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

import pytest

from worker_dispatcher import ConfigError
from worker_dispatcher.engine import Engine, EngineSetting, ProcessJob, ThreadJob
from worker_dispatcher.engine.launcher import get_default_engine, launcher, set_default_engine


@launcher(job_type="thread")
def add(a: int, b: int = 1) -> int:
    """The sum."""
    return a + b


@launcher
def product(a: int, b: int) -> int:
    return a * b


@launcher(async_mode=True, job_type="thread", name="sum", tags=["math"], job_attrs={"retries": 2})
def later(a: int, b: int) -> int:
    return a + b


def test_a_call_is_a_job_of_the_engine_whose_block_the_program_is_in() -> None:
    with Engine() as engine:
        job = add.submit(1, b=2)
        assert engine.wait_job(job) == 3
        assert isinstance(job, ThreadJob)
        assert job.name == "add"
        assert add(4) == 5
        assert len(engine.jobs.done) == 2


def test_a_launcher_is_told_as_the_function_that_it_wraps() -> None:
    assert (add.__name__, add.__doc__, add.description) == ("add", "The sum.", "The sum.")
    assert list(inspect.signature(add).parameters) == ["a", "b"]
    assert (later.name, later.tags, later.async_mode, add.async_mode) == ("sum", ["math"], True, False)


def test_a_function_of_a_module_goes_to_a_process_though_its_name_there_is_the_launcher() -> None:
    with Engine():
        job = product.submit(6, 7)
        assert isinstance(job, ProcessJob)
        assert product(2, 3) == 6
        assert job.future.result(20) == 42


def test_a_job_of_one_launcher_may_be_an_argument_of_another() -> None:
    with Engine():
        first = add.submit(1, 2)
        assert add(first.future, 4) == 7


def test_in_async_mode_the_engine_need_not_be_started() -> None:
    async def main() -> Any:
        job = await later.submit(1, 2)
        await job.join()
        assert job.retries == 2
        return job.result(), await later(3, 4)

    engine = get_default_engine()
    try:
        assert asyncio.run(main()) == (3, 7)
        assert get_default_engine() is engine
    finally:
        set_default_engine(None)
        engine.start()
        engine.stop()


def test_a_launcher_works_in_a_second_engine() -> None:
    for _ in range(2):
        with Engine():
            assert add(1, 2) == 3
    with Engine() as other:
        add.engine = other
        try:
            assert add(1, 2) == 3
            assert len(other.jobs) == 1
        finally:
            add.engine = None


def test_what_the_function_raises_comes_out_of_the_call() -> None:
    @launcher(job_type="thread")
    def fail() -> None:
        raise OSError("no")

    with Engine(EngineSetting(print_traceback=False)), pytest.raises(OSError, match="no"):
        fail()


def test_a_call_whose_job_is_cancelled_is_a_runtime_error() -> None:
    @launcher(job_type="process", async_mode=True)
    def sleep() -> None:
        time.sleep(60)

    async def main(engine: Engine) -> None:
        call = asyncio.ensure_future(sleep())
        while not engine.jobs.running:
            await asyncio.sleep(0.01)
        engine.cancel_all()
        with pytest.raises(RuntimeError, match="cancelled"):
            await call

    with Engine() as engine:
        asyncio.run(main(engine))


def test_sync_and_async_launchers_turn_into_each_other() -> None:
    with Engine():
        assert later.to_sync()(1, 2) == 3
        assert later.to_sync().name == "sum"
        assert asyncio.run(add.to_async()(1, 2)) == 3


def test_an_unknown_job_type_is_refused_where_it_is_said() -> None:
    with pytest.raises(ConfigError, match=r"job_type .* got 'cloud'"):
        launcher(abs, job_type="cloud")
