"""However a load is dealt out, the pieces together are the schedule: each due time once, with its own task."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_dispatcher.clock import Anchor
from worker_dispatcher.dispatch import source as source_module
from worker_dispatcher.dispatch.load import Growing, Paced, Steady, Trace
from worker_dispatcher.dispatch.source import AHEAD, TaskSource
from worker_dispatcher.dispatch.tasklist import task_list
from worker_dispatcher.records import Records

schedules = st.one_of(
    st.builds(
        Paced,
        st.one_of(st.builds(Growing, st.integers(1, 6), st.integers(-2, 3)), st.builds(Steady, st.floats(0.5, 60))),
        st.sampled_from(["burst", "even", "random", "poisson"]),
        st.floats(0.05, 2),
        st.floats(0.1, 3),
        st.integers(0, 3),
    ),
    st.builds(
        Trace, st.lists(st.floats(0, 3), max_size=40).map(lambda given: tuple(sorted(given))), st.floats(0.05, 1)
    ),
)
# What the driver does next: (let time pass, take so many, drop what is late, give the last batch back).
moves = st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 9), st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(schedules, moves, st.integers(0, 60))
def test_the_pieces_of_a_load_together_are_its_schedule(schedule: Any, moves: list[Any], tasks: int) -> None:
    planned = [(number, 100.0 + offset) for number, dues in schedule.ticks() for offset in dues][:tasks]
    records = Records(Anchor(0.0, 0.0))
    found: dict[int, tuple[Any, float]] = {}
    with pytest.MonkeyPatch.context() as patch:
        at = 100.0
        patch.setattr(source_module, "now", lambda: at)
        dealt = TaskSource(task_list(list(range(tasks)), 4), records, schedule, drops=True)
        dealt.begin(100.0)
        for step, count, drop, back in [*moves, *[(math.inf, 7, False, False)] * 60]:
            at = at + step if math.isfinite(step) else 1e6
            dealt.release()
            waiting, due = dealt.waiting(), dealt.due()
            batch = (dealt.take_late() if drop else None) or dealt.take(count)
            if batch is None:
                assert not waiting
                assert due == math.inf or drop
                continue
            for nth, item in enumerate(batch.items):
                assert batch.dues is not None
                assert batch.dues[nth] <= at + AHEAD
                before = found.setdefault(batch.first + nth, (item, batch.dues[nth]))
                assert before == (item, batch.dues[nth])
            if back:
                dealt.put_back(batch)
        assert dealt.ended == (len(found) == len(planned)) or not planned
    assert [found[task_id] for task_id in sorted(found)] == [(nth, due) for nth, (_, due) in enumerate(planned)]
    assert sorted(found) == list(range(1, len(planned) + 1))
    assert list(records.due) == [due for _, due in planned]
    assert [records._interval(task_id) for task_id in sorted(found)] == [number for number, _ in planned]
