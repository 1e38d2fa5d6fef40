"""Reading logs and columns: what is malformed, what only lacks an optional field, what columns may be given."""

from __future__ import annotations

from collections import UserDict, deque
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from worker_dispatcher.reports.failure_groups import group_errors
from worker_dispatcher.reports.rows import Rows
from worker_dispatcher.reports.run_data import RunData

GOOD = {"task_id": 1, "started_at": 10.0, "ended_at": 11.5, "duration": 1.25, "result": True, "metadata": {}}
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "malformed",
    [
        *({key: value for key, value in GOOD.items() if key != gone} for gone in ("started_at", "ended_at", "result")),
        *(
            GOOD | {key: value}
            for key in ("started_at", "ended_at", "duration")
            for value in (None, "11", True, NAN, INF, -INF, 10**400, 1j, [1], np.True_, 2.0**60)
        ),
        GOOD | {"ended_at": 9.0},
        {},
        None,
        5,
        "log",
        [("started_at", 1)],
    ],
    ids=str,
)
def test_a_malformed_row_is_counted_and_left_out(malformed: Any) -> None:
    rows = Rows.from_logs([GOOD, malformed, GOOD | {"started_at": 10.5}])
    assert (len(rows), rows.invalidity) == (2, 1)
    assert rows.starts.tolist() == [10.0, 10.5]
    assert rows.ok.tolist() == [True, True]


@pytest.mark.parametrize(
    "fine",
    [
        {key: value for key, value in GOOD.items() if key not in ("task_id", "metadata")},
        GOOD | {"started_at": 10, "ended_at": 11},
        GOOD | {"started_at": np.float64(10), "ended_at": np.int64(12), "duration": np.float32(1)},
        GOOD | {"started_at": Fraction(10)},
        GOOD | {"ended_at": 10.0, "duration": 0},
        GOOD | {"duration": -1.0},
        GOOD | {"result": None},
        GOOD | {"response_time": "soon", "queue_delay": None, "status": "ok", "error": None},
        UserDict(GOOD),
    ],
    ids=str,
)
def test_a_row_needs_its_two_moments_and_its_result_and_no_more(fine: Any) -> None:
    rows = Rows.from_logs([fine])
    assert (len(rows), rows.invalidity, rows.starts.tolist()) == (1, 0, [10.0])


def test_the_time_of_a_task_is_its_duration_or_else_from_start_to_end() -> None:
    without = {key: value for key, value in GOOD.items() if key != "duration"}
    assert Rows.from_logs([GOOD, without]).times.tolist() == [1.25, 1.5]


@pytest.mark.parametrize("logs", [None, {}, {1: GOOD}, "logs", b"logs", 3, iter([GOOD]), {1, 2}, np.array([GOOD])])
def test_anything_but_a_sequence_of_rows_is_a_type_error(logs: Any) -> None:
    with pytest.raises(TypeError, match="sequence of dicts"):
        Rows.from_logs(logs)


@pytest.mark.parametrize("kind", [list, tuple, deque])
def test_any_sequence_of_any_length_is_read_in_order(kind: Any) -> None:
    logs = kind(GOOD | {"started_at": float(n), "ended_at": float(n + 1)} for n in range(10_000))
    assert Rows.from_logs(logs).starts.tolist() == list(range(10_000))


def test_load_fields_are_columns_only_if_a_row_has_them() -> None:
    plain = Rows.from_logs([GOOD, GOOD])
    assert plain.response_times is None
    assert plain.queue_delays is None
    mixed = Rows.from_logs([GOOD, GOOD | {"response_time": 2.0}, {}, GOOD | {"response_time": True}])
    assert mixed.response_times is not None
    np.testing.assert_array_equal(mixed.response_times, [NAN, 2.0, NAN])
    assert mixed.queue_delays is None


def error(kind: Any, message: Any = "", **more: Any) -> dict[str, Any]:
    return GOOD | {"status": "error", "result": None, "error": {"type": kind, "message": message}} | more


