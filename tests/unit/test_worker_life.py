"""A worker's life is a table: what it may become, why it ends, and when it may be given a task."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from worker_dispatcher.call import Call
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.clock import now
from worker_dispatcher.osproc.shared_status import IN_INIT
from worker_dispatcher.osproc.starter import Process
from worker_dispatcher.pools.base import Batch, Setup
from worker_dispatcher.pools.parent.functions import KEPT, Function, Functions, Known
from worker_dispatcher.pools.parent.life import Life, State, Why
from worker_dispatcher.pools.parent.limits import Limits
from worker_dispatcher.pools.parent.worker_handle import WorkerHandle

SETUP = Setup(Call(abs, CallStyle(positional=True)), max_tasks=2)
ALLOWED = {
    (State.STARTING, State.READY),
    (State.STARTING, State.DYING),
    (State.STARTING, State.REAPED),
    (State.READY, State.DRAINING),
    (State.READY, State.DYING),
    (State.READY, State.REAPED),
    (State.DRAINING, State.DYING),
    (State.DRAINING, State.REAPED),
    (State.DYING, State.REAPED),
}
WAYS: dict[State, list[State]] = {
    State.STARTING: [],
    State.READY: [State.READY],
    State.DRAINING: [State.READY, State.DRAINING],
    State.DYING: [State.DYING],
    State.REAPED: [State.DYING, State.REAPED],
}


def life_in(state: State) -> Life:
    life = Life()
    for one in WAYS[state]:
        life.move(one)
    return life


@pytest.mark.parametrize(("here", "there"), list(itertools.product(State, State)))
def test_a_life_goes_only_where_the_table_lets_it_and_else_tells_its_story(here: State, there: State) -> None:
    life = life_in(here)
    if (here, there) in ALLOWED:
        life.move(there)
        assert life.state is there
        return
    with pytest.raises(RuntimeError, match=f"from {here.value} to {there.value}: starting at 0.000 s"):
        life.move(there)
    assert life.state is here


def test_the_first_reason_for_an_end_stands_and_one_that_dies_by_itself_has_none() -> None:
    life = life_in(State.READY)
    life.end()
    assert (life.state, life.why, life.killed) == (State.DYING, None, False)
    life.end(Why.ORPHANED, killed=True)
    life.end(Why.TIMEOUT)
    assert (life.why, life.killed) == (Why.ORPHANED, False)
    assert "ready at" in life.story()
    assert life.story().endswith("it cannot be watched at 0.000 s")


class Asked:
    """A starter that starts nothing."""

    def start(self, *asked: Any) -> Process:
        return Process()


@pytest.fixture
def handle() -> Iterator[WorkerHandle]:
    handle = WorkerHandle(Asked(), 1, 1, SETUP)  # type: ignore[arg-type]
    yield handle
    handle.close()


@pytest.mark.parametrize("name", ["alone", "gone", "closing_at", "answered", "full"])
def test_a_worker_is_not_open_in_a_special_state(handle: WorkerHandle, name: str) -> None:
    assert handle.open
    match name:
        case "closing_at":
            handle.closing_at = 5.0
        case "answered":
            handle.answered = False
        case "full":
            handle.give(Batch(1, [1, 2]), Function(0, None), [b"", b"", b""], [])
        case _:
            setattr(handle, name, True)
    assert not handle.open


def test_a_worker_that_drains_takes_nothing_and_leaves_when_it_holds_nothing(handle: WorkerHandle) -> None:
    handle.life.move(State.READY)
    handle.give(Batch(1, [1]), Function(0, None), [b"", b"", b""], [])
    handle.drain(Why.RELEASED)
    assert (handle.open, handle.life.state, handle.closing_at) == (False, State.DRAINING, math.inf)
    handle.leave(1.0)
    assert handle.closing_at == math.inf
    handle.held.take_all()
    handle.leave(1.0)
    assert handle.closing_at < math.inf


def test_one_that_is_drained_before_it_is_ready_is_ended(handle: WorkerHandle) -> None:
    handle.drain(Why.RELEASED)
    assert (handle.life.state, handle.life.why, handle.life.killed) == (State.DYING, Why.RELEASED, True)


class Watched:
    """Of a supervisor, what is looked at."""

    def __init__(self, *handles: WorkerHandle) -> None:
        self.handles, self.events, self.given_up = list(handles), [], list[Why]()  # type: ignore[var-annotated]

    def give_up(self, handle: WorkerHandle, why: Why) -> None:
        self.given_up.append(why)


@pytest.mark.parametrize("what", ["a task", "a task that is loaded", "worker.init"])
def test_one_over_its_memory_is_ended_once_it_works_and_not_while_it_waits_for_its_first_task(
    handle: WorkerHandle, what: str
) -> None:
    limits, watched = Limits(SETUP._replace(memory_limit=1)), Watched(handle)
    handle.process.pid = os.getpid()
    limits.look(watched)  # type: ignore[arg-type]
    handle.life.move(State.READY)
    limits.look(watched)  # type: ignore[arg-type]
    assert watched.given_up == []
    handle.slate.started[0] = now()
    handle.slate.running[0] = {"a task": 1, "a task that is loaded": -1, "worker.init": IN_INIT}[what]
    limits.look(watched)  # type: ignore[arg-type]
    assert watched.given_up == [Why.MEMORY]
    assert handle.stillborn == (what == "worker.init")


def test_the_next_look_at_memory_does_not_wait_for_what_the_machine_did_besides(
    handle: WorkerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "_resident", lambda *_: time.sleep(0.2) or 0)
    handle.life.move(State.READY)
    handle.slate.running[0] = 1
    limits = Limits(SETUP._replace(memory_limit=1))
    limits.look(Watched(handle))  # type: ignore[arg-type]
    assert limits.due < now() + 5  # 50 times what it took by the clock are 10 s


def test_a_worker_is_told_a_call_once_and_forgets_what_was_used_longest_ago() -> None:
    known = Known()
    assert known.learn(0) is None  # the pool's own
    heads = [known.learn(number) for number in range(1, KEPT + 1)]
    assert all(head is not None for head in heads)
    assert known.learn(1) is None
    assert known.learn(KEPT + 1) == (KEPT + 1).to_bytes(8, "little") + (2).to_bytes(8, "little")
    assert known.learn(1) is None
    assert known.learn(2) is not None


def test_a_pool_tells_calls_apart_by_identity_and_keeps_a_bounded_number() -> None:
    functions = Functions()
    calls = [Call(abs, CallStyle(positional=True)) for _ in range(3 * KEPT)]
    numbers = [functions.of(call).number for call in calls]
    assert numbers == list(range(1, 3 * KEPT + 1))
    assert functions.of(None).number == 0
    assert functions.of(calls[-1]).number == numbers[-1]
    assert functions.of(calls[0]).number == 3 * KEPT + 1
    assert len(functions._kept) == KEPT
