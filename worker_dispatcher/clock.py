"""Time: every deadline, interval and duration is monotonic; the wall clock is read once a run; floor 0.

A test of the user may stop time: freezegun and `mock.patch("time.monotonic")` put other functions in the place of those
of the module `time`, time-machine has those functions themselves answer otherwise. Deadlines would never come. So this
is a module `time` of our own, made anew by the interpreter, in which nobody puts anything; and of it the clock that no
such tool turns, which on Linux is the monotonic one under another name. No other module of ours imports `time`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from worker_dispatcher.named_tuple import NamedTuple

# Seconds. A handler of signals runs only when the main thread runs Python: a Ctrl-C that comes in the last microseconds
# before a wait, or that the system gives to another thread, is not heard before the wait is over. So what may be in the
# main thread waits no longer at a time.
LONGEST_WAIT = 1.0


def _own_time() -> Any:
    """A second instance of the module: its functions are other objects, and cost the same."""
    spec: Any = time.__spec__
    own = spec.loader.create_module(spec)
    spec.loader.exec_module(own)
    return own


_own = _own_time()
now: Callable[[], float] = _own.perf_counter  # seconds; on Linux one clock for all processes, so stamps compare
sleep: Callable[[float], None] = _own.sleep
time_of_day: Callable[[], float] = _own.time  # Unix time, in seconds, whatever tools have made of it: as others read it
thread_time: Callable[[], float] = _own.thread_time  # seconds of the processor that this thread has had


def wall() -> float:
    """Unix time, in seconds, as the program sees it: where it has stopped that clock or set it, that is what it wants
    to read in its logs."""
    return time.time()


def read_zone() -> None:
    """Go by the time zone that the environment names now."""
    time.tzset()


class Anchor(NamedTuple):
    """One moment read on both clocks, so that monotonic stamps can be told as Unix time."""

    wall: float
    monotonic: float

    @staticmethod
    def take() -> Anchor:
        return Anchor(time.time(), now())  # as `wall` reads it

    def wall_at(self, stamp: float) -> float:
        """Unix time, in seconds, of a monotonic stamp."""
        return self.wall + (stamp - self.monotonic)
