"""A program of ours beside this one, that serves it: it is told what to do on its input, and ends with that."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from worker_dispatcher.osproc.system import readable

__all__ = ["Companion"]

_END = 5.0  # seconds that it may take to end, after which it is killed
_BEGIN = """\
import json, sys
said = json.loads(sys.stdin.readline())
sys.path[:] = said["paths"]
import importlib
importlib.import_module(said["module"]).main(said)
"""


class Companion:
    """Runs `main(said)` of a module in a process and session of its own. That is to read its standard input to the end,
    which comes with `close`, or with the end of this process, and to write one line: its word."""

    def __init__(self, module: str, said: dict[str, Any], paths: list[str]) -> None:
        """said: what JSON can say. paths: where it imports from. Raises OSError."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**said, "module": module, "paths": paths}).encode() + b"\n")
        self._process.stdin.flush()

    def word(self, within: float) -> Any:
        """What it says once it serves; None if it ends, or says nothing within so many seconds."""
        out = self._process.stdout
        assert out is not None
        if not readable(out.fileno(), within) or not (line := out.readline()):
            return None
        return json.loads(line)

    def close(self) -> None:
        """End it; returns when it is gone. Idempotent."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
