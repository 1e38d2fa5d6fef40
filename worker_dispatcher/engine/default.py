"""The engine that launchers use if they were given none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine

_engine: Engine | None = None


def get_default_engine() -> Engine:
    """The engine whose `with` block the program is in; else one that is made by the first call, and not started."""
    global _engine
    if _engine is None:
        from worker_dispatcher.engine.engine import Engine

        _engine = Engine()
    return _engine


def set_default_engine(engine: Engine | None) -> None:
    """Have launchers use an engine; None: make one when it is needed."""
    global _engine
    _engine = engine
