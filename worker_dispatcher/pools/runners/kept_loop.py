"""The event loop that a worker thread of a pool which is kept has for coroutines that its functions give."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from worker_dispatcher.awaiting import await_by
from worker_dispatcher.execute import catch

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["KeptLoop", "with_loop"]


class KeptLoop:
    """Awaits one thing after the other, always on the same loop: what one task makes there another can use. Made with
    the first. Used by one thread."""

    def __init__(self) -> None:
        self._loop: AbstractEventLoop | None = None
        self._run: Callable[..., Any] | None = None

    def run(self, work: Any) -> Any:
        """What comes of what can be awaited. Runs user code."""
        if self._run is None:
            from worker_dispatcher.pools.runners.event_loop import awaiter, new_loop

            self._loop = new_loop()
            self._run = awaiter(self._lost, self._loop)
        return self._run(work)

    def _lost(self) -> None:
        """Code of the user has closed what the loop waits on: the next has another."""
        loop, self._loop, self._run = self._loop, None, None
        if loop is not None:
            catch(loop.close)

    def close(self) -> None:
        """End what was left on the loop, and the loop. Idempotent."""
        loop, self._loop, self._run = self._loop, None, None
        if loop is None:
            return
        from worker_dispatcher.pools.runners.event_loop import end_loop

        catch(end_loop, loop)


def with_loop(live: Callable[[], object]) -> None:
    """The life of a thread that has such a loop."""
    kept = KeptLoop()
    await_by(kept.run)
    try:
        live()
    finally:
        await_by(None)
        kept.close()
