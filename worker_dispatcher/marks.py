"""Where what runs a task says what it runs; floor 0."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol


class Marks(Protocol):
    """One-cell rows in which a slot says what it runs, since when and until when; halt: if true, nothing begins;
    unwanted: of a task whose result nobody wants any more; grace: seconds by which its deadline lies behind the end of
    its task's time."""

    running: Any
    started: Any
    deadline: Any
    halt: Any
    unwanted: Any
    grace: float


# The marks of the slot that runs the task which asks.
own_marks: ContextVar[Marks] = ContextVar("worker_dispatcher.own_marks")
