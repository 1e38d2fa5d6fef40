"""Standard output and error while a command runs: a failed write fails no task, and is reported at the end."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from worker_dispatcher.osproc.system import descriptor_of, fill_standard_descriptors


class _Watched(io.FileIO):
    """A descriptor that is written to without an error. lost: the first reason why something could not be written,
    '' for none. That its reader has gone (`| head`) is no reason: nobody misses anything.

    absent: there is no such stream; what is written is lost.
    """

    def __init__(self, fd: int, *, absent: bool) -> None:
        super().__init__(fd, "w", closefd=False)
        self.lost, self.absent = "", absent

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            if not self.absent:
                return super().write(data)
            self.lost = "it is closed"
        except BrokenPipeError:
            pass
        except OSError as error:
            self.lost = self.lost or error.strerror or str(error)
        return memoryview(data).nbytes


def watch_outputs() -> None:
    """Put streams that find out in the place of the program's own sys.stdout and sys.stderr, for good: threads that
    a command has left behind may print until the end. Those that somebody else has put there stay."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _stream(fd, absent=True, line_buffering=True))
        elif stream is getattr(sys, f"__{name}__") and descriptor_of(stream) == fd:
            stream.flush()
            ways = {way: getattr(stream, way) for way in ("encoding", "errors", "line_buffering", "write_through")}
            setattr(sys, name, _stream(fd, absent=False, **ways))


def _stream(fd: int, *, absent: bool, **ways: Any) -> io.TextIOWrapper:
    if absent:
        fill_standard_descriptors()  # or the next file that is opened takes the number, and whatever is printed
    return io.TextIOWrapper(io.BufferedWriter(_Watched(fd, absent=absent)), **ways)


def _watched(stream: Any) -> _Watched | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Watched) else None


def reason_lost(stream: TextIO) -> str:
    """Why not all could be written to a stream, '' if it was. What is still in its buffer is written now."""
    if (raw := _watched(stream)) is None:
        return ""
    stream.flush()
    lost, raw.lost = raw.lost, ""
    return lost


def is_absent(stream: Any) -> bool:
    """There is no such stream: what is written to it is lost."""
    return stream is None or ((raw := _watched(stream)) is not None and raw.absent)


@contextmanager
def output_apart() -> Iterator[TextIO]:
    """Standard output, for what is written to this: whatever else is printed meanwhile, by workers and their programs
    too, goes to standard error."""
    if descriptor_of(sys.stdout) != 1:  # somebody else's, who is in this process
        output = sys.stdout
        with redirect_stdout(sys.stderr):
            yield output
        return
    sys.stdout.flush()
    apart = os.dup(1)
    try:
        os.dup2(2, 1)
        try:
            yield io.TextIOWrapper(io.BufferedWriter(_Watched(apart, absent=False)), encoding="ascii")
        finally:
            sys.stdout.flush()
            os.dup2(apart, 1)
    finally:
        os.close(apart)
