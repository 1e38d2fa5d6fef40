"""Durations, rates, sizes and counts: read as people write them, and told as they read them; floor 0."""

from __future__ import annotations

import math
import re

# Whole numbers, so that 700ms is 0.7 s and not 0.7000000000000001.
MICROSECONDS = {
    **{"us": 1, "ms": 1_000},
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1_000_000),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60_000_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000_000),
}
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_RATE = rf"\s*({_NUMBER})\s*(?:/\s*1?\s*([a-z]+)|[rt]ps)?\s*"
_PART = rf"\s*({_NUMBER})\s*([a-z]+)\s*"


def seconds_in(text: str) -> float | None:
    """The length that a text says, in seconds; a bare number is seconds. None for what is no length."""
    plain = text.strip().lower()
    if re.fullmatch(_NUMBER, plain, re.ASCII):
        return float(plain)
    if not re.fullmatch(f"(?:{_PART})+", plain, re.ASCII):
        return None
    parts = re.findall(_PART, plain, re.ASCII)
    if not all(unit in MICROSECONDS for _, unit in parts):
        return None
    return sum(float(number) * MICROSECONDS[unit] for number, unit in parts) / 1e6


def rate_in(text: str) -> float | None:
    """The rate that a text such as '250/s', '90/min' or '40 rps' says, per second. None for what is none."""
    found = re.fullmatch(_RATE, text.lower(), re.ASCII)
    per = MICROSECONDS.get(found[2] or "s", 0) if found else 0
    if found is None or per < MICROSECONDS["s"]:
        return None
    return float(found[1]) / (per // MICROSECONDS["s"])


def counted(count: int, noun: str, of: int | None = None) -> str:
    """'1 task', '2,000 tasks', '0 tasks'; with `of` '1 of 2,000 tasks'."""
    total = count if of is None else of
    return f"{count:,}{'' if of is None else f' of {of:,}'} {noun}{'' if total == 1 else 's'}"


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


def _three_digits(number: float) -> str:
    size = abs(number)
    if size >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if size >= 9.995 else f"{number:.2f}"


def size_text(size_bytes: int) -> str:
    """'1.5 GB': bytes as a person reads them, in powers of 1000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.3g} {unit}"
    return f"{size_bytes} bytes"


def _unit(rate: float) -> tuple[str, int]:
    """Per what a rate is told, and its seconds."""
    return next(((name, size) for name, size in (("s", 1), ("min", 60)) if rate * size >= 0.95), ("h", 3600))


def speed_text(rate: float) -> str:
    """'38/s', '7.5/min': per the shortest of second, minute and hour in which there is one."""
    name, size = _unit(rate)
    return f"{_digits(rate * size)}/{name}"


def achieved_text(ended: float, asked: float) -> str:
    """'38 of 40/s'."""
    name, size = _unit(asked)
    return f"{_digits(ended * size)} of {_digits(asked * size)}/{name}"


def _digits(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 9.95 or not rate else f"{rate:.1f}"


def clock_text(seconds: float) -> str:
    """'1:05', '2:00:09': minutes and seconds, with hours where there are any; 0:00 for less than none."""
    minutes, second = divmod(round(min(max(seconds, 0.0), 3.6e8)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def short_seconds_text(seconds: float) -> str:
    """'1.2s', '35ms', '180us': as `seconds_text`, for where there is little room."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.{0 if seconds >= 9.95 * size else 1}f}{unit}"
    return f"{max(seconds, 0.0) * 1e6:.0f}us"
