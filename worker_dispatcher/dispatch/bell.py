"""Waiting for a run in asyncio; loaded only where one is awaited, or iterated with `async for`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from worker_dispatcher.tracebacks import FewFrames

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.execution import Execution
    from worker_dispatcher.dispatch.record_stream import RecordStream

_STOPPING = 5.0  # seconds


class Bell:
    """Wakes one coroutine of the loop that runs where it is made. `ring` may come from any thread; the rest is for that
    coroutine.

    What rings after `hush` ends the next `rung`: whoever hushes first and then looks misses nothing.
    """

    def __init__(self) -> None:
        self._loop, self._event, self._ringing = asyncio.get_running_loop(), asyncio.Event(), False

    def ring(self) -> None:
        if self._ringing:
            return  # to wake a loop is expensive
        self._ringing = True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def hush(self) -> None:
        self._event.clear()
        self._ringing = False

    async def rung(self) -> None:
        await self._event.wait()


@contextmanager
def listening(execution: Execution) -> Iterator[Bell]:
    """A bell that rings at news of a run, while inside."""
    bell = Bell()
    with execution.changed:
        execution.bells.append(bell)
    try:
        yield bell
    finally:
        with execution.changed:
            execution.bells.remove(bell)


async def rung_or_left(execution: Execution, bell: Bell) -> None:
    """Wait for news of a run. Cancelled, or out of time, it cancels the run and waits until that is over, unless it
    takes longer than _STOPPING, or this is cancelled once more."""
    try:
        await bell.rung()
    except asyncio.CancelledError:
        execution.leave()
        try:
            async with asyncio.timeout(_STOPPING):
                while not execution.told:
                    bell.hush()
                    if not execution.told:
                        await bell.rung()
        except TimeoutError:
            pass
        raise


async def end_of_run(execution: Execution) -> None:
    """Wait for the end of a run. Cancelled, as above."""
    with listening(execution) as bell:
        while not execution.told:
            bell.hush()
            if not execution.told:
                await rung_or_left(execution, bell)


def this_task() -> object:
    """Who iterates here."""
    return asyncio.current_task() or threading.current_thread()


class Taking:
    """`async for` over a run that keeps no records. Leaving the loop early cancels the run.

    No generator: one that is left is not closed before its event loop comes to that, and `await run` may come first.
    finish: raises what the run raises, is told who had all; it holds the run as long as somebody iterates it.
    """

    def __init__(self, execution: Execution, stream: RecordStream, finish: Callable[[object], None]) -> None:
        self._execution, self._stream, self._finish = execution, stream, finish
        self._bell, self._taker = Bell(), id(asyncio.current_task())
        stream.claim(self._taker)
        stream.ring = self._bell.ring

    def __aiter__(self) -> Taking:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while True:
            self._bell.hush()
            if (log := self._stream.take(self._taker, wait=False)) is not None:
                return log
            if self._stream.over:
                break
            await rung_or_left(self._execution, self._bell)
        self._execution.join()
        with FewFrames():
            self._finish(this_task())
        raise StopAsyncIteration

    def __del__(self) -> None:
        if not self._execution.told:
            self._execution.leave()
