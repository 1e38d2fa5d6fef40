"""What a worker holds: taking any range of it gives exactly that, with the ids it had."""

from __future__ import annotations

import pytest

from worker_dispatcher.pools.base import Batch
from worker_dispatcher.pools.in_flight import InFlight, Piece


def held_of(*runs: tuple[int, Batch]) -> InFlight:
    held = InFlight()
    for seq, batch in runs:
        held.add(seq, batch)
    return held


def shown(pieces) -> list[tuple[int, int, list]]:
    return [(piece.seq, piece.first_id, list(piece.tasks().items)) for piece in pieces]


@pytest.fixture
def held() -> InFlight:
    """Sequence numbers 1 to 4 are tasks 101 to 104, then 5 to 7 are tasks 11 to 13."""
    return held_of((1, Batch(101, "abcd")), (5, Batch(11, "xyz")))


def test_a_piece_knows_where_it_begins_and_ends():
    piece = Piece(20, Batch(101, "abcdef", True), 2, 5)
    assert (piece.end, piece.first_id) == (23, 103)
    assert piece.tasks() == Batch(103, "cde", True)
    assert piece.cut(21, 22) == Piece(21, piece.batch, 3, 4)
    assert piece.cut(20, 23) == piece


@pytest.mark.parametrize(
    ("low", "high", "taken", "left"),
    [
        (1, 5, [(1, 101, list("abcd"))], [(5, 11, list("xyz"))]),
        (1, 2, [(1, 101, ["a"])], [(2, 102, list("bcd")), (5, 11, list("xyz"))]),
        (2, 4, [(2, 102, ["b", "c"])], [(1, 101, ["a"]), (4, 104, ["d"]), (5, 11, list("xyz"))]),
        (4, 6, [(4, 104, ["d"]), (5, 11, ["x"])], [(1, 101, list("abc")), (6, 12, ["y", "z"])]),
        (0, 100, [(1, 101, list("abcd")), (5, 11, list("xyz"))], []),
        (7, 100, [(7, 13, ["z"])], [(1, 101, list("abcd")), (5, 11, ["x", "y"])]),
        (-5, 1, [], [(1, 101, list("abcd")), (5, 11, list("xyz"))]),
        (8, 9, [], [(1, 101, list("abcd")), (5, 11, list("xyz"))]),
        (3, 3, [], [(1, 101, list("abcd")), (5, 11, list("xyz"))]),
        (4, 2, [], [(1, 101, list("abcd")), (5, 11, list("xyz"))]),
    ],
)
def test_a_range_is_taken_and_the_rest_stays(low, high, taken, left, held):
    assert shown(held.take(low, high)) == taken
    assert held.count == sum(len(items) for _, _, items in left)
    assert shown(held.take_all()) == left
    assert held.count == 0


def test_nothing_is_taken_twice(held):
    held.take(2, 6)
    assert held.take(2, 6) == []
    assert held.count == 3
    held.take_all()
    assert held.take_all() == held.take(0, 100) == []


def test_what_is_held_between_others_is_not_mixed_up_with_a_gap_in_the_numbers():
    held = held_of((1, Batch(1, "a")), (10, Batch(2, "b")))
    assert held.take(2, 10) == []
    assert shown(held.take(1, 11)) == [(1, 1, ["a"]), (10, 2, ["b"])]


def test_what_is_taken_keeps_that_it_must_run_alone():
    held = held_of((1, Batch(1, ["a"], alone=True)), (2, Batch(5, range(3))))
    alone, others = held.take_all()
    assert alone.tasks().alone
    assert others.cut(3, 5).tasks() == Batch(6, range(1, 3))


def test_added_after_taking_counts_on():
    held = held_of((1, Batch(1, "ab")))
    held.take(1, 2)
    held.add(3, Batch(50, "cde"))
    assert held.count == 4
    assert shown(held.take(2, 5)) == [(2, 2, ["b"]), (3, 50, ["c", "d"])]
    assert held.count == 1


def test_an_empty_worker_holds_nothing():
    held = InFlight()
    assert held.count == 0
    assert held.take(0, 10) == held.take_all() == []
