"""Clocks of two machines: the monotonic clock of each has a zero of its own."""

from __future__ import annotations

import os

from worker_dispatcher.clock import now, time_of_day
from worker_dispatcher.named_tuple import NamedTuple


class Clock(NamedTuple):
    """A look at both clocks of a machine. boot: which start of which machine it is, and which of its times, as a
    container may have one of its own; empty where it does not say."""

    boot: str
    monotonic: float
    wall: float


def look() -> Clock:
    """Here and now."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = f"{file.read().strip()} {os.readlink('/proc/self/ns/time')}"
    except OSError:
        boot = ""
    return Clock(boot, now(), time_of_day())


def offset_between(theirs: Clock, ours: Clock) -> float:
    """What is added to a moment of theirs for the same moment of ours, in monotonic seconds. 0 on one machine; else as
    right as the time of day is on both: `measured` is better."""
    if theirs.boot and theirs.boot == ours.boot:
        return 0.0
    return (ours.monotonic - ours.wall) - (theirs.monotonic - theirs.wall)


def measured(asked: float, answered: float, theirs: float) -> tuple[float, float]:
    """(offset, how far off it may be) from our moments before and after theirs was looked at: Cristian's algorithm.
    The offset is added to a moment of ours for the same moment of theirs."""
    return theirs - (asked + answered) / 2, (answered - asked) / 2
