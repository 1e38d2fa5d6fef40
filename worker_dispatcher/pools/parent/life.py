"""The life of a worker process: a table of states, and one reason for its end.

STARTING ──▶ READY ──▶ DRAINING ──▶ DYING ──▶ REAPED
    └──────────┴──────────────────────▲
"""

from __future__ import annotations

import math
from enum import Enum

from worker_dispatcher.clock import now

__all__ = ["Life", "State", "Why"]


class State(Enum):
    STARTING = "starting"  # it was asked for, and has not said that it is ready
    READY = "ready"  # it takes tasks; it may also be given some while it starts
    DRAINING = "draining"  # it takes no more, ends what it has begun, and then leaves
    DYING = "dying"  # it was killed, or has ended; how, is not known yet
    REAPED = "reaped"  # how it ended is known, and what it held is settled


class Why(Enum):
    """Why a worker ends, where it does not by itself."""

    TIMEOUT = "a task ran over its time"
    FROZEN = "not even its main thread moves"
    SEVERED = "it lives, and its channel does not"
    MEMORY = "it holds too much memory"
    KILLED = "a task of it was to be ended"
    CANCELLED = "the pool is stopped"
    ORPHANED = "its fork server took it along, or it cannot be watched"
    TOLD = "it has said itself that it cannot work"
    SPENT = "it has run all the tasks it may"
    RELEASED = "it is not wanted any more"


_MOVES: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.DYING, State.REAPED}),
    State.READY: frozenset({State.DRAINING, State.DYING, State.REAPED}),
    State.DRAINING: frozenset({State.DYING, State.REAPED}),
    State.DYING: frozenset({State.REAPED}),
    State.REAPED: frozenset(),
}


class Life:
    """Where one worker is in its life. Owned by the pool's driving thread.

    why: the first reason that was given for its end, or None. was_ready: it has been READY, since ready_at (monotonic).
    killed: it was made to end. open: it may be given tasks.
    """

    def __init__(self) -> None:
        self.state = State.STARTING
        self.why: Why | None = None
        self.was_ready = self.killed = False
        self.open = True
        self.ready_at = math.inf
        self._story: list[tuple[float, str]] = [(now(), State.STARTING.value)]

    def because(self, why: Why) -> None:
        """Give a reason for its end, if it has none yet."""
        if self.why is None:
            self.why = why
            self._story.append((now(), why.value))

    def move(self, to: State, why: Why | None = None) -> None:
        """Go on to a state. Raises RuntimeError with the worker's story where that is impossible."""
        if to not in _MOVES[self.state]:
            raise RuntimeError(f"a worker process cannot go from {self.state.value} to {to.value}: {self.story()}")
        if why is not None:
            self.because(why)
        self.state = to
        self.open = to is State.READY
        at = now()
        if self.open:
            self.was_ready, self.ready_at = True, at
        self._story.append((at, to.value))

    def end(self, why: Why | None = None, *, killed: bool = False) -> None:
        """It dies, if it does not already; by our hand, or by itself."""
        if self.state in (State.DYING, State.REAPED):
            if why is not None:
                self.because(why)
            return
        self.killed = killed
        self.move(State.DYING, why)

    def story(self) -> str:
        """What happened to it, with the seconds since it was asked for."""
        began = self._story[0][0]
        return ", ".join(f"{what} at {at - began:.3f} s" for at, what in self._story)
