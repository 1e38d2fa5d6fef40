"""The event loop that coroutines run on: asyncio's, with timers that cost less and ring in time."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import heapq
import itertools
import math
import os
import select
import selectors
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar, TypeVarTuple

from worker_dispatcher.awaiting import resolved
from worker_dispatcher.clock import now
from worker_dispatcher.contexts import adopt
from worker_dispatcher.execute import catch
from worker_dispatcher.signals import held

__all__ = ["TimerLoop", "awaiter", "end_loop", "keep_running", "new_loop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_FEW = 100  # timers: a book of no more is not worth cleaning
_SELECT_MOST = 1024  # select() takes descriptors below this
_LEFT_GRACE = 0.3  # seconds that what tasks have left on a loop may take to end once it is cancelled
_LOOK_EVERY = 1.0  # seconds from one look to the next whether a loop that waits can be woken


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop of the kind that the user has chosen by an event loop policy, or ours in the place of asyncio's own."""
    with held():  # half of one, when it is freed, says that it is one
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
        _, error = catch(loop.run_forever)
        if error is None or over():
            continue
        if not isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise error
        context = {"message": "what a task has started besides would have ended its loop", "exception": error}
        catch(loop.call_exception_handler, context)


def end_loop(loop: asyncio.AbstractEventLoop) -> None:
    """End what is left on a loop that does not run, and the loop. Runs user code."""
    try:
        loop.run_until_complete(_cancel_all(loop))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    if left := asyncio.all_tasks(loop) - {asyncio.current_task(loop)}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_LEFT_GRACE)
    await loop.shutdown_asyncgens()


def awaiter(
    lost: Callable[[], object] | None = None, loop: asyncio.AbstractEventLoop | None = None
) -> Callable[..., Any]:
    """A function that awaits what it is given, on a loop (None: one of its own) that is kept: one thing at a time, in a
    context or else in a copy of the caller's. What is set there is set in the caller's, too. lost: called where the
    loop itself cannot go on, since code of the user has closed what it waits on.
    """
    loop = loop or new_loop()
    asyncio.set_event_loop(loop)

    async def awaited(work: Awaitable[Any]) -> Any:
        return await resolved(work)

    def run(work: Awaitable[Any], context: contextvars.Context | None = None) -> Any:
        context = contextvars.copy_context() if context is None else context
        task = loop.create_task(awaited(work), context=context)
        task.add_done_callback(lambda _: loop.stop())
        try:
            keep_running(loop, task.done)
        except OSError:
            if lost is not None:
                lost()
            raise
        adopt(context)
        return task.result()

    return run


class TimerLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with books of its own for timers and for what is to be called soon; asyncio itself rings for the
    first of each only.

    It would compare timers in Python, about ten times for each of a thousand, and make, look at and call a handle in
    half a dozen steps in Python: together half of what a sleep costs. Here both are lists, called by one guard for
    many. And it waits in whole milliseconds, up to one too long; here in microseconds.
    """

    def __init__(self) -> None:
        self._soon: deque[_Soon] = deque()
        self._turn_comes = False  # asyncio has been told to call `_turn`
        self._called: Any = None  # what is being called, for a report of its error
        self._punctual = _Punctual()
        super().__init__(self._punctual)
        asyncios: Any = self
        self._wakers: list[socket.socket] = [asyncios._ssock, asyncios._csock]
        self._punctual.wakers = [(fd, os.fstat(fd).st_ino) for fd in map(socket.socket.fileno, self._wakers)]
        self._book: list[_Timer] = []
        self._order = itertools.count()  # of timers for the same moment
        self._rings_at = math.inf
        self._bell: asyncio.TimerHandle | None = None
        self._void = 0  # cancelled timers that are still in the book

    # Soon

    def set_debug(self, enabled: bool) -> None:
        super().set_debug(enabled)
        self._debugged = enabled

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if self._debugged:
            return super().call_soon(callback, *args, context=context)  # which sees to many mistakes then
        if not self._turn_comes:
            super().call_soon(self._turn)  # raises if the loop is closed
            self._turn_comes = True
        row = _Soon((callback, args, contextvars.copy_context() if context is None else context))
        self._soon.append(row)
        handle: Any = row  # it has all that is documented of a Handle
        return handle  # type: ignore[no-any-return]

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if self._debugged:
            return super().call_soon_threadsafe(callback, *args, context=context)
        row = _Soon((callback, args, contextvars.copy_context() if context is None else context))
        self._soon.append(row)  # with what the loop's own thread calls, in the order of the calls
        try:
            super().call_soon_threadsafe(self._turn)  # wakes the loop
        except RuntimeError:  # it is closed
            row.cancel()
            raise
        handle: Any = row
        return handle  # type: ignore[no-any-return]

    def _turn(self) -> None:
        """Call what is there by now; what comes meanwhile has its turn after a look at the descriptors."""
        self._turn_comes = False
        try:
            self._call_guarded(self._call_rows, itertools.repeat(None, len(self._soon)))
        finally:
            if self._soon and not self._turn_comes:
                self._turn_comes = True
                super().call_soon(self._turn)

    def _call_rows(self, times: Iterator[None]) -> None:
        take = self._soon.popleft
        for _ in times:
            callback, args, context = take()
            if callback is not None:
                self._called = callback
                context.run(callback, *args)

    def _call_guarded(self, call: Callable[[T], object], what: T) -> None:
        """Have something call callbacks until it has called all. What one raises is told to the loop's handler; an exit
        comes out."""
        try:
            while (error := catch(call, what)[1]) is not None:
                if isinstance(error, (SystemExit, KeyboardInterrupt)):
                    raise error
                message = f"Exception in callback {self._called!r}"
                self.call_exception_handler({"message": message, "exception": error})
        finally:
            self._called = None

    # Timers

    def time(self) -> float:
        return now()

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self._set(now() + delay, callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self._set(when, callback, args, context)

    def _set(
        self, when: float, callback: Callable[..., object], args: Any, context: contextvars.Context | None
    ) -> asyncio.TimerHandle:
        if when != when:  # NaN comes neither before nor after any other, and would hold those up
            raise ValueError("a timer cannot be set for NaN")
        if context is None:
            context = contextvars.copy_context()
        if when < self._rings_at:
            self._ring_at(when)  # before it is written down: it raises if the loop is closed or this is no time
        timer = _Timer((when, next(self._order), callback, args, context, self))
        heapq.heappush(self._book, timer)
        handle: Any = timer  # it has all that is documented of a TimerHandle, as the timers of other loops do
        return handle  # type: ignore[no-any-return]

    def _ring_at(self, when: float) -> None:
        if self._bell is not None:
            self._bell.cancel()
        self._bell = super().call_at(when, self._ring)
        self._rings_at = when

    def _ring(self) -> None:
        """Call what is due; what is written down meanwhile has its turn at the next ring."""
        until = max(self._rings_at, now())
        self._bell, self._rings_at = None, -math.inf
        try:
            self._call_guarded(self._call_due, until)
        finally:
            self._rings_at = math.inf
            if self._book:
                self._ring_at(self._book[0][_WHEN])

    def _call_due(self, until: float) -> None:
        book = self._book
        while book and book[0][_WHEN] <= until:
            timer = heapq.heappop(book)
            callback = timer[_CALLBACK]
            if callback is None:
                self._void -= 1
            else:
                self._called, timer[_CALLBACK] = callback, None
                timer[_CONTEXT].run(callback, *timer[_ARGS])

    def leave_out(self) -> None:
        """A timer in the book was cancelled."""
        self._void += 1
        if self._void > _FEW and 2 * self._void > len(self._book):
            self._book[:] = [entry for entry in self._book if entry[_CALLBACK] is not None]
            heapq.heapify(self._book)
            self._void = 0

    def close(self) -> None:
        if not self.is_closed() and catch(self._punctual.look)[1] is not None:
            self._replace_wakers()
        super().close()
        self._soon.clear()
        self._turn_comes = False
        self._book.clear()
        self._void, self._rings_at = 0, math.inf

    def __del__(self, _warn: Any = None) -> None:
        """Like asyncio's, but quiet: a worker's loop is closed at the end of its process only."""
        if not self.is_closed() and not self.is_running():
            self.close()

    def _read_from_self(self) -> None:
        """asyncio's, for the one case that another thread has woken the loop; from something else a read may never
        return."""
        if _is_whole(*self._punctual.wakers[0]):
            asyncios: Any = super()
            asyncios._read_from_self()

    def _replace_wakers(self) -> None:
        """Code of the user has closed what wakes the loop. asyncio would close it again, which may be another's now."""
        for sock, waker in zip(self._wakers, self._punctual.wakers, strict=True):
            if _is_whole(*waker):
                sock.close()
            else:
                sock.detach()
        asyncios: Any = self
        asyncios._ssock, asyncios._csock = socket.socketpair()


class _Soon(list[Any]):
    """What call_soon gives: an asyncio.Handle to its users; callback, arguments and context. No callback: cancelled."""

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__
    __ne__ = object.__ne__

    def cancel(self) -> None:
        self[0] = self[1] = None

    def cancelled(self) -> bool:
        return self[0] is None

    def get_context(self) -> contextvars.Context:
        context: contextvars.Context = self[2]
        return context


_WHEN, _CALLBACK, _ARGS, _CONTEXT, _LOOP = 0, 2, 3, 4, 5


class _Timer(list[Any]):
    """What call_at and call_later give: an asyncio.TimerHandle to its users, and a row of the book.

    As a list of its fields it is made and compared without a step in Python. After the time comes the order among
    those for one moment, so that nothing further is ever compared. The callback is None once it had its turn; the
    arguments, too, once it was cancelled.
    """

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]

    def cancel(self) -> None:
        if self[_CALLBACK] is not None:
            self[_CALLBACK] = self[_ARGS] = None
            self[_LOOP].leave_out()

    def cancelled(self) -> bool:
        return self[_ARGS] is None

    def when(self) -> float:
        when: float = self[_WHEN]
        return when

    def get_context(self) -> contextvars.Context:
        context: contextvars.Context = self[_CONTEXT]
        return context


class _Punctual(selectors.DefaultSelector):
    """Waits no longer than it is told to: epoll by itself rounds up to milliseconds. And no longer than a second
    without a look at `wakers`, which wake it: sockets of the loop, which code of the user may have closed."""

    wakers: Sequence[tuple[int, int]] = ()  # descriptor and inode

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > _LOOK_EVERY:
            if not (found := super().select(_LOOK_EVERY)):
                self.look()
            return found
        if timeout > 0 and self.fileno() < _SELECT_MOST:
            select.select([self], [], [], timeout)
            timeout = 0
        return super().select(timeout)

    def look(self) -> None:
        """Raises OSError where nobody can wake the loop any more."""
        if not all(itertools.starmap(_is_whole, self.wakers)):
            raise OSError(errno.EBADF, "code of the user has closed what wakes it")


def _is_whole(fd: int, inode: int) -> bool:
    """The descriptor stands for what it has stood for."""
    try:
        return os.fstat(fd).st_ino == inode
    except OSError:
        return False