def test_errors_are_grouped_by_type_with_the_first_message_and_ids() -> None:
    logs = [
        error("KeyError", "'a'", task_id=1),
        *(error("ValueError", f"no {n}", task_id=n) for n in range(2, 10)),
        error("KeyError", "'b'", task_id=np.int64(10)),
        GOOD | {"status": "timeout", "error": None, "task_id": 11},
        error(OSError, OSError, task_id=None),
        error("Lost", started_at="malformed"),
        GOOD | {"result": False, "task_id": 12},
    ]
    assert list(Rows.from_logs(logs).errors.items()) == [
        ("ValueError", {"count": 8, "message": "no 2", "task_ids": [2, 3, 4, 5, 6]}),
        ("KeyError", {"count": 2, "message": "'a'", "task_ids": [1, 10]}),
        ("timeout", {"count": 1, "message": "", "task_ids": [11]}),
        ("OSError", {"count": 1, "message": "OSError", "task_ids": []}),
    ]
    assert group_errors([]) == {}


def test_columns_are_taken_as_they_are() -> None:
    starts, ends = np.array([1.0, 2.0]), np.array([2.0, 4.0])
    groups = {"E": {"count": 1, "message": "m", "task_ids": [2]}}
    rows = Rows.from_columns(
        starts, ends, [True, False], response_times=[3, NAN], queue_delays=[NAN, NAN], errors=groups
    )
    assert rows.starts is starts
    assert rows.ends is ends
    assert rows.times.tolist() == [1.0, 2.0]
    assert rows.response_times is not None
    assert rows.queue_delays is None
    assert (rows.errors, rows.invalidity, len(rows)) == (groups, 0, 2)


def test_malformed_entries_of_columns_leave_every_column() -> None:
    rows = Rows.from_columns(
        [1, NAN, 3, 5], [2, 2, INF, 4], [1, 1, 0, 1], times=[7, 8, 9, 9], queue_delays=[0, 1, 2, 3]
    )
    assert (len(rows), rows.invalidity) == (1, 3)
    assert rows.queue_delays is not None
    assert [column.tolist() for column in (rows.starts, rows.ends, rows.times, rows.ok, rows.queue_delays)] == [
        *([1.0], [2.0], [7.0], [True], [0.0])
    ]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        Rows.from_columns([1.0], [2.0, 3.0], [True])
    with pytest.raises(ValueError, match="one length"):
        Rows.from_columns([1.0], [2.0], [True], queue_delays=[])


def test_a_key_that_only_one_log_of_many_has_is_read_wherever_that_stands() -> None:
    plain = [GOOD | {"started_at": float(n), "ended_at": n + 1.0} for n in range(9000)]
    for place in (0, 4095, 4096, 8999):
        known = {"response_time": 2.0, "queue_delay": 1.0, "earlier_attempts": [[-2.0, -1.0]], "no_success": "HTTP 503"}
        logs = [*plain[:place], plain[place] | known, *plain[place + 1 :]]
        rows = Rows.from_logs(logs)
        assert rows.response_times is not None
        assert rows.queue_delays is not None
        assert rows.earlier is not None
        assert np.flatnonzero(np.isfinite(rows.response_times)).tolist() == [place]
        assert np.flatnonzero(np.isfinite(rows.queue_delays)).tolist() == [place]
        assert rows.earlier.rows.tolist() == [place]
        assert np.flatnonzero(~rows.ok).tolist() == [place]
        measured = Rows.from_logs([*plain[:place], plain[place] | {"phase": "warmup"}, *plain[place + 1 :]])
        assert set(range(9000)) - set(measured.places.tolist()) == {place}


def test_what_is_no_success_in_a_rate_is_none_among_the_outcomes() -> None:
    logs = [GOOD, GOOD | {"no_success": 503}, GOOD | {"no_success": "HTTP 503"}, GOOD | {"result": False}]
    facts = RunData(logs)
    assert facts.rows.ok.tolist() == [True, False, False, False]
    assert facts.outcomes == {"succeeded": 1, "no success": 3}
