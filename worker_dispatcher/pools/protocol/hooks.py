"""How what became of loading, worker.init and worker.exit travels from a worker process to the parent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker_dispatcher.errors import RemoteTraceback, RunError
from worker_dispatcher.execute import catch, describe
from worker_dispatcher.osproc.channel import Channel, Frame, Gone
from worker_dispatcher.pools.protocol.encode import exception_parts
from worker_dispatcher.pools.protocol.frames import COMPLAINT, INIT_FAILED, send_packed
from worker_dispatcher.wire import from_parts, unpack

__all__ = ["complain", "init_error", "load_error", "send_failed_init"]


def send_failed_init(channel: Channel, error: BaseException) -> None:
    """In the worker: worker.init has raised."""
    type_name, message, traceback = describe(error)
    parts, fds = exception_parts(error)
    send_packed(channel, INIT_FAILED, [f"{type_name}: {message}".encode(), traceback.encode()], parts, fds)


def init_error(frame: Frame, number: int) -> BaseException:
    """In the parent: what it raised, or what its text says where it cannot be brought here. number: the worker's."""
    text, traceback = (bytes(part).decode(errors="replace") for part in frame.parts[:2])
    found: Any = None
    if len(frame.parts) > 2:
        found = catch(lambda: unpack(*from_parts(frame.parts[2:], frame.fds)))[0]
    error = found if isinstance(found, BaseException) else RunError(f"worker.init raised {text}")
    error.add_note(f"  worker.init raised this in worker process {number}, so the run was ended")
    error.__cause__ = error.__cause__ or RemoteTraceback(traceback)
    return error


def load_error(frame: Frame) -> BaseException:
    """In the parent: why a worker cannot begin, which has said so before it ended."""
    text, traceback = (bytes(part).decode(errors="replace") for part in frame.parts)
    error = RunError(f"a worker process cannot load task.function, task.config or on_done: {text}")
    error.add_note(traceback)
    return error


def complain(channel: Channel, texts: Iterable[str]) -> None:
    """In the worker: what worker.exit has raised, and what else cost no task."""
    for text in texts:
        try:
            channel.send(COMPLAINT, [text.encode(errors="replace")])
        except Gone:
            return  # whom to tell is gone
