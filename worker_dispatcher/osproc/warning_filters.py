"""The filters of `warnings` that the parent has, in a worker; see `spawn_spec`."""

from __future__ import annotations

import sys
import warnings
from functools import cache
from typing import Any


def take_filters(sent: list[Any]) -> None:
    """Have these filters, as `spawn_spec` tells them, instead of those that are there."""
    filters = [
        (action, _pattern(message), _category(category), _pattern(where), line)
        for action, message, category, where, line in sent
    ]
    if filters != warnings.filters:
        warnings.resetwarnings()
        warnings.filters[:] = filters  # type: ignore[index]


def _pattern(of: Any) -> Any:
    if not isinstance(of, tuple):
        return of
    import re

    return re.compile(*of)


def _category(told: Any) -> Any:
    """The class, if it is loaded; to import it for a filter alone may take seconds."""
    if isinstance(told, list):
        return tuple(map(_category, told))
    module, name = told
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else _named(module, name)


@cache
def _named(module: str, name: str) -> type:
    """Stands for a class that may be loaded later: `warnings` only asks whether another is a subclass of it."""

    def is_below(cls: type, other: type) -> bool:
        return any((base.__module__, base.__qualname__) == (module, name) for base in other.__mro__)

    meta: Any = type("LoadedLater", (type,), {"__subclasscheck__": is_below})
    made: type = meta(name.rpartition(".")[2], (Warning,), {"__module__": module})
    return made
