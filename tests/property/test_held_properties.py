"""What a worker holds, given and taken in any order and with gaps: the same as a dict of every single task."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker_dispatcher.pools.base import Batch
from worker_dispatcher.pools.held import Held

given_out = st.tuples(st.just("add"), st.integers(1, 6), st.integers(0, 3))
taken_back = st.tuples(st.just("take"), st.integers(0, 50), st.integers(-1, 9))


@given(steps=st.lists(st.one_of(given_out, taken_back), max_size=25))
def test_a_worker_holds_what_it_was_given_and_not_yet_taken(steps):
    held, expected, seq = Held(), {}, 1
    for nth, (what, one, two) in enumerate(steps):
        if what == "add":
            seq += two
            batch = Batch(1000 * nth, [(nth, i) for i in range(one)], alone=bool(nth % 2))
            held.add(seq, batch)
            expected.update({seq + i: (batch.first + i, batch.items[i], batch.alone) for i in range(one)})
            seq += one
        else:
            gone = {n: expected.pop(n) for n in range(one, one + two) if n in expected}
            assert single_tasks(held.take(one, one + two)) == gone
        assert len(held) == len(expected)
    pieces = held.take_all()
    assert [piece.seq for piece in pieces] == sorted(piece.seq for piece in pieces)
    assert single_tasks(pieces) == expected


def single_tasks(pieces) -> dict:
    found = {}
    for piece in pieces:
        batch = piece.tasks()
        assert len(batch.items) == piece.end - piece.seq > 0
        for i, item in enumerate(batch.items):
            assert piece.seq + i not in found
            found[piece.seq + i] = (batch.first + i, item, batch.alone)
    return found
