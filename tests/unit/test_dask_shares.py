"""A limit of tasks at a time, shared out over workers that come and go."""

from __future__ import annotations

from worker_dispatcher.pools.dask.shares import Shares


def fitted(most: int | None, *steps: dict[str, int], bound: bool = True) -> list[dict[str, int]]:
    """What each worker may run after each step."""
    shares, found = Shares(most, bound=bound), []
    for slots in steps:
        shares.fit(slots)
        found.append(dict(shares.sizes))
    return found


def test_a_limit_below_the_threads_is_spread_evenly() -> None:
    assert fitted(3, {"a": 4, "b": 4}) == [{"a": 2, "b": 1}]
    assert fitted(5, {"a": 1, "b": 4}) == [{}]
    assert fitted(4, {"a": 1, "b": 4}) == [{"a": 1, "b": 3}]
    assert fitted(1, {"a": 4, "b": 4}) == [{"a": 1}]


def test_without_a_limit_nobody_has_a_share() -> None:
    assert fitted(None, {"a": 4}, {"a": 4, "b": 1}, {}) == [{}, {}, {}]


def test_who_comes_has_what_is_left_and_nothing_is_taken_from_who_is_there() -> None:
    assert fitted(5, {"a": 4}, {"a": 4, "b": 4}, {"a": 4, "b": 4, "c": 4}) == [{}, {"a": 4, "b": 1}, {"a": 4, "b": 1}]


def test_who_comes_has_the_share_of_who_has_gone() -> None:
    assert fitted(4, {"a": 4, "b": 4}, {"b": 4, "c": 4}) == [{"a": 2, "b": 2}, {"b": 2, "c": 2}]
    assert fitted(4, {"a": 4, "b": 4}, {}, {"c": 8}) == [{"a": 2, "b": 2}, {}, {"c": 4}]


def test_coroutines_and_schedules_need_no_threads() -> None:
    assert fitted(9, {"a": 1, "b": 1}, bound=False) == [{"a": 5, "b": 4}]


def test_a_resize_counts_for_all_who_are_there() -> None:
    shares = Shares(1, bound=True)
    shares.fit({"a": 2, "b": 2})
    shares.resize(3)
    assert shares.sizes == {"a": 2, "b": 1}
    shares.resize(4)
    assert (shares.sizes, shares.there) == ({}, 4)
    shares.resize(2)
    assert shares.sizes == {"a": 1, "b": 1}
