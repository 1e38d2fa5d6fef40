"""What a worker holds, given and taken in any order and with gaps: the same as a dict of every single task."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker_dispatcher.pools.base import Batch
from worker_dispatcher.pools.in_flight import InFlight

given_out = st.tuples(st.just("add"), st.integers(1, 6), st.integers(0, 3))
taken_back = st.tuples(st.just("take"), st.integers(0, 50), st.integers(-1, 9))


@given(steps=st.lists(st.one_of(given_out, taken_back), max_size=25))
def test_a_worker_holds_what_it_was_given_and_not_yet_taken(steps):
    held, expected, seq = InFlight(), {}, 1
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
        assert held.count == len(expected)
    pieces = held.take_all()
    assert [piece.seq for piece in pieces] == sorted(piece.seq for piece in pieces)
    assert single_tasks(pieces) == expected


@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=6), data=st.data())
def test_runs_of_a_report_are_taken_all_at_once_or_not_at_all(counts, data):
    held, other, seq = InFlight(), InFlight(), 1
    for nth, count in enumerate(counts):
        for one in (held, other):
            one.add(seq, Batch(1000 * nth, list(range(count))))
        seq += count
    for taken in data.draw(st.lists(st.integers(1, seq), max_size=5)):
        assert single_tasks(held.take(taken, taken + 1)) == single_tasks(other.take(taken, taken + 1))
    cuts = sorted(data.draw(st.sets(st.integers(1, seq + 1), max_size=8)))
    runs = [(a, b - a) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    before = held.count
    taken_at_once = held.take_ids(runs)
    pieces = [piece for seq, count in runs for piece in other.take(seq, seq + count)]
    expected = [piece.batch.first + at for piece in pieces for at in range(piece.low, piece.high)]
    if len(expected) == sum(count for _, count in runs):
        assert taken_at_once == (expected, None)
        assert held.count == before - len(expected)
        assert single_tasks(held.take_all()) == single_tasks(other.take_all())
    else:
        assert taken_at_once is None
        assert held.count == before


def single_tasks(pieces) -> dict:
    found = {}
    for piece in pieces:
        batch = piece.tasks()
        assert len(batch.items) == piece.end - piece.seq > 0
        for i, item in enumerate(batch.items):
            assert piece.seq + i not in found
            found[piece.seq + i] = (batch.first + i, item, batch.alone)
    return found
