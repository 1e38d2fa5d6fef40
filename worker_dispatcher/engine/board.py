"""The board of jobs: events in, commands out. No clock, no IO, no lock, no code of the user."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from worker_dispatcher.engine.cycles import cycle_with
from worker_dispatcher.engine.errors import DependencyCycle
from worker_dispatcher.engine.events import (
    Answered,
    Ask,
    Command,
    Entry,
    Event,
    Fire,
    Moved,
    Raised,
    Returned,
    Revoked,
    Submitted,
    Ticked,
)
from worker_dispatcher.engine.status import (
    BEGIN,
    CANCELLED,
    DONE,
    FINAL,
    GIVE_UP,
    MOVES,
    PENDING,
    RETRY,
    RETURN,
    REVOKE,
    RUNNING,
    SUBMIT,
)
from worker_dispatcher.engine.watches import OfAnswer, OfJob, OfTime, leaves, words_of

_WALL_STEP = 30.0  # seconds: a clock that was set is noticed within them
_DEAD_TIMERS = 64  # below so many that nobody waits for, they are not thrown out


class Board:
    """Which jobs there are, what each waits for, and which may begin.

    slots: how many may run at once, for each name in `uses`. free: those that are left; taken and given back in `_move`
    alone, by the status that a job leaves or gets.

    After each event: every job is final, or running, or waits for something that `waits_of` names. Not thread-safe.
    """

    def __init__(self, slots: Mapping[str, float]) -> None:
        self.free: dict[str, float] = dict(slots)
        self.entries: dict[str, Entry] = {}
        self.paused = False  # nothing begins
        self._numbers = itertools.count()
        self._ready: dict[tuple[str, ...], list[tuple[int, int, Entry]]] = {}
        self._followers: dict[str, set[OfJob]] = {}
        self._asked: dict[OfAnswer, None] = {}
        self._timers: list[tuple[float, int, Entry, int, OfTime | OfAnswer | None]] = []
        self._dead = 0  # timers that nobody waits for
        self._running = self._queued = 0  # jobs that run; that wait for a slot alone, or did a moment ago
        self._soon: dict[Entry, None] = {}  # what fires, if it still does once all is looked at
        self._lost: deque[tuple[Entry, Entry]] = deque()  # who cannot have what it needs, from whom
        self._out: list[Command] = []
        self._handlers: dict[type, Callable[[Any], None]] = {
            Submitted: self._submitted,
            Returned: self._returned,
            Raised: self._raised,
            Revoked: self._revoked,
            Answered: self._answered,
            Ticked: self._ticked,
        }

    def feed(self, *events: Event) -> list[Command]:
        """What is to be done now that this has happened. Raises DependencyCycle for a Submitted; nothing has changed
        then."""
        out: list[Command] = []
        self._out = out
        for event in events:
            self._handlers[type(event)](event)
            self._lose()
        self._begin()
        self._out = []  # what is in it holds results
        return out

    def next_due(self) -> float:
        """When it wants to be told the time; infinity if never."""
        timers = self._timers
        while timers and not self._is_awaited(timers[0]):
            heapq.heappop(timers)
            self._dead = max(0, self._dead - 1)
        return timers[0][0] if timers else math.inf

    def forget(self, entry: Entry) -> None:
        """A job is not known any more. One that is pending gives its place to another: who waits for it waits on."""
        if entry.status == PENDING:
            self._unwatch(entry)
            entry.status = CANCELLED
            self._end_timers(entry)
        if self.entries.get(entry.id) is entry:
            del self.entries[entry.id]

    def restore(self, entry: Entry, status: str) -> None:
        """A job is known to have ended, before this board was there."""
        entry.status = status
        self.entries[entry.id] = entry

    def is_stuck(self) -> bool:
        """Jobs wait, and nothing that the board knows of will come to any of them."""
        if self._running or self._queued or self._asked or self.paused:
            return False
        waiting = [entry for entry in self.entries.values() if entry.status == PENDING]
        return bool(waiting) and not any(entry.held or entry.timed for entry in waiting)

    def waits_of(self, entry: Entry) -> list[str]:
        """What a pending job waits for, in words."""
        if entry.held:
            return ["its next attempt"]
        if entry.is_ready:
            return ["the engine, which is paused"] if self.paused else ["a slot"]
        words = [words_of(leaf, self.entries) for leaf in leaves(entry.root) if not leaf.holds]
        return words or ["any of no conditions, which is never true"]

    # What happens

    def _submitted(self, event: Submitted) -> None:
        if cycle := cycle_with(event.entries, self.entries, self._followers):
            raise DependencyCycle(cycle)
        for entry in event.entries:
            if entry.status == RUNNING or entry.status == PENDING:
                continue
            self.entries[entry.id] = entry
            entry.number = next(self._numbers)
            entry.held = False
            self._move(entry, SUBMIT)
            self._watch(entry, event)
            if entry.deadline < math.inf:
                self._at(entry.deadline, entry)
            if entry.fires:
                self._move(entry, BEGIN)
            else:
                self._consider(entry)
        self._fire_soon(event.at, event.wall)

    def _watch(self, entry: Entry, event: Submitted) -> None:
        """Have the leaves of what a job waits for say how things are, and hear of changes."""
        for leaf in leaves(entry.root):
            leaf.entry = entry
            if isinstance(leaf, OfJob):
                self._followers.setdefault(leaf.job_id, set()).add(leaf)
                other = self.entries.get(leaf.job_id)
                if other is not None:
                    if leaf.turn(other.status in leaf.statuses) and entry.fires:
                        self._at(0.0, entry)
                    if leaf.needed and other.status in FINAL and other.status != DONE:
                        self._lost.append((entry, other))
            elif isinstance(leaf, OfTime):
                leaf.since = leaf.condition.begins(_local(event.wall))
                self._look(leaf, event.at, event.wall)
            else:
                self._asked[leaf] = None
                self._ask(leaf)
                self._at(event.at + leaf.every, entry, leaf)

    def _unwatch(self, entry: Entry) -> None:
        """A job waits for nothing any more."""
        for leaf in leaves(entry.root):
            leaf.entry = None
            if isinstance(leaf, OfJob):
                followers = self._followers.get(leaf.job_id)
                if followers is not None:
                    followers.discard(leaf)
                    if not followers:
                        del self._followers[leaf.job_id]
            elif isinstance(leaf, OfAnswer):
                self._asked.pop(leaf, None)
        entry.root = None

    def _returned(self, event: Returned) -> None:
        if event.entry.status == RUNNING and event.attempt == event.entry.attempt:
            self._move(event.entry, RETURN, event.value)

    def _raised(self, event: Raised) -> None:
        entry = event.entry
        if entry.status != RUNNING or event.attempt != entry.attempt:
            return
        if event.wait is None or entry.retries <= 0:
            self._move(entry, GIVE_UP, event.why)
            return
        entry.retries -= 1
        self._move(entry, RETRY, event.why)
        if event.wait > 0:
            entry.held = True
            self._at(event.at + event.wait, entry)
        else:
            self._consider(entry)

    def _revoked(self, event: Revoked) -> None:
        if event.entry.status in (PENDING, RUNNING):
            self._move(event.entry, REVOKE, event.why)

    def _answered(self, event: Answered) -> None:
        event.watch.asked = False
        if event.watch.entry is not None:
            self._turn(event.watch, event.holds)
            self._fire_soon(event.at, event.wall)

    def _ticked(self, event: Ticked) -> None:
        timers = self._timers
        while timers and timers[0][0] <= event.at:
            timer = heapq.heappop(timers)
            if not self._is_awaited(timer):
                self._dead = max(0, self._dead - 1)
                continue
            due, _, entry, _, leaf = timer
            entry.timed -= 1
            if isinstance(leaf, OfTime):
                self._look(leaf, event.at, event.wall)
            elif leaf is not None:
                self._ask(leaf)
                self._at(event.at + leaf.every, entry, leaf)
            elif due >= entry.deadline:
                self._move(entry, GIVE_UP, "deadline")
            elif entry.held:
                entry.held = False
                self._consider(entry)
            elif entry.fires:
                self._soon[entry] = None
        self._fire_soon(event.at, event.wall)

    # Time

    def _at(self, due: float, entry: Entry, leaf: OfTime | OfAnswer | None = None) -> None:
        entry.timed += 1
        heapq.heappush(self._timers, (due, next(self._numbers), entry, entry.number, leaf))

    @staticmethod
    def _is_awaited(timer: tuple[float, int, Entry, int, OfTime | OfAnswer | None]) -> bool:
        _, _, entry, number, leaf = timer
        if entry.number != number or entry.status in FINAL:
            return False
        return leaf is None or leaf.entry is not None

    def _look(self, leaf: OfTime, at: float, wall: float) -> None:
        """Turn a leaf as the clock says, and look again when that may change."""
        assert leaf.entry is not None
        when = _local(wall)
        assert leaf.since is not None
        change = leaf.condition.changes(when, leaf.since)
        if change is not None:
            wait = max(0.0, change.timestamp() - wall)
            self._at(at + min(wait, _WALL_STEP), leaf.entry, leaf)
        self._turn(leaf, leaf.condition.holds(when, leaf.since))

    def _turn(self, leaf: OfTime | OfAnswer, holds: bool) -> None:
        """Turn a leaf that the time, or an answer, has turned."""
        entry = leaf.entry
        assert entry is not None
        if not leaf.turn(holds):
            return
        if not entry.fires:
            self._consider(entry)
        elif holds:
            self._soon[entry] = None

    def _fire_soon(self, at: float, wall: float) -> None:
        soon, self._soon, when = self._soon, {}, _local(wall)
        for entry in soon:
            for leaf in leaves(entry.root):  # of several that change at one moment, one is told first
                if isinstance(leaf, OfTime) and leaf.since is not None:
                    leaf.turn(leaf.condition.holds(when, leaf.since))
            if entry.root is not None and entry.root.holds:
                self._fire(entry, at, wall)

    def _fire(self, entry: Entry, at: float, wall: float) -> None:
        """Have it told, and go on to the next time; once for each that was missed, where the entry says so."""
        when = _local(wall)
        again = True
        while again:
            self._out.append(Fire(entry))
            again = False
            for leaf in leaves(entry.root):
                if isinstance(leaf, OfAnswer):
                    leaf.turn(False)
                elif isinstance(leaf, OfTime):
                    assert leaf.since is not None
                    leaf.since = leaf.condition.fired(when, leaf.since, entry.fires_each)
                    if not leaf.condition.holds(when, leaf.since):
                        self._look(leaf, at, wall)
                    elif leaf.condition.beats:
                        again = True
            again = again and entry.root is not None and entry.root.holds

    def _ask(self, leaf: OfAnswer) -> None:
        if not leaf.asked:
            leaf.asked = True
            self._out.append(Ask(leaf))

    # Moves

    def _move(self, entry: Entry, cause: str, what: Any = None) -> None:
        """The one place where a status changes, and slots are taken and given back."""
        old = entry.status
        new = MOVES[old, cause]
        if old == RUNNING:
            self._running -= 1
            for name in entry.uses:
                self.free[name] += 1
        if new == RUNNING:
            self._running += 1
            entry.attempt += 1
            for name in entry.uses:
                self.free[name] -= 1
        if entry.root is not None and (new in FINAL or (new == RUNNING and not entry.fires)):
            self._unwatch(entry)
        entry.status = new
        self._out.append(Moved(entry, old, new, what))
        if new in FINAL:
            self._end_timers(entry)
            for leaf in self._asked:
                self._ask(leaf)
        self._tell_followers(entry)

    def _end_timers(self, entry: Entry) -> None:
        """Timers of an ended job are thrown out once they are half of all."""
        self._dead += entry.timed
        entry.timed = 0
        if self._dead > _DEAD_TIMERS and 2 * self._dead > len(self._timers):
            self._timers = [timer for timer in self._timers if self._is_awaited(timer)]
            heapq.heapify(self._timers)
            self._dead = 0

    def _tell_followers(self, entry: Entry) -> None:
        followers = self._followers.get(entry.id)
        if not followers:
            return
        lost = entry.status in FINAL and entry.status != DONE
        for leaf in sorted(followers, key=_by_number):
            follower = leaf.entry
            if follower is None:
                continue
            if lost and leaf.needed and follower.on_upstream != "run":
                self._lost.append((follower, entry))
            elif leaf.turn(entry.status in leaf.statuses) and leaf.entry is not None:
                if not follower.fires:
                    self._consider(follower)
                else:
                    self._at(0.0, follower)  # it is told once somebody says what time it is

    def _lose(self) -> None:
        """End those who cannot have what they need, and those who need these."""
        while self._lost:
            entry, upstream = self._lost.popleft()
            if entry.status != PENDING or entry.on_upstream == "run":
                continue
            how = "was cancelled" if upstream.status == CANCELLED else "failed"
            why = f"its upstream job {upstream.name or upstream.id} {how}"
            self._move(entry, REVOKE if entry.on_upstream == "cancel" else GIVE_UP, why)

    def _consider(self, entry: Entry) -> None:
        """Have a job wait for a slot, if it waits for nothing else."""
        if not entry.queued and entry.is_ready:
            entry.queued = True
            self._queued += 1
            heapq.heappush(self._ready.setdefault(entry.uses, []), (-entry.priority, entry.number, entry))

    def _begin(self) -> None:
        """Begin what may: of those for which there are slots, the one of the highest priority, then the oldest."""
        free = self.free
        while self._queued and not self.paused:
            best: list[tuple[int, int, Entry]] | None = None
            for uses, heap in self._ready.items():
                for name in uses:
                    if free[name] <= 0:
                        break
                else:
                    while heap and not heap[0][2].is_ready:
                        self._take(heap)
                    if heap and (best is None or heap[0] < best[0]):
                        best = heap
            if best is None:
                return
            self._move(self._take(best), BEGIN)

    def _take(self, heap: list[tuple[int, int, Entry]]) -> Entry:
        entry = heapq.heappop(heap)[2]
        entry.queued = False
        self._queued -= 1
        return entry


def _by_number(leaf: OfJob) -> int:
    return 0 if leaf.entry is None else leaf.entry.number


def _local(wall: float) -> datetime:
    """A moment as the clock on the wall shows it: without a zone, and in the local one."""
    return datetime.fromtimestamp(wall)
