"""The event loop that coroutines run on: asyncio's, with timers that cost less and ring in time."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import math
import select
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVarTuple

from worker_dispatcher.clock import now
from worker_dispatcher.execute import guarded

__all__ = ["TimerLoop", "awaiter", "keep_running", "new_loop"]

Ts = TypeVarTuple("Ts")

_FEW = 100  # timers: a book of no more is not worth cleaning
_SELECT_MOST = 1024  # select() takes descriptors below this


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop of the kind that the user has chosen by an event loop policy, or ours in the place of asyncio's own."""
    loop = asyncio.new_event_loop()
    if type(loop) is not asyncio.SelectorEventLoop or not hasattr(selectors, "EpollSelector"):
        return loop
    loop.close()
    return TimerLoop()


def keep_running(loop: asyncio.AbstractEventLoop, over: Callable[[], object]) -> None:
    """Run a loop until a callback has stopped it and `over()` is true; nothing that a task does ends it before.

    What a task has started on the loop besides (a task of its own, a timer) may raise SystemExit or KeyboardInterrupt,
    with which asyncio leaves run_forever, or may stop the loop. All others, who wait on it, would wait for ever.
    """
    while not over():
        _, error = guarded(loop.run_forever)
        if error is None or over():
            continue
        if not isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise error
        context = {"message": "what a task has started besides would have ended its loop", "exception": error}
        guarded(loop.call_exception_handler, context)


def awaiter() -> Callable[[Awaitable[Any]], Any]:
    """A function that awaits what it is given, on a loop of its own that is kept: one thing at a time, all of them in
    one context."""
    loop, context = asyncio.new_event_loop(), contextvars.copy_context()
    asyncio.set_event_loop(loop)

    async def awaited(work: Awaitable[Any]) -> Any:
        return await work

    def run(work: Awaitable[Any]) -> Any:
        task = loop.create_task(awaited(work), context=context)
        task.add_done_callback(lambda _: loop.stop())
        keep_running(loop, task.done)
        return task.result()

    return run


class TimerLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with a book of its own for timers; asyncio itself rings for the first of them only.

    asyncio compares timers in Python, about ten times for each of a thousand: a quarter of what a sleep costs. Here
    they stand in tuples. And it waits in whole milliseconds, up to one too long; here in microseconds.
    """

    def __init__(self) -> None:
        super().__init__(_Punctual())
        self._book: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()  # of timers for the same moment
        self._rings_at = math.inf
        self._bell: asyncio.TimerHandle | None = None
        self._void = 0  # cancelled timers that are still in the book

    def time(self) -> float:
        return now()

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(now() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        if math.isnan(when):  # comes neither before nor after any other, and would hold those up
            raise ValueError("a timer cannot be set for NaN")
        timer = _Timer(self, when, callback, args, context or contextvars.copy_context())
        if when < self._rings_at:
            self._ring_at(when)  # before it is written down: it raises if the loop is closed or this is no time
        heapq.heappush(self._book, (when, next(self._order), timer))
        handle: Any = timer  # it has all that is documented of a TimerHandle, as the timers of other loops do
        return handle  # type: ignore[no-any-return]

    def _ring_at(self, when: float) -> None:
        if self._bell is not None:
            self._bell.cancel()
        self._bell = super().call_at(when, self._ring)
        self._rings_at = when

    def _ring(self) -> None:
        """Call what is due; what is written down meanwhile has its turn at the next ring."""
        book, until = self._book, max(self._rings_at, now())
        self._bell, self._rings_at = None, -math.inf
        try:
            while book and book[0][0] <= until:
                timer = heapq.heappop(book)[2]
                if timer.callback is None:
                    self._void -= 1
                else:
                    self._call(timer)
        finally:
            self._rings_at = math.inf
            if book:
                self._ring_at(book[0][0])

    def _call(self, timer: _Timer) -> None:
        callback, timer.callback = timer.callback, None
        _, error = guarded(timer.context.run, callback, *timer.args)
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise error
        if error is not None:
            self.call_exception_handler({"message": f"Exception in callback {callback!r}", "exception": error})

    def leave_out(self) -> None:
        """A timer in the book was cancelled."""
        self._void += 1
        if self._void > _FEW and 2 * self._void > len(self._book):
            self._book[:] = [entry for entry in self._book if entry[2].callback is not None]
            heapq.heapify(self._book)
            self._void = 0

    def close(self) -> None:
        super().close()
        self._book.clear()
        self._void, self._rings_at = 0, math.inf


class _Timer:
    """What call_at and call_later give: an asyncio.TimerHandle to its users. callback: None once it had its turn."""

    __slots__ = ("_at", "_cancelled", "_loop", "args", "callback", "context")

    def __init__(self, loop: TimerLoop, at: float, callback: Callable[..., object], args: Any, context: Any) -> None:
        self._loop, self._at, self.args, self.context = loop, at, args, context
        self.callback: Callable[..., object] | None = callback
        self._cancelled = False

    def cancel(self) -> None:
        if self.callback is not None:
            self.callback, self.args, self._cancelled = None, (), True
            self._loop.leave_out()

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self._at

    def get_context(self) -> contextvars.Context:
        context: contextvars.Context = self.context
        return context


class _Punctual(selectors.DefaultSelector):
    """Waits no longer than it is told to: epoll by itself rounds up to milliseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0 and self.fileno() < _SELECT_MOST:
            select.select([self], [], [], timeout)
            timeout = 0
        return super().select(timeout)
