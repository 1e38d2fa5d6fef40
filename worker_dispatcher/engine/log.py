"""The log of the engine: a logger of the module `logging`, "worker_dispatcher.engine".

What jobs raise is an error, all else is on the level INFO, which nobody sees who does not ask for it.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable
from typing import Any, TextIO, cast

_FIELDS = {"time": "%(asctime)s", "level": "%(levelname)-8s", "message": "%(message)s", "name": "%(name)s"}
_TAG = re.compile(r"</?[a-z,-]*>")  # <green>, </>


class EngineLogger(logging.Logger):
    """A Logger that can also be told where to write as loguru can: `add`, `remove`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._added: dict[int, logging.Handler] = {}
        self._numbers = itertools.count(1)
        self._own_level = self.level  # before anything was added

    def add(
        self,
        sink: TextIO | str | Callable[[str], Any],
        *,
        level: str | int = "DEBUG",
        format: str = "{time} | {level} | {message}",
        filter: str | Callable[[logging.LogRecord], bool] | None = None,
        colorize: bool = False,
    ) -> int:
        """Write to a stream, to the file of a path, or call a function with each line. Returns a number for `remove`.

        format: with {time}, {level}, {message} and {name}; colors in it are left out, with colorize, too. filter: the
        name of a logger, or a function of a LogRecord.
        """
        handler = _handler(sink)
        handler.setLevel(level)
        handler.setFormatter(logging.Formatter(_TAG.sub("", format).format_map(_FIELDS)))
        if isinstance(filter, str):
            handler.addFilter(logging.Filter(filter))
        elif filter is not None:
            handler.addFilter(filter)
        self.addHandler(handler)
        if not self._added:
            self._own_level = self.level
        self.setLevel(min(self.level or logging.WARNING, handler.level))
        number = next(self._numbers)
        self._added[number] = handler
        return number

    def remove(self, number: int | None = None) -> None:
        """Write no more to what `add` was given; None: to none of these. Raises ValueError for an unknown number."""
        if number is not None and number not in self._added:
            raise ValueError(f"there is no handler {number}; `add` gave {sorted(self._added) or 'none'}")
        for key in [number] if number is not None else list(self._added):
            handler = self._added.pop(key)
            self.removeHandler(handler)
            handler.close()
            if not self._added:
                self.setLevel(self._own_level)


def _handler(sink: Any) -> logging.Handler:
    if hasattr(sink, "write"):
        return logging.StreamHandler(sink)
    if callable(sink):
        return _Calling(sink)
    return logging.FileHandler(sink)


class _Calling(logging.Handler):
    def __init__(self, sink: Callable[[str], Any]) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink(self.format(record))
        except Exception:  # as handlers do: what it raises is no matter of who logs
            self.handleError(record)


def _logger() -> EngineLogger:
    """Known to the module `logging` under its name, like any other."""
    manager = logging.Logger.manager
    kind, manager.loggerClass = manager.loggerClass, EngineLogger
    try:
        return cast(EngineLogger, manager.getLogger("worker_dispatcher.engine"))
    finally:
        manager.loggerClass = kind


logger = _logger()
