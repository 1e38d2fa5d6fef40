"""Files that may be compressed: read by how they begin, written by their name; floor 0."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO, cast

_MARK = b"\x1f\x8b"  # of gzip; no UTF-8 text begins with it


def is_zipped(file: BinaryIO) -> bool:
    """True for a compressed file, of which nothing has been read yet. Nothing is taken from it, though it be a pipe."""
    reader: Any = file  # with a buffer, as open() gives it
    return bytes(reader.peek(len(_MARK))).startswith(_MARK)


def lines_of(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of a file, of a compressed one as they were before. name: for the ValueError that is raised where it is
    cut off or damaged."""
    if not is_zipped(file):
        yield from file
        return
    import gzip
    import zlib

    try:
        yield from gzip.GzipFile(fileobj=file)
    except EOFError:
        raise ValueError(f"{name}: the compressed file ends too early: it was cut off") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{name}: the compressed file is damaged: {error}") from None


def open_to_write(path: str | os.PathLike[str]) -> TextIO:
    """A file of ASCII text, compressed if its name ends in .gz."""
    if not os.fspath(path).endswith(".gz"):
        return open(path, "w", encoding="ascii")
    import gzip

    return cast(TextIO, gzip.open(path, "wt", encoding="ascii"))
