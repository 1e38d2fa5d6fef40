"""Units of time as people write them, lengths such as 90s, 5min and 1m30s, and how many of a thing; floor 0."""

from __future__ import annotations

import re

__all__ = ["MICROSECONDS", "counted", "seconds_in"]

# Whole numbers, so that 700ms is 0.7 s and not 0.7000000000000001.
MICROSECONDS = {
    **{"us": 1, "ms": 1_000},
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1_000_000),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60_000_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000_000),
}
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
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


def counted(count: int, noun: str, of: int | None = None) -> str:
    """'1 task', '2,000 tasks', '0 tasks'; with `of` '1 of 2,000 tasks'."""
    total = count if of is None else of
    return f"{count:,}{'' if of is None else f' of {of:,}'} {noun}{'' if total == 1 else 's'}"
