"""A job as the board knows it; what the board is told, and what it says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from worker_dispatcher.engine.status import CREATED, PENDING
from worker_dispatcher.named_tuple import NamedTuple

if TYPE_CHECKING:
    from worker_dispatcher.engine.watches import OfAnswer, Watch


class Entry:
    """A job as the board knows it. job: whatever stands for it outside.

    uses: the slots that it takes while it runs. root: what it waits for, None if for nothing; held: it waits for its
    next attempt. on_upstream: what becomes of it if a job whose result it needs does not succeed. fires: it begins at
    once, takes no slot, never ends by itself, and is told each time that its root becomes true; fires_each: also of the
    times that were missed.
    """

    __slots__ = (
        *(
            "attempt",
            "deadline",
            "fires",
            "fires_each",
            "held",
            "id",
            "job",
            "name",
            "number",
            "on_upstream",
            "priority",
            "queued",
        ),
        *("retries", "root", "status", "timed", "uses"),
    )

    def __init__(self, id: str, job: Any, uses: tuple[str, ...], name: str = "") -> None:
        self.id, self.job, self.uses, self.name = id, job, uses, name
        self.status = CREATED
        self.number = self.priority = self.retries = self.attempt = self.timed = 0
        self.root: Watch | None = None
        self.deadline = math.inf
        self.on_upstream = "cancel"
        self.held = self.queued = self.fires = self.fires_each = False

    @property
    def is_ready(self) -> bool:
        """It waits for a slot alone."""
        return self.status == PENDING and not self.held and (self.root is None or self.root.holds)


# Events. at: monotonic seconds; wall: Unix time; neither is read here.


class Submitted(NamedTuple):
    """Jobs are to run, all or none of them. deadline: a moment (monotonic)."""

    entries: Sequence[Entry]
    at: float
    wall: float


class Returned(NamedTuple):
    """An attempt has ended well."""

    entry: Entry
    attempt: int
    value: Any


class Raised(NamedTuple):
    """An attempt has failed. wait: seconds until the next one, None if there is to be none."""

    entry: Entry
    attempt: int
    why: BaseException
    wait: float | None
    at: float


class Revoked(NamedTuple):
    """A job is not wanted any more."""

    entry: Entry
    why: str = ""


class Answered(NamedTuple):
    """What a condition of the user's own has said."""

    watch: OfAnswer
    holds: bool
    at: float
    wall: float


class Ticked(NamedTuple):
    """It is later."""

    at: float
    wall: float


# Commands.


class Moved(NamedTuple):
    """The status of a job has changed: what begins is to be run, what ends while it runs is to be stopped, an end is to
    be told. what: of an attempt that has ended, its result or its exception; otherwise why, in words."""

    entry: Entry
    old: str
    new: str
    what: Any


class Ask(NamedTuple):
    """Ask a condition of the user's own."""

    watch: OfAnswer


class Fire(NamedTuple):
    """What a job that fires waits for has come."""

    entry: Entry


Command: TypeAlias = Moved | Ask | Fire
Event: TypeAlias = Submitted | Returned | Raised | Revoked | Answered | Ticked
