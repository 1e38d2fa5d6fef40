"""What a process is told is found whole, also while it is written anew."""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterator
from typing import Any

import pytest

from worker_dispatcher.osproc.spec_file import as_file, read, reads, write

FIRST, NEXT = {"layers": [], "path": ["/a"] * 9}, {"layers": [["os"]], "path": ["/b"] * 99, "about": 1.5}


@pytest.fixture
def file() -> Iterator[int]:
    fd = as_file(FIRST)
    yield fd
    os.close(fd)


def found_by_source(fd: int) -> Any:
    space = {"marshal": marshal, "os": os}
    exec(reads(fd), space)
    return space["told"]


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_at_each_step_of_the_writing_one_of_the_two_is_there(
    file: int, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    wrote, seen = os.pwrite, []

    def in_pieces(fd: int, data: Any, at: int) -> int:
        count = wrote(fd, data if at == 0 else data[:piece], at)
        seen.append(found_by_source(fd))
        assert marshal.loads(read(fd)) == seen[-1]
        return count

    monkeypatch.setattr(os, "pwrite", in_pieces)
    write(file, NEXT)
    assert seen[-1] == NEXT
    assert seen[:-1] == [FIRST] * (len(seen) - 1) != []


def test_what_was_written_last_is_read(file: int) -> None:
    for told in (NEXT, FIRST, "text", None):
        write(file, told)
        assert marshal.loads(read(file)) == found_by_source(file) == told
