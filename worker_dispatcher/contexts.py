"""Contexts (of contextvars) in which code of the user runs apart from other code; floor 0.

A copy of a context shares what its variables hold. One of these is changed in place by all who use it: the context of
decimal arithmetic, `getcontext().prec = 50`. So a copy needs one of its own, where there is one at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any


def branch(context: Context | None = None) -> Context:
    """A copy of a context, by default of the one that the caller is in: what is set in one is not seen in the other."""
    fresh = copy_context() if context is None else context.copy()
    if (renew := renewal(fresh)) is not None:
        fresh.run(renew)
    return fresh


def renewal(context: Context) -> Callable[[], object] | None:
    """What gives a copy of a context, when it is called in that copy, a decimal context of its own; None where there
    is none to be copied. Costs half a microsecond at most, the call a quarter."""
    decimal = sys.modules.get("decimal")
    variable = None if decimal is None else _variable_of(decimal)
    held = None if variable is None else context.get(variable)
    if decimal is None or held is None:
        return None
    setcontext, copy = decimal.setcontext, held.copy
    return lambda: setcontext(copy())


def _variable_of(decimal: Any) -> ContextVar[Any] | None:
    """Where the module keeps the context of a context: nothing else is set in one that only its getcontext was in."""
    getcontext = getattr(decimal, "getcontext", None)
    if getcontext is None:  # another thread is importing it
        return None
    probe = Context()
    probe.run(getcontext)
    return next(iter(probe), None)


def adopt(context: Context) -> None:
    """Set in the context that the caller is in what has been set in a copy of it."""
    here = copy_context()
    for variable, value in context.items():
        if variable not in here or here[variable] is not value:
            variable.set(value)
