"""The board of jobs: whatever happens to it, in any order, it keeps its promises after each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from rounds import examples

from worker_dispatcher.engine.board import Board
from worker_dispatcher.engine.conditions import AfterTimepoint, BeforeTimepoint, Condition, EveryPeriod, watch_of
from worker_dispatcher.engine.errors import DependencyCycle
from worker_dispatcher.engine.events import Answered, Ask, Entry, Moved, Raised, Returned, Revoked, Submitted, Ticked
from worker_dispatcher.engine.status import FINAL, MOVES, PENDING, RUNNING, STATUSES
from worker_dispatcher.engine.watches import OfAnswer, OfJob, OfTime, Some, Watch

IDS = [f"job{number}" for number in range(8)]
SLOTS = {"job": 3.0, "thread": 2.0, "process": 1.0}
NOON = datetime(2026, 7, 1, 12)


def watch(kind: int, other: str, seconds: float) -> Watch:
    """A leaf of some kind."""
    if kind == 0:
        return OfJob(other, needed=True)
    if kind == 1:
        return OfJob(other, frozenset({"running", "done"}))
    if kind == 2:
        return OfAnswer(Condition(), 0.5)
    moment = datetime.fromtimestamp(NOON.timestamp() + seconds)
    return watch_of((AfterTimepoint(moment), BeforeTimepoint(moment), EveryPeriod(f"{seconds + 0.1}s"))[kind % 3], 1.0)


leaf = some.builds(watch, some.integers(0, 5), some.sampled_from(IDS), some.floats(0, 5))
tree = some.recursive(
    leaf,
    lambda parts: some.lists(parts, max_size=3).flatmap(
        lambda found: some.builds(Some, some.just(found), some.integers(0, len(found) + 1))
    ),
    max_leaves=5,
)
job = some.fixed_dictionaries(
    {
        "id": some.sampled_from(IDS),
        "uses": some.sampled_from([("job",), ("job", "thread"), ("job", "process")]),
        "priority": some.integers(-1, 1),
        "retries": some.integers(0, 2),
        "deadline": some.one_of(some.just(math.inf), some.floats(0, 5)),
        "on_upstream": some.sampled_from(["cancel", "run", "fail"]),
        "fires": some.sampled_from([False, False, False, True]),
    }
)
step = some.one_of(
    some.tuples(some.just("submit"), some.lists(some.tuples(job, some.one_of(some.none(), tree)), max_size=4)),
    some.tuples(some.just("return"), some.sampled_from(IDS), some.integers(0, 1)),
    some.tuples(some.just("raise"), some.sampled_from(IDS), some.sampled_from([None, 0.0, 0.7])),
    some.tuples(some.just("revoke"), some.sampled_from(IDS)),
    some.tuples(some.just("tick"), some.floats(0, 2)),
    some.tuples(some.just("answer"), some.booleans()),
    some.tuples(some.just("pause")),
)


class Driven:
    """A board, what was said to it, and what must hold."""

    def __init__(self) -> None:
        self.board = Board(SLOTS)
        self.at = 0.0
        self.asked: list[OfAnswer] = []
        self.statuses: dict[int, str] = {}

    def take(self, what: tuple[Any, ...]) -> None:
        act, *rest = what
        commands: Sequence[Any] = getattr(self, f"_{act}")(*rest)
        for command in commands:
            if isinstance(command, Moved):
                assert (command.old, command.new) in {(old, new) for (old, _), new in MOVES.items()}
                assert self.statuses.get(id(command.entry), "created") == command.old, "a status changed without a move"
                self.statuses[id(command.entry)] = command.new
            elif isinstance(command, Ask):
                self.asked.append(command.watch)
        self.check()

    def _feed(self, *events: Any) -> Sequence[Any]:
        return self.board.feed(*events)

    @property
    def _wall(self) -> float:
        return NOON.timestamp() + self.at

    def _submit(self, jobs: list[tuple[dict[str, Any], Watch | None]]) -> Sequence[Any]:
        entries: dict[str, Entry] = {}
        for said, root in jobs:
            entry = self.board.entries.get(said["id"])
            if said["id"] in entries or (entry is not None and entry.status not in FINAL):
                continue
            entry = entry or Entry(said["id"], None, said["uses"], said["id"])
            if entry.fires != said["fires"] and entry.status != "created":
                continue
            entry.uses = () if said["fires"] else entry.uses
            for name in ("priority", "retries", "on_upstream", "fires"):
                setattr(entry, name, said[name])
            entry.root, entry.deadline = root, self.at + said["deadline"]
            entries[entry.id] = entry
        before = {entry.id: entry.status for entry in entries.values()}
        try:
            return self._feed(Submitted(list(entries.values()), self.at, self._wall))
        except DependencyCycle:
            assert before == {entry.id: entry.status for entry in entries.values()}
            for entry in entries.values():
                entry.root = None
            return []

    def _return(self, id: str, stale: int) -> Sequence[Any]:
        entry = self.board.entries.get(id)
        return [] if entry is None else self._feed(Returned(entry, entry.attempt - stale, None))

    def _raise(self, id: str, wait: float | None) -> Sequence[Any]:
        entry = self.board.entries.get(id)
        return [] if entry is None else self._feed(Raised(entry, entry.attempt, ValueError(), wait, self.at))

    def _revoke(self, id: str) -> Sequence[Any]:
        entry = self.board.entries.get(id)
        return [] if entry is None else self._feed(Revoked(entry))

    def _tick(self, seconds: float) -> Sequence[Any]:
        self.at += seconds
        commands = self._feed(Ticked(self.at, self._wall))
        assert self.board.next_due() > self.at, "what is due has been done"
        return commands

    def _answer(self, holds: bool) -> Sequence[Any]:
        if not self.asked:
            return []
        return self._feed(Answered(self.asked.pop(0), holds, self.at, self._wall))

    def _pause(self) -> Sequence[Any]:
        self.board.paused = not self.board.paused
        return self._feed()

    def check(self) -> None:
        board, entries = self.board, list(self.board.entries.values())
        for name, all_slots in SLOTS.items():
            used = sum(name in entry.uses for entry in entries if entry.status == RUNNING)
            assert 0 <= board.free[name] == all_slots - used, "no slot is lost, and none taken twice"
        for entry in entries:
            assert entry.status in STATUSES
            assert self.statuses.get(id(entry), "created") == entry.status
            if entry.status == PENDING:
                assert board.waits_of(entry), "whoever does not run waits for something that has a name"
                free = all(board.free[name] > 0 for name in entry.uses)
                assert not (entry.is_ready and free and not board.paused), "nobody waits for a slot that is free"
            elif not entry.fires:
                assert entry.root is None, "who waits for nothing any more watches nothing"
        followers = {leaf for leaves in board._followers.values() for leaf in leaves}
        assert all(leaf.entry is not None for leaf in followers)
        assert board.next_due() >= 0


@settings(max_examples=examples(1000), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some.lists(step, max_size=40))
def test_slots_statuses_and_waits_are_right_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    driven = Driven()
    for what in steps:
        driven.take(what)


@settings(max_examples=examples(400), deadline=None)
@given(some.lists(step, max_size=30))
def test_once_all_has_ended_nothing_is_kept(steps: list[tuple[Any, ...]]) -> None:
    driven = Driven()
    for what in steps:
        driven.take(what)
    if driven.board.paused:
        driven.take(("pause",))
    for id in IDS:
        driven.take(("revoke", id))
    assert all(entry.status in FINAL for entry in driven.board.entries.values())
    assert not driven.board._followers
    assert not driven.board._asked
    assert driven.board.next_due() == math.inf
    assert driven.board.free == SLOTS
    assert not driven.board.is_stuck()


def test_a_watch_of_time_is_one() -> None:
    assert isinstance(watch(3, "job1", 1.0), OfTime)
