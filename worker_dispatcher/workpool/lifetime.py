"""Pools at the end of the program, and pools that nobody holds any more."""

from __future__ import annotations

import atexit
import threading
import warnings
import weakref
from typing import TYPE_CHECKING

from worker_dispatcher.clock import now
from worker_dispatcher.errors import WorkerWarning

if TYPE_CHECKING:
    from worker_dispatcher.workpool.scheduler import Scheduler


_STUCK = 3.0  # seconds without the end of any task, after which those that run count as stuck

_all: weakref.WeakSet[Scheduler] = weakref.WeakSet()
program_ends = threading.Event()  # from then on no pool takes a task


def keep_until_done(owner: object, scheduler: Scheduler) -> None:
    """When the owner is dropped, what was submitted is done and the workers end; at the end of the program likewise,
    but what is stuck is not waited for."""
    _all.add(scheduler)
    weakref.finalize(owner, scheduler.let_go).atexit = False


def _at_exit() -> None:
    program_ends.set()
    living = [scheduler for scheduler in list(_all) if scheduler.is_ours and scheduler.driver is not None]
    for scheduler in living:
        scheduler.let_go()
    looked = {scheduler: (now(), _ended(scheduler)) for scheduler in living}
    for scheduler in living:
        at, ended = looked[scheduler]
        while not scheduler.over.wait(max(0.0, at + _STUCK - now())):
            at = now()
            if ended == (ended := _ended(scheduler)):
                assert scheduler.driver is not None
                _warn(scheduler)
                scheduler.driver.stop("exit", hurry=True)
                scheduler.over.wait(1.0)
                break


def _ended(scheduler: Scheduler) -> int:
    """How many of its tasks have ended."""
    return sum(scheduler.counts.values())


def _warn(scheduler: Scheduler) -> None:
    left = len(scheduler.live)
    tasks = "1 task" if left == 1 else f"{left} tasks"
    warnings.warn(
        f"the program has ended, no task of {scheduler.name} has for {_STUCK:g} s, and {tasks} that had not ended "
        "are cancelled: leave the pool's `with` block, or call shutdown(), which waits as long as they take",
        WorkerWarning,
        stacklevel=2,
    )


# As concurrent.futures does: before the threads of the program are waited for, while new ones can still be started.
getattr(threading, "_register_atexit", atexit.register)(_at_exit)
