"""What the end of a `with` block does, and who may wait for what."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from worker_dispatcher.engine import Engine, EngineSetting, Job, LocalJob, ThreadJob
from worker_dispatcher.engine.launcher import get_default_engine


@pytest.mark.parametrize(
    ("setting", "status"),
    [
        (EngineSetting(on_exit="cancel"), "cancelled"),
        (EngineSetting(exit_timeout=0.1), "cancelled"),
        (EngineSetting(on_exit="detach"), "running"),
    ],
)
def test_the_end_of_the_block_does_as_the_setting_says(setting: EngineSetting, status: str) -> None:
    go, began = threading.Event(), time.monotonic()
    with Engine(setting) as engine:
        job = ThreadJob(go.wait, (60,))
        engine.submit(job)
    assert job.status == status
    assert time.monotonic() - began < 20
    go.set()
    engine.wait(20)


def test_the_block_around_a_block_is_that_of_launchers_again() -> None:
    with Engine() as outer:
        with Engine() as inner:
            assert get_default_engine() is inner
        assert get_default_engine() is outer


@pytest.mark.parametrize("kind", [LocalJob, ThreadJob])
def test_a_job_that_would_wait_for_itself_is_told_so(kind: type[Job]) -> None:
    with Engine(EngineSetting(print_traceback=False, on_exit="cancel")) as engine:
        of_all = kind(engine.wait)
        engine.submit(of_all)
        with pytest.raises(RuntimeError, match="would wait for the job that calls it"):
            engine.wait_job(of_all, 20, raise_=True)
        jobs: list[Job] = []
        jobs.append(kind(lambda: engine.wait_job(jobs[0])))
        engine.submit(*jobs)
        with pytest.raises(RuntimeError, match="would wait for itself"):
            engine.wait_job(jobs[0], 20, raise_=True)


def test_cancelling_an_await_of_a_job_cancels_it_and_a_join_does_not() -> None:
    go = threading.Event()

    async def main(engine: Engine) -> None:
        awaited, joined = ThreadJob(go.wait, (20,)), ThreadJob(go.wait, (20,))
        await engine.submit_async(awaited, joined)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(awaited, 0.05)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(joined.join(), 0.05)
        assert (awaited.status, joined.status) == ("cancelled", "running")
        go.set()

    with Engine() as engine:
        asyncio.run(main(engine))
    assert [job.status for job in engine.jobs] == ["cancelled", "done"]
