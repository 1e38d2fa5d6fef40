"""A witness of what really ran, in any process.

In a module of its own, so that a worker can load it by name (two files are called conftest).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Witness:
    """Notes that survive processes: one line per note, in a file, each written at once."""

    path: Path

    def note(self, text: object) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, f"{text}\n".encode())
        finally:
            os.close(descriptor)

    def notes(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def wait_for(self, texts: set[str], within: float = 20.0) -> bool:
        """True as soon as all these were noted; False if that takes longer."""
        deadline = time.monotonic() + within
        while not texts <= set(self.notes()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True
