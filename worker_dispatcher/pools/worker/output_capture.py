"""What a task writes to Python's stdout and stderr goes into its log, worker.capture_output, or elsewhere.

sys.stdout and sys.stderr are replaced while a pool is at work, by streams that ask each time on whose behalf they are
written to: a context variable tells, so that threads and coroutines of one process do not mix. Where nothing is
captured, none of this is loaded.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from worker_dispatcher.awaiting import resolved, settled
from worker_dispatcher.records import OUTPUT

__all__ = ["Sink", "capturing", "redirect"]

_MOST = 1_000_000  # characters kept of what a task writes: the last ones

_Caller = Callable[[int, Any, dict[Any, Any]], Any]


class Sink:
    """Takes what is written in some context to stdout and stderr."""

    def take(self, name: str, stream: Any, text: str) -> None:
        """name: 'stdout' or 'stderr'; stream: what it would have gone to."""
        raise NotImplementedError

    @contextmanager
    def in_this_context(self) -> Iterator[None]:
        """From here on, and in copies of the context that are made here, while `redirect` holds."""
        token = _sink.set(self)
        try:
            yield
        finally:
            _sink.reset(token)


class _Tail(Sink):
    """The end of what was written."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = self._cut = 0

    def take(self, name: str, stream: Any, text: str) -> None:
        self._pieces.append(text)
        self._size += len(text)
        if self._size > 2 * _MOST:
            self._shorten()

    def _shorten(self) -> None:
        text = "".join(self._pieces)
        self._cut += max(0, len(text) - _MOST)
        self._pieces = [text[-_MOST:]]
        self._size = len(self._pieces[0])

    def text(self) -> str:
        self._shorten()
        return (f"[{self._cut} characters cut]..." if self._cut else "") + self._pieces[0]


_sink: ContextVar[Sink | None] = ContextVar("worker_dispatcher_output", default=None)
_mutex = threading.Lock()
os.register_at_fork(after_in_child=_mutex._at_fork_reinit)  # type: ignore[attr-defined]


class _Redirected:
    """Stands in the place of a stream: a task's text goes to its sink, everything else is the stream's. users: pools at
    work."""

    def __init__(self, name: str, stream: Any) -> None:
        self.name, self.stream, self.users = name, stream, 0

    def write(self, text: str) -> int:
        sink = _sink.get()
        if sink is None:
            return int(self.stream.write(text) or 0)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        sink.take(self.name, self.stream, "".join((text,)))  # of the exact type
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def redirect() -> Callable[[], None]:
    """Put streams that capture in the place of sys.stdout and sys.stderr; returns what takes them away again.

    Any number of pools may be at work at a time; the last one puts the old streams back, as far as nobody else has
    put his own there meanwhile. From any thread.
    """
    with _mutex:
        taken = [(name, stream) for name in ("stdout", "stderr") if (stream := _redirected(name)) is not None]
        for _, stream in taken:
            stream.users += 1

    def restore() -> None:
        with _mutex:
            for name, stream in taken:
                stream.users -= 1
                if not stream.users and getattr(sys, name) is stream:
                    setattr(sys, name, stream.stream)

    return restore


def _redirected(name: str) -> _Redirected | None:
    stream = getattr(sys, name)
    if stream is None or isinstance(stream, _Redirected):
        return stream
    redirected = _Redirected(name, stream)
    setattr(sys, name, redirected)
    return redirected


def capturing(caller: _Caller, *, coroutine: bool) -> _Caller:
    """A caller that puts what its task writes into its metadata, from where the records take it."""

    def captured(task_id: int, task: Any, metadata: dict[Any, Any]) -> Any:
        tail = _Tail()
        try:
            with tail.in_this_context():
                return settled(caller(task_id, task, metadata))
        finally:
            metadata[OUTPUT] = tail.text()

    async def awaited(task_id: int, task: Any, metadata: dict[Any, Any]) -> Any:
        tail = _Tail()
        try:
            with tail.in_this_context():
                work: Awaitable[Any] = caller(task_id, task, metadata)
                return await resolved(await work)
        finally:
            metadata[OUTPUT] = tail.text()

    return awaited if coroutine else captured
