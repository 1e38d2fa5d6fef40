"""What a job gets from one that runs again meanwhile: what that gave when it was done last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from worker_dispatcher.engine import Engine, EngineSetting, ThreadJob
from worker_dispatcher.engine.dispatcher import Dispatcher

Wait = Callable[..., None]


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(EngineSetting(max_thread_jobs=4, print_traceback=False)) as made:
        yield made


class Source:
    """Gives 1, then 2, ...; each time after the first when it may."""

    def __init__(self) -> None:
        self.count, self.may = 0, threading.Event()

    def __call__(self) -> int:
        self.count += 1
        assert self.count == 1 or self.may.wait(30)
        return self.count


class Stubborn:
    """Fails at first, once it may. got: what it was called with."""

    def __init__(self) -> None:
        self.got, self.may_fail = list[Any](), threading.Event()

    def __call__(self, value: Any) -> Any:
        self.got.append(value)
        if len(self.got) == 1:
            assert self.may_fail.wait(30)
            raise ValueError("not yet")
        return value


@pytest.fixture
def stubborn() -> Iterator[Stubborn]:
    made = Stubborn()
    yield made
    made.may_fail.set()  # else the engine would wait for it, where the test has failed


def test_another_attempt_gets_what_its_upstream_gave_before_while_that_runs_again(
    engine: Engine, stubborn: Stubborn, wait_until: Wait
) -> None:
    source = Source()
    first = ThreadJob(source)
    engine.submit(first)
    engine.wait(30)
    second = ThreadJob(stubborn, (first.future,), retries=1)
    engine.submit(second)
    wait_until(lambda: stubborn.got)
    engine.submit(first)
    stubborn.may_fail.set()
    wait_until(lambda: second.status == "done")
    assert first.status == "running"
    assert stubborn.got == [1, 1]
    source.may.set()
    engine.wait(30)
    assert (first.result(), second.result()) == (2, 1)


def test_an_end_that_is_not_told_yet_is_not_waited_for_by_who_has_to_tell_it(
    engine: Engine, stubborn: Stubborn, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, busy, go_on = Source(), threading.Event(), threading.Event()
    first, other = ThreadJob(source), ThreadJob(time.time)
    run, holders = Dispatcher._run, list[threading.Thread]()

    def held_up(dispatcher: Dispatcher, job: ThreadJob, attempt: int) -> None:
        if job is other:
            holders.append(threading.current_thread())
            busy.set()
            go_on.wait(30)
        run(dispatcher, job, attempt)

    monkeypatch.setattr(Dispatcher, "_run", held_up)
    engine.submit(first)
    engine.wait(30)
    stubborn.may_fail.set()
    second = ThreadJob(stubborn, (first.future,), retries=1, retry_time_delta=3)  # until then that thread is busy
    engine.submit(second)
    wait_until(lambda: second.status == "pending" and stubborn.got)
    engine.submit(first)
    actor = threading.Thread(target=engine.submit, args=(other,))
    actor.start()
    assert busy.wait(30)
    assert second.status == "pending"
    wait_until(lambda: second.status == "running")  # its next attempt, which the busy thread is to begin
    source.may.set()
    # That of the first job, which the busy thread has to tell; it may be the one that would hear of it, too.
    wait_until(lambda: engine._dispatcher._ends or holders != [actor])
    go_on.set()
    actor.join(30)
    assert not actor.is_alive()
    engine.wait(30)
    assert (first.result(), second.result(), stubborn.got) == (2, 1, [1, 1])


def test_where_the_upstream_has_failed_meanwhile_another_attempt_gets_what_it_gave(
    engine: Engine, stubborn: Stubborn, wait_until: Wait
) -> None:
    told = iter([5])
    first = ThreadJob(lambda: next(told))
    engine.submit(first)
    engine.wait(30)
    second = ThreadJob(stubborn, (first.future,), retries=1)
    engine.submit(second)
    wait_until(lambda: stubborn.got)
    engine.submit(first)
    wait_until(lambda: first.status == "failed")
    stubborn.may_fail.set()
    engine.wait(30)
    assert (first.status, second.status, stubborn.got) == ("failed", "done", [5, 5])
