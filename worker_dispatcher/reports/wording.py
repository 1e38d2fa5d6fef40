"""Numbers and other people's values as short, harmless text.

What a task returned or raised is somebody else's text: before it is shown anywhere it goes through `printable`, which
leaves nothing that moves a cursor, turns the writing direction or ends a line.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence

__all__ = [
    "count_text",
    "printable",
    "rate_text",
    "round_seconds_text",
    "seconds_text",
    "share_text",
    "shown",
    "sparkline",
]

_LONGEST = 200  # characters of a value that a table shows
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.:-=+*#"


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
    except (Exception, SystemExit):
        return printable(f"<{type(value).__name__}>", limit)


def _short(limit: int) -> reprlib.Repr:
    short = reprlib.Repr()
    short.maxstring = short.maxother = limit
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = short.maxfrozenset = 20
    short.maxlevel = 4
    return short


def seconds_text(seconds: float | None) -> str:
    """'180 ms', '1.10 s', '2 min 5 s': about three digits; '-' for None and NaN."""
    if seconds is None or math.isnan(seconds):
        return "-"
    size = abs(seconds)
    if size >= 99.95:
        minutes, rest = divmod(round(size), 60)
        hours, minutes = divmod(minutes, 60)
        text = f"{hours} h {minutes} min" if hours else f"{minutes} min" + (f" {rest} s" if rest else "")
        return f"-{text}" if seconds < 0 else text
    if size >= 0.9995:
        return f"{_three_digits(seconds)} s"
    if size >= 0.9995e-3:
        return f"{_three_digits(seconds * 1e3)} ms"
    return f"{_three_digits(seconds * 1e6)} us" if seconds else "0 s"


def round_seconds_text(seconds: float) -> str:
    """The same for a round length: '10 s', not '10.0 s'."""
    number, _, unit = seconds_text(seconds).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def rate_text(rate: float) -> str:
    """'37.7/s'."""
    return f"{_three_digits(rate)}/s" if rate else "0/s"


def count_text(count: float) -> str:
    """'12,345'."""
    return f"{count:,}"


def share_text(part: float, whole: float) -> str:
    """'98.5 %'; never rounded to all or nothing where it is not; '-' of nothing."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def sparkline(values: Sequence[float], *, ascii_only: bool = False) -> str:
    """One character a value, its height a share of the largest; the lowest bar is for the values above 0 too."""
    bars = _ASCII_BARS if ascii_only else _BARS
    top = max(values, default=0)
    if not top > 0:
        return bars[0] * len(values)
    return "".join(
        bars[min(len(bars) - 1, math.ceil(len(bars) * max(0, value) / top) - (value > 0))] for value in values
    )


def _three_digits(number: float) -> str:
    size = abs(number)
    if size >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if size >= 9.995 else f"{number:.2f}"
