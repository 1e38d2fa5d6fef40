"""A condition as the board keeps it: a tree of watches, each true or not, that changes from its leaves upwards.

    OfJob ─────┐
    OfTime ────┼──▶ Some(least) ──▶ ... ──▶ the root of a job
    OfAnswer ──┘

Nobody asks a tree: what a leaf is about changes, the leaf is turned, and who waits for the root hears of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from worker_dispatcher.engine.status import FINAL

if TYPE_CHECKING:
    from worker_dispatcher.engine.conditions import Condition, TimeCondition
    from worker_dispatcher.engine.events import Entry
    from worker_dispatcher.engine.job import Job

__all__ = ["OfAnswer", "OfJob", "OfTime", "Some", "Watch", "leaves", "required", "words_of"]


class Watch:
    """holds: whether it is true now. parent: the Some that counts it, or None for a root."""

    __slots__ = ("entry", "holds", "parent")

    def __init__(self) -> None:
        self.holds = False
        self.parent: Some | None = None
        self.entry: Entry | None = None  # whose tree it is in

    def turn(self, holds: bool) -> bool:
        """Make it true or not; True if the root of its tree has changed with it."""
        watch: Watch = self
        while watch.holds != holds:
            watch.holds = holds
            parent = watch.parent
            if parent is None:
                return True
            parent.count += 1 if holds else -1
            watch, holds = parent, parent.count >= parent.least
        return False


class OfJob(Watch):
    """True while a job has one of some statuses. needed: its result is an argument of who waits."""

    __slots__ = ("job_id", "needed", "statuses")

    def __init__(self, job_id: str, statuses: Collection[str] = FINAL, *, needed: bool = False) -> None:
        super().__init__()
        self.job_id, self.statuses, self.needed = job_id, statuses, needed

    @property
    def wanted(self) -> str:
        return " or ".join(sorted(self.statuses))

    def __repr__(self) -> str:
        return f"{self.job_id} to be {self.wanted}"


class OfTime(Watch):
    """True as the clock says. since: when its job was submitted, or was last begun by it (local time)."""

    __slots__ = ("condition", "since")

    def __init__(self, condition: TimeCondition) -> None:
        super().__init__()
        self.condition = condition
        self.since: datetime | None = None

    def __repr__(self) -> str:
        return repr(self.condition)


class OfAnswer(Watch):
    """True while a condition of the user's own says so. every: seconds from one question to the next."""

    __slots__ = ("asked", "condition", "every", "raised")

    def __init__(self, condition: Condition, every: float) -> None:
        super().__init__()
        self.condition, self.every, self.asked = condition, every, False
        self.raised = ""  # what it raised last

    def is_news(self, error: BaseException | None) -> bool:
        """It has raised, and the last time it did not, or something else: the same is told once."""
        last, self.raised = self.raised, "" if error is None else repr(error)
        return error is not None and self.raised != last

    @property
    def whose(self) -> tuple[Condition, Job | None]:
        return self.condition, None if self.entry is None else self.entry.job

    def __repr__(self) -> str:
        return repr(self.condition)


class Some(Watch):
    """True while at least so many of some watches are."""

    __slots__ = ("count", "least", "parts")

    def __init__(self, parts: list[Watch], least: int) -> None:
        super().__init__()
        self.parts, self.least, self.count = parts, least, 0
        for part in parts:
            part.parent = self
            self.count += part.holds
        self.holds = self.count >= least


def leaves(root: Watch | None) -> Iterator[OfJob | OfTime | OfAnswer]:
    """The leaves of a tree, in order."""
    left: list[Watch] = [] if root is None else [root]
    while left:
        watch = left.pop()
        if isinstance(watch, Some):
            left.extend(reversed(watch.parts))
        else:
            assert isinstance(watch, (OfJob, OfTime, OfAnswer))
            yield watch


def words_of(leaf: Watch, entries: Mapping[str, Entry]) -> str:
    """What a leaf waits for, in words. entries: the jobs that there are."""
    if not isinstance(leaf, OfJob):
        return repr(leaf)
    other = entries.get(leaf.job_id)
    if other is None:
        return f"job {leaf.job_id}, which was never submitted"
    name = leaf.job_id if other.name == leaf.job_id else f"{other.name} ({leaf.job_id})"
    return f"{name} to be {leaf.wanted}; it is {other.status}"


def required(root: Watch | None) -> frozenset[str]:
    """The ids of jobs that must have ended for the root to be true. A tree of the user's is not deep."""
    if isinstance(root, OfJob):
        ends = root.statuses and all(status in FINAL for status in root.statuses)
        return frozenset([root.job_id]) if ends else frozenset()
    if not isinstance(root, Some) or not root.parts:
        return frozenset()
    parts = [required(part) for part in root.parts]
    if root.least >= len(parts):
        return frozenset().union(*parts)
    return frozenset.intersection(*parts) if root.least > 0 else frozenset()
