"""What runs a generator, step by step; loaded by worker processes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from worker_dispatcher.osproc.channel import Channel, Gone
from worker_dispatcher.pools.protocol.frames import send_packed
from worker_dispatcher.script.main_module import PARENT
from worker_dispatcher.wire import from_parts, pack, to_parts, unpack

if TYPE_CHECKING:
    import asyncio

SEND, THROW, CLOSE = "send", "throw", "close"
_VALUE = 1  # the kind of a frame


class Steps:
    """A generator as `make` goes through it. soft: it is an async one."""

    def __init__(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, soft: bool
    ) -> None:
        self._generator, self._soft = function(*args, **kwargs), soft
        self._runner: asyncio.Runner | None = None

    def make(self, how: str, value: Any) -> tuple[bool, Any]:
        """(False, the next value), or (True, what it has returned). Raises what it raises."""
        if self._soft:
            if self._runner is None:
                import asyncio

                self._runner = asyncio.Runner()
            return self._runner.run(self.make_softly(how, value))
        generator = self._generator
        try:
            if how == CLOSE:
                generator.close()
                return True, None
            return False, generator.send(value) if how == SEND else generator.throw(value)
        except StopIteration as stop:
            return True, stop.value

    async def make_softly(self, how: str, value: Any) -> tuple[bool, Any]:
        generator = self._generator
        try:
            if how == CLOSE:
                await generator.aclose()
                return True, None
            return False, await (generator.asend(value) if how == SEND else generator.athrow(value))
        except StopAsyncIteration:
            return True, None

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._runner is not None:
                self._runner.run(self._generator.aclose())
            elif not self._soft:
                self._generator.close()
        finally:
            if self._runner is not None:
                self._runner.close()


def send(channel: Channel, value: Any, reader: Any = PARENT) -> None:
    """Send a value. Raises what its classes raise, and Gone."""
    send_packed(channel, _VALUE, (), *to_parts(pack(value, reader)))


def receive(channel: Channel) -> Any:
    """The next value. Raises Gone."""
    frame = channel.receive()[0]
    return unpack(*from_parts(frame.parts, frame.fds))


def serve_far(
    address: bytes,
    token: bytes,
    soft: bool,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """In a worker process: run a generator for who listens at an address; what it has returned."""
    sock = socket.socket(socket.AF_UNIX)
    channel = Channel(sock, blocking=True)
    try:
        sock.connect(address)
        sock.sendall(token)
        with Steps(function, args, kwargs, soft=soft) as steps, suppress(Gone):
            while True:
                over, value = steps.make(*receive(channel))
                if over:
                    return value
                send(channel, value)
    finally:
        channel.close()
