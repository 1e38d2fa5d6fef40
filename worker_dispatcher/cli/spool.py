"""Where results are until the log is written: on disk, so that memory does not grow with them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from worker_dispatcher.execute import SMALL, catch
from worker_dispatcher.reports.verdict import Kept


class Spool:
    """Takes long results as tasks are completed, as JSON, into a nameless file that goes with the process.

    Used by the thread that drives, and read by it afterwards. The file lies in the folder of the log, where there is
    to be room for it, or among temporary files; where it takes no more, results stay in memory.
    """

    def __init__(self, log: str | None) -> None:
        """log: the path of the log that is to be written; None: nothing needs results whole."""
        self._file = None if log is None else _nameless(log)
        self._end = 0

    def take(self, keep: Callable[[Any], Any] | None, results: list[Any], first: int, count: int) -> None:
        """Of tasks that are completed: put what is kept in the place of their results. keep: makes it of a result where
        that was not done in the worker."""
        low, high = first - 1, first - 1 + count
        kinds = set(map(type, results[low:high]))
        if kinds <= SMALL or (keep is None and Kept not in kinds):
            return
        for at in range(low, high):
            if keep is not None:
                kept, error = catch(keep, results[at])
                results[at] = kept if error is None else results[at]
            if type(results[at]) is Kept and isinstance(results[at].json, str):
                results[at].json = self._put(results[at].json)

    def _put(self, text: str) -> str | Callable[[], str]:
        """What reads the text again, or the text where it cannot be written."""
        if self._file is None:
            return text
        data = text.encode("ascii")
        try:
            written = os.pwrite(self._file.fileno(), data, self._end)
        except OSError:
            written = 0
        if written < len(data):  # the disk is full
            return text
        at, self._end = self._end, self._end + written
        return partial(self._read, at, written)

    def _read(self, at: int, size: int) -> str:
        if self._file is None:
            raise ValueError("the spool is closed")
        return os.pread(self._file.fileno(), size, at).decode("ascii")

    def close(self) -> None:
        """Idempotent. What was taken cannot be read from here on."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _nameless(log: str) -> IO[bytes] | None:
    """A file without a name, in the folder of the log or among temporary files; None where neither takes one."""
    is_ordinary = log != "-" and (os.path.isfile(log) or not os.path.exists(log))
    for place in (Path(log).parent if is_ordinary else None, None):
        try:
            return tempfile.TemporaryFile(dir=place, buffering=0)
        except OSError:
            continue
    return None
