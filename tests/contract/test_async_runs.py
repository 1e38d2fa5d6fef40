"""A run in asyncio: awaited, cancelled with what awaits it, and iterated with `async for`, kept or handed over."""

from __future__ import annotations

import asyncio
import itertools
import threading
import warnings
from typing import Any

import pytest

import worker_dispatcher as wd

LONG = 20.0  # seconds; what takes longer hangs


def config(function: Any, items: Any, **worker: Any) -> dict[str, Any]:
    return {"task": {"list": items, "function": function}, "worker": {"number": 2, **worker}, "verbose": False}


@pytest.fixture
def gate():
    """Holds up tasks until the test is over."""
    opened = threading.Event()
    yield opened
    opened.set()


@pytest.mark.parametrize("kept", [True, False])
def test_timing_out_while_it_is_awaited_cancels_the_run(gate, kept):
    run = wd.launch(config(lambda id: gate.wait(LONG), 5), keep_records=kept)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run, 0.05)

    asyncio.run(main())
    run.wait(LONG)
    assert run.info["stopped"] == "cancel"
    assert run.info["counts"]["ok"] == 0


@pytest.mark.parametrize("kept", [True, False])
def test_awaiting_warns_of_failures_once_at_the_line_that_awaits(kept):
    run = wd.launch(config(lambda task: 1 / task, [1, 0]), keep_records=kept)

    async def main() -> None:
        await run
        await run

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
        run.wait(LONG)
    assert [(one.filename, one.category) for one in caught] == [(__file__, wd.TaskFailuresWarning)]


def test_cancelling_the_task_that_awaits_cancels_the_run(gate):
    run = wd.launch(config(lambda id: gate.wait(LONG), 5))

    async def wait() -> None:
        await run

    async def main() -> None:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert run.wait(LONG).info["stopped"] == "cancel"


def test_a_shield_lets_the_run_go_on(gate):
    run = wd.launch(config(lambda id: gate.wait(LONG), 2))

    async def main() -> None:
        shielded = asyncio.shield(run)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shielded, 0.05)
        gate.set()
        await run

    asyncio.run(main())
    assert run.info["stopped"] is None
    assert run.results == [True, True]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("worker", [{}, {"use_processing": True}], ids=["threads", "processes"])
def test_an_async_for_gives_each_log_once_while_the_loop_goes_on(kept, worker):
    async def main() -> tuple[list[int], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(tick())
        run = wd.launch(config(lambda id: id * 10, 3000, **worker), keep_records=kept)
        found = [log["result"] async for log in run]
        beside.cancel()
        await run
        return found, ticks

    found, ticks = asyncio.run(main())
    assert sorted(found) == [id * 10 for id in range(1, 3001)]
    assert ticks > 0


def test_each_log_is_there_as_soon_as_its_task_has_ended(gate):
    async def main() -> list[int]:
        run = wd.launch(config(lambda id: id if id == 1 else gate.wait(LONG) and id, 2))
        seen = []
        async for log in run:
            seen.append(log["task_id"])
            gate.set()  # only now may the second one end
        return seen

    assert asyncio.run(asyncio.wait_for(main(), LONG)) == [1, 2]


def test_leaving_an_async_for_early_cancels_a_run_that_keeps_no_records():
    async def main() -> wd.Run:
        run = wd.launch(config(lambda id: id, itertools.count()), keep_records=False)
        async for log in run:
            if log["task_id"] > 100:
                break
        await run
        return run

    assert asyncio.run(asyncio.wait_for(main(), LONG)).info["stopped"] == "cancel"


@pytest.mark.parametrize("kind", ["for", "async for"])
def test_leaving_a_loop_early_lets_a_run_that_keeps_its_records_go_on(kind):
    async def main() -> wd.Run:
        run = wd.launch(config(lambda id: id, 50))
        if kind == "for":
            for _ in run:
                break
        else:
            async for _ in run:
                break
        return await run

    run = asyncio.run(asyncio.wait_for(main(), LONG))
    assert run.info["stopped"] is None
    assert run.info["counts"]["ok"] == 50


def test_what_a_run_that_keeps_no_records_raises_comes_out_of_the_async_for():
    def items():
        yield 1
        raise OSError("no more")

    seen = []

    async def main() -> None:
        async for log in wd.launch(config(lambda task: task, items()), keep_records=False):
            seen.append(log["result"])

    with pytest.raises(OSError, match="no more"):
        asyncio.run(asyncio.wait_for(main(), LONG))
    assert seen == [1]


def test_a_run_cannot_be_awaited_inside_the_async_for_that_takes_its_records_but_beside_it():
    async def main() -> int:
        run = wd.launch(config(lambda id: id, 20_000), keep_records=False)
        seen = 0

        async def follow() -> None:
            await run

        beside = None
        async for _ in run:
            seen += 1
            if seen == 1:
                with pytest.raises(wd.RunError, match="inside the loop"):
                    await run
                beside = asyncio.create_task(follow())
        assert beside is not None
        await beside
        return seen

    assert asyncio.run(asyncio.wait_for(main(), LONG)) == 20_000
