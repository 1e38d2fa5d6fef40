"""A terminal of a given size that a script runs in, and what a person would see there."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte

LONGEST_WAIT = 30.0  # seconds for a fact to come true, or for the script to end
# The first terminal that a session leader opens becomes its own, as under a shell.
PRELUDE = "import os\nos.close(os.open(os.ttyname(2), os.O_RDWR))\n"


class Terminal:
    """Runs a script in a pseudo-terminal. errors_only: its standard output goes nowhere.

    seen: every screen so far, one for each piece of output that came; raw: all bytes.
    """

    def __init__(
        self, folder: Path, code: str, *, columns: int = 80, rows: int = 24, errors_only: bool = False, **variables: str
    ) -> None:
        path = folder / "script.py"
        path.write_text(PRELUDE + code, encoding="utf-8")
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.seen: list[list[str]] = []
        self.master, slave = os.openpty()
        self._set_size(columns, rows)
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            cwd=folder,
            env={**os.environ, "TERM": "xterm-256color", "PYTHONUTF8": "1", **variables},
            stdin=slave,
            stdout=subprocess.DEVNULL if errors_only else slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        self._set_size(columns, rows)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.screen.display]

    @property
    def last_row(self) -> str:
        return self.rows[-1]

    @property
    def page(self) -> list[str]:
        """Everything above and on the screen: what scrolling up shows."""
        columns = self.screen.columns
        above = ["".join(row[at].data for at in range(columns)).rstrip() for row in self.screen.history.top]
        return [*above, *self.rows]

    def until(self, fact: Callable[[], object]) -> None:
        """Take in output until a fact is true."""
        deadline = time.monotonic() + LONGEST_WAIT
        while not fact():
            assert time.monotonic() < deadline, "not seen:\n" + "\n".join(self.page)
            assert self._take(0.05), "the script has ended:\n" + "\n".join(self.page)

    def until_row(self, pattern: str) -> str:
        """Wait for a last row that has this; the row."""
        self.until(lambda: re.search(pattern, self.last_row))
        return self.last_row

    def end(self) -> int:
        """Take in all output; the exit code."""
        deadline = time.monotonic() + LONGEST_WAIT
        while self._take(0.05):
            assert time.monotonic() < deadline, "does not end:\n" + "\n".join(self.page)
        return self.process.wait(LONGEST_WAIT)

    def _take(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65_536)
        except OSError:  # nobody has the other end any more
            return False
        self.raw += data
        self._stream.feed(data)
        self.seen.append(self.rows)
        return bool(data)
