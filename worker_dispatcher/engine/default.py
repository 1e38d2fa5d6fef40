"""The engine that launchers use if they were given none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker_dispatcher.engine.engine import Engine

_engine: Engine | None = None
_outer: list[Engine] = []  # those of the `with` blocks that the program is in


def get_default_engine() -> Engine:
    """The engine whose `with` block the program is in; else one that is made by the first call, and not started."""
    global _engine
    if _engine is None:
        from worker_dispatcher.engine.engine import Engine

        _engine = Engine()
    return _engine


def enter(engine: Engine) -> None:
    """The program is in the `with` block of an engine."""
    _outer.append(engine)
    set_default_engine(engine)


def leave(engine: Engine) -> None:
    """It has left the block; the one around it is that of launchers again."""
    if engine in _outer:
        _outer.remove(engine)
    set_default_engine(_outer[-1] if _outer else None)


def set_default_engine(engine: Engine | None) -> None:
    """Have launchers use an engine; None: make one when it is needed."""
    global _engine
    _engine = engine
