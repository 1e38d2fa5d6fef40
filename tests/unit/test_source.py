"""Where tasks come from: each kind of list, the intake of lazy ones, and what comes back."""

from __future__ import annotations

import itertools
import threading
from array import array
from collections import deque

import pytest

from worker_dispatcher.clock import Anchor, now
from worker_dispatcher.dispatch.schedule import AllAtOnce
from worker_dispatcher.dispatch.source import TaskSource
from worker_dispatcher.dispatch.tasklist import IteratorFeed, task_list
from worker_dispatcher.pools.base import Batch
from worker_dispatcher.records import Records


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ((1, 2), [1, 2]),
        (range(4), [0, 1, 2, 3]),
        (3, [{}, {}, {}]),
        (0, []),
        ([], []),
        ({5}, [5]),
        ({"a": 1, "b": 2}, ["a", "b"]),
        (deque([1, 2]), [1, 2]),
        (array("i", [1, 2]), [1, 2]),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 100])
def test_each_kind_with_a_length_is_drawn_in_order(given, expected, step):
    tasks = task_list(given, 2)
    assert tasks.total == tasks.available() == len(expected)
    found = []
    while not tasks.ended:
        found += tasks.draw(step)

    assert found == expected
    assert tasks.drawn == len(expected)


def test_a_list_that_changes_later_is_drawn_as_it_was():
    given = [1, 2]
    tasks = task_list(given, 1)
    given.append(3)

    assert list(tasks.draw(9)) == [1, 2]


def pouring(intake):
    thread = threading.Thread(target=intake.pour, daemon=True)  # a failed test must not hold up the others
    thread.start()
    return thread


def test_an_intake_is_drawn_no_further_than_its_room_and_goes_on_when_there_is_some(wait_until):
    given = itertools.count()
    intake = IteratorFeed(given, 4)
    thread = pouring(intake)
    wait_until(lambda: intake.available() == 4)
    assert list(intake.draw(3)) == [0, 1, 2]
    wait_until(lambda: intake.available() == 4)
    intake.end()
    thread.join(5)

    drawn_out = next(given)
    assert drawn_out == intake.drawn + intake.left_over()
    assert not thread.is_alive()


def test_an_intakes_room_grows_only_when_it_is_run_dry_while_full(wait_until):
    intake = IteratorFeed(itertools.count(), 2)
    thread = pouring(intake)
    wait_until(lambda: intake._was_full)
    assert len(intake.draw(2)) == 2
    wait_until(lambda: intake.available() == 4)
    for _ in range(10):
        intake.draw(1)
        wait_until(lambda: intake.available() == 4)
    assert intake._room == 4
    intake.end()
    thread.join(5)


def test_an_intake_wakes_the_driver_and_keeps_what_the_iterable_raises():
    def breaks():
        yield 1
        raise OSError("gone")

    woken = []
    intake = IteratorFeed(breaks(), 4)
    intake.wake = lambda: woken.append(intake.available())
    intake.pour()

    assert not intake.ended
    assert list(intake.draw(5)) == [1]
    assert intake.ended
    assert str(intake.error) == "gone"
    assert woken


@pytest.fixture
def source():
    source = TaskSource(task_list(range(10), 2), Records(Anchor.take()), AllAtOnce())
    source.release()
    return source


def test_what_came_back_goes_first_and_keeps_its_id(source):
    first = source.take(3)
    assert (first.first, list(first.items)) == (1, [0, 1, 2])
    source.put_back(first.part(1, 3))
    assert source.waiting() == 9

    again = source.take(1)
    assert (again.first, list(again.items)) == (2, [1])
    assert source.take(5).first == 3
    assert source.take(5).first == 4


def test_tasks_that_must_run_alone_have_a_way_of_their_own(source):
    source.put_back(Batch(1, ["x"], alone=True))

    assert source.alone_waiting()
    assert source.take(1).first == 1
    assert source.take_alone() == Batch(1, ["x"], True)
    assert source.take_alone() is None


def test_what_waits_for_its_moment_is_not_given_before(source):
    source.take(10)
    source.put_back_at(now() + 1000, Batch(2, ["later"]))
    source.put_back_at(now() - 1, Batch(1, ["now"]))
    assert source.take(1) is None

    source.release()

    assert source.take(5) == Batch(1, ["now"])
    assert source.take(5) is None
    assert source.next_due() > now() + 900
