"""Engines at the end of the program."""

from __future__ import annotations

import atexit
import threading
import warnings
import weakref
from typing import TYPE_CHECKING

from worker_dispatcher.errors import WorkerWarning
from worker_dispatcher.units import counted
from worker_dispatcher.workpool import lifetime  # first: what it registered for the end comes after ours

if TYPE_CHECKING:
    from worker_dispatcher.engine.dispatcher import Dispatcher

_all: weakref.WeakSet[Dispatcher] = weakref.WeakSet()


def end_with_the_program(dispatcher: Dispatcher) -> None:
    """What jobs run at the end of the program does not hold it up: it is ended, with a warning."""
    _all.add(dispatcher)


def _at_exit() -> None:
    lifetime.program_ends.set()
    for dispatcher in list(_all):
        if not dispatcher.is_ours:
            continue
        if dispatcher.left:
            text = f"the program has ended, and with it {counted(dispatcher.left, 'job')} that had not: engine.wait()"
            warnings.warn(f"{text} waits for them, as the end of a `with` block does", WorkerWarning, stacklevel=2)
        dispatcher.abandon()


getattr(threading, "_register_atexit", atexit.register)(_at_exit)
