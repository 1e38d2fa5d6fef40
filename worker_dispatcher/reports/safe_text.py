"""Other people's values as short, harmless text; numbers as text are in `units`.

What a task returned or raised is somebody else's text: before it is shown anywhere it goes through `printable`, which
leaves nothing that moves a cursor, turns the writing direction or ends a line.
"""

from __future__ import annotations

import math
import reprlib
import shutil
import textwrap
from collections.abc import Sequence

from worker_dispatcher.tracebacks import own

_MOST_COLUMNS, _FEWEST_COLUMNS = 80, 40  # of a terminal; no other gets longer or shorter lines
_LONGEST = 200  # characters of a value that a table shows
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.:-=+*#"


def text_width(columns: int | None) -> int:
    """Characters of the longest line for a terminal of so many columns; None for those of the program's terminal."""
    wide = shutil.get_terminal_size((_MOST_COLUMNS, 24)).columns if columns is None else columns
    return max(_FEWEST_COLUMNS, min(wide, _MOST_COLUMNS)) - 1


def wrapped(line: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)


def printable(text: str, limit: int | None = None) -> str:
    """The text with every character that is not seen as itself written as an escape (\\n, \\x1b, \\u202e, ...).

    limit: characters kept, the last of them an ellipsis where some were cut.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shown(value: object, limit: int = _LONGEST) -> str:
    """Any object as one short line: text as it is, else its repr, cut while it is made. Never raises.

    A repr is its author's code: if it raises, the type is named instead.
    """
    try:
        text = "".join((value,)) if isinstance(value, str) else _short(limit).repr(value)
        return printable(text, limit)
    except own(Exception, SystemExit):
        return printable(f"<{type(value).__name__}>", limit)


def _short(limit: int) -> reprlib.Repr:
    short = reprlib.Repr()
    short.maxstring = short.maxother = limit
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = short.maxfrozenset = 20
    short.maxlevel = 4
    return short


def sparkline(values: Sequence[float], *, ascii_only: bool = False) -> str:
    """One character a value, its height a share of the largest; the lowest bar is for the values above 0 too."""
    bars = _ASCII_BARS if ascii_only else _BARS
    top = max(values, default=0)
    if not top > 0:
        return bars[0] * len(values)
    return "".join(
        bars[min(len(bars) - 1, math.ceil(len(bars) * max(0, value) / top) - (value > 0))] for value in values
    )
