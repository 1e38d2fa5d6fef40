"""Units of time as people write them, and lengths such as 90s, 5min and 1m30s; floor 0."""

from __future__ import annotations

import re

__all__ = ["MICROSECONDS", "seconds_in"]

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
