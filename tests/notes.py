"""Notes of what really ran, in any process.

In a light module of its own, so that a worker loads it by name in no time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LONGEST_WAIT = 20.0  # seconds; a fact that takes longer is a failure of the test
STEP = 0.002


@dataclass(frozen=True)
class Notes:
    """Notes that survive processes: one line per note, in a file, each written at once."""

    path: Path

    def add(self, text: object) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, f"{text}\n".encode())
        finally:
            os.close(descriptor)

    def all(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def has(self, *texts: object) -> Callable[[], bool]:
        """The fact that all these were noted."""
        return lambda: {str(text) for text in texts} <= set(self.all())

    def count(self, number: int) -> Callable[[], bool]:
        """The fact that there are at least so many notes."""
        return lambda: len(self.all()) >= number

    def wait(self, *texts: object) -> None:
        wait_for(self.has(*texts))


def wait_for(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_WAIT
    while not fact():
        assert time.monotonic() < deadline, "the stage waits in vain"
        time.sleep(STEP)
