"""How many examples a test of what must hold for any input makes: a few each time, many in scripts/stress.sh."""

from __future__ import annotations

import os

__all__ = ["examples"]

LONG = os.environ.get("LONG_ROUNDS") == "1"


def examples(most: int) -> int:
    """most: in a long round. Hypothesis makes others each time, so that many short rounds see as much as a long one."""
    return most if LONG else -(-most // 4)
