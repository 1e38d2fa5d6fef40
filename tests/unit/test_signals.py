"""`signals_held`: handlers wait for the end of the block, and nobody is kept for their sake."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from worker_dispatcher.signals import held, signals_held, wait_on


class Watch(Exception):
    """What a handler raises."""


class Thing:
    """Something that a function has while a signal comes."""


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """What was handled; SIGUSR1 raises besides."""
    calls: list[Any] = []

    def hear(number: int, frame: FrameType | None) -> None:
        calls.append((number, frame))
        if number == signal.SIGUSR1:
            raise Watch

    before = {number: signal.signal(number, hear) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    yield calls
    for number, handler in before.items():
        signal.signal(number, handler)


def interrupted(found: list[weakref.ref[Thing]]) -> None:
    thing = Thing()
    found.append(weakref.ref(thing))
    signal.raise_signal(signal.SIGUSR1)


def while_held(work: Callable[[], object]) -> None:
    with signals_held():
        work()


def test_what_a_signal_came_in_the_midst_of_is_not_kept_by_what_it_raises(heard):
    found: list[weakref.ref[Thing]] = []
    with pytest.raises(Watch) as caught:
        while_held(lambda: interrupted(found))
    assert found[0]() is None
    assert caught.traceback
    ((number, frame),) = heard
    assert (number, frame and frame.f_code.co_name) == (signal.SIGUSR1, "while_held")


def test_each_signal_is_handled_whatever_the_handler_of_one_before_it_raises(heard):
    with pytest.raises(Watch):
        while_held(lambda: [*map(signal.raise_signal, [signal.SIGUSR1, signal.SIGUSR2] * 2), heard.append("block")])
    assert [call if call == "block" else call[0] for call in heard] == [
        "block",
        *[signal.SIGUSR1, signal.SIGUSR2] * 2,
    ]


def test_a_fork_in_the_midst_of_a_block_has_the_handlers_and_not_what_came(heard):
    def fork() -> None:
        signal.raise_signal(signal.SIGUSR2)
        with os.fdopen(os.dup(told), "w") as out:
            if pid := os.fork():
                os.waitpid(pid, 0)
                return
            try:
                signal.raise_signal(signal.SIGUSR2)
                out.write(f"{len(heard)} {held().__class__.__name__}")
                out.flush()
            finally:
                os._exit(0)

    read, told = os.pipe()
    forking = threading.Thread(target=fork)
    while_held(lambda: (forking.start(), forking.join(), heard.append("block")))
    os.close(told)
    with os.fdopen(read) as answer:
        assert answer.read() == "1 signals_held"
    assert [call if call == "block" else call[0] for call in heard] == ["block", signal.SIGUSR2]


def test_who_waits_has_the_lock_again_whatever_is_raised_between_two_steps_of_the_wait(heard, monkeypatch):
    changed = threading.Condition()
    release = changed._release_save

    def pressed():
        release()
        signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(changed, "_release_save", pressed)
    with pytest.raises(Watch), changed:
        wait_on(changed, 5)
