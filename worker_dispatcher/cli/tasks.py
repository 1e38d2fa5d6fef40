"""The tasks that --list names: a count, the lines of a file, or those of standard input."""

from __future__ import annotations

import itertools
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from worker_dispatcher.cli.ending import CannotRun, tell
from worker_dispatcher.zipped import is_zipped, lines_of

LIST_HELP = "the tasks: a file with one on each line (gzipped or not), how many to make, or - for standard input"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors begin a file with it
_PIECE = 1 << 20  # bytes read at once while lines are counted


class BadLine(ValueError):
    """A line is no task. The text names the line, and says what to do."""


def tasks_of(command: str, given: str) -> Iterable[str] | int:
    """What `task.list` is to be. Lines are read while the run goes on, so that the first task runs while later ones
    are still being written; those of an ordinary file are counted before. CannotRun for what is none of it."""
    if given == "-":
        if sys.stdin is None:
            raise CannotRun("--list -: standard input is closed")
        if sys.stdin.isatty():
            tell(command, "reading tasks from the terminal, one a line; Ctrl-D ends the list")
        return _lines(sys.stdin.buffer, "standard input")
    if given.isdecimal() and given.isascii():
        return int(given)
    try:
        file = open(given, "rb")  # noqa: SIM115 -- a pipe is read from here, to its end or ours
    except OSError as error:
        hint = "give a file with one task on each line, a count such as 1000, or - for standard input"
        raise CannotRun(f"--list {given}: {error.strerror}; {hint}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return _lines(file, given)
    file.close()
    try:
        return _File(given)
    except (OSError, BadLine) as error:
        raise CannotRun(f"--list {given}: {error}") from None


class _File:
    """The lines of an ordinary file: their number is known, and they can be read again."""

    def __init__(self, path: str) -> None:
        self._path = path
        with open(path, "rb") as file:
            self._count = sum(1 for _ in _unzipped(file, path)) if is_zipped(file) else _count(file)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        found = 0
        with open(self._path, "rb") as file:
            for found, line in enumerate(itertools.islice(_lines(file, self._path), self._count), 1):  # noqa: B007 -- how many there were
                yield line
        if found < self._count:
            text = f"had {self._count:,} lines and ended after {found:,}: it was cut while it was read"
            raise BadLine(f"{self._path} {text}")


def _count(file: BinaryIO) -> int:
    count, last = 0, b"\n"
    while piece := file.read(_PIECE):
        count, last = count + piece.count(b"\n"), piece[-1:]
    return count + (last != b"\n")  # the last line may have no end


def _unzipped(file: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        yield from lines_of(file, name)
    except ValueError as error:
        raise BadLine(str(error)) from None


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    for number, line in enumerate(_unzipped(file, name), 1):
        raw = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        try:
            yield raw.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            wrong = error.object[error.start]
            raise BadLine(f"{name}, line {number}: byte {wrong:#04x} is not UTF-8; convert it with iconv") from None
