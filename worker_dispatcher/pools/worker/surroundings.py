"""What a job has around it, where it runs: files that get what it prints, and a folder of its own."""

from __future__ import annotations

import ctypes
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from worker_dispatcher.awaiting import resolved, settled
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.system import close_all
from worker_dispatcher.pools.protocol.loading import flush
from worker_dispatcher.pools.worker.output_capture import Sink, redirect
from worker_dispatcher.tracebacks import past_ours

__all__ = ["Surroundings", "run_in", "run_softly_in"]

_CHUNK = 1 << 16
_STEP = 0.1  # seconds from one look to the next whether there is something to pass on


class Surroundings(NamedTuple):
    """out, err: the files that get what is printed, None: nothing does. folder: to be in, None: where it is anyway.
    alone: nothing else runs in this process, so its descriptors may be turned to the files: then these get also what
    code in C and children print."""

    out: str | None
    err: str | None
    folder: str | None
    alone: bool

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in them. What is raised is written to the file of errors."""
        with ExitStack() as stack:
            if self.out is not None and self.err is not None:
                files = [_opened(self.out), _opened(self.err)]
                stack.callback(close_all, files)
                stack.enter_context(_noted(files[1]))
                stack.enter_context(_turned(files) if self.alone else _routed(files))
            if self.folder is not None:
                stack.enter_context(_inside(self.folder))
            yield


def run_in(surroundings: Surroundings, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function there; of a coroutine, what comes of that."""
    with surroundings.entered():
        return settled(function(*args, **kwargs))


async def run_softly_in(surroundings: Surroundings, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """The same for a coroutine function."""
    with surroundings.entered():
        return await resolved(function(*args, **kwargs))


def _opened(path: str) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


@contextmanager
def _noted(file: int) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        text = "".join(traceback.format_exception(type(error), error, past_ours(error.__traceback__)))
        _write(file, text.encode(errors="backslashreplace"))
        raise


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class _Files(Sink):
    """Adds what is written in one context to files; the streams get it, too."""

    def __init__(self, files: list[int]) -> None:
        self._files = dict(zip(("stdout", "stderr"), files, strict=True))

    def take(self, name: str, stream: Any, text: str) -> None:
        _write(self._files[name], text.encode(errors="backslashreplace"))
        stream.write(text)


@contextmanager
def _routed(files: list[int]) -> Iterator[None]:
    restore = redirect()
    try:
        with _Files(files).in_this_context():
            yield
    finally:
        restore()


@contextmanager
def _turned(files: list[int]) -> Iterator[None]:
    """Have the descriptors 1 and 2 lead to the files; what comes there goes on to where they led before."""
    _flush_all()
    kept = [os.dup(1), os.dup(2)]
    followed = list(zip(files, kept, strict=True))
    if os.path.samestat(os.fstat(files[0]), os.fstat(files[1])):
        followed = followed[:1]
    tees = [_Tee(file, to) for file, to in followed]
    over = threading.Event()
    thread = threading.Thread(target=_pass_on, args=(tees, over), name="output-tee", daemon=True)
    try:
        thread.start()
        for fd, file in zip((1, 2), files, strict=True):
            os.dup2(file, fd)
        yield
    finally:
        _flush_all()
        for fd, before in zip((1, 2), kept, strict=True):
            os.dup2(before, fd)
        over.set()
        thread.join()
        for tee in tees:
            tee.close()
        close_all(kept)


def _flush_all() -> None:
    flush()
    ctypes.CDLL(None).fflush(None)  # what code in C has printed


class _Tee:
    """Copies what is added to a file. It is read again from there: a pipe would be full when nobody can empty it, since
    who prints may hold the interpreter's lock."""

    def __init__(self, file: int, to: int) -> None:
        self._to, self._at = to, os.fstat(file).st_size
        self._file = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)

    def copy(self) -> None:
        while data := os.pread(self._file, _CHUNK, self._at):
            self._at += len(data)
            try:
                _write(self._to, data)
            except OSError:  # whoever read it has gone
                return

    def close(self) -> None:
        close_all([self._file])


def _pass_on(tees: list[_Tee], over: threading.Event) -> None:
    last = False
    while not last:
        last = over.wait(_STEP)
        for tee in tees:
            tee.copy()
