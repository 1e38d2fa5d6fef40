"""Whether workers can begin: a few that are killed while they are born break nothing; what never works is told soon."""

from __future__ import annotations

import math

import pytest

from worker_dispatcher.pools.parent.births import TRY_AGAIN, Births

NOBODY = -math.inf  # works


def hopeless_after(births: Births, *, every: float, able: float = NOBODY, sent_off: bool = False) -> int | None:
    """How many of a thousand, one after so many seconds, until there is no hope; None if there is ever some."""
    deaths = (births.stillborn(100 + nth * every, able, sent_off=sent_off) for nth in range(1000))
    return next((nth for nth, hopeless in enumerate(deaths, 1) if hopeless), None)


@pytest.mark.parametrize("every", [0.001, 3600.0])
def test_three_in_a_row_that_end_by_their_own_fault_end_a_run_at_once(every: float) -> None:
    assert hopeless_after(Births(kept=False), every=every) == 3


def test_a_pool_that_is_kept_gives_them_a_little_longer() -> None:
    assert hopeless_after(Births(kept=True), every=0.125) == 17  # 2 s
    assert hopeless_after(Births(kept=True), every=10) == 3


@pytest.mark.parametrize("kept", [True, False])
def test_somebody_who_kills_them_has_half_a_minute_to_let_off(kept: bool) -> None:
    assert hopeless_after(Births(kept=kept), every=0.125, sent_off=True) == 241


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("sent_off", [True, False])
def test_as_long_as_one_works_there_is_hope(kept: bool, sent_off: bool) -> None:
    births = Births(kept=kept)
    assert hopeless_after(births, every=60, able=50.0, sent_off=sent_off) is None
    assert births.stillborn(100_000, NOBODY, sent_off=False)


def test_those_before_one_that_came_to_work_do_not_count() -> None:
    births = Births(kept=False)
    for nth in range(100):
        assert not births.stillborn(nth, nth - 0.5, sent_off=False)
        assert births.row == 1
    births.stillborn(100, NOBODY, sent_off=False)
    births.went_well()
    assert not births.stillborn(101, NOBODY, sent_off=False)
    assert not births.stillborn(102, NOBODY, sent_off=False)
    assert births.stillborn(103, NOBODY, sent_off=False)


def test_the_next_one_is_asked_for_later_and_later_and_at_once_after_an_accident() -> None:
    births, pauses = Births(kept=True), []
    for _ in range(100):
        births.stillborn(5.0, 1.0, sent_off=True)
        pauses.append(max(0.0, births.try_at - 5))
    assert pauses[:3] == [0, 0, 0]
    assert pauses[3:] == sorted(pauses[3:])
    assert pauses[3] < 0.05
    assert pauses[-1] == TRY_AGAIN


def test_who_is_refused_for_a_crowd_has_patience_while_nobody_works():
    births = Births(kept=False)
    told = [births.refused(100 + nth, able=False, crowded=True) for nth in range(12)]
    assert told == [False] * 10 + [True] * 2


def test_the_patience_with_a_crowd_begins_anew_once_a_worker_was_given():
    births = Births(kept=False)
    assert not births.refused(100, able=False, crowded=True)
    births.begun()
    assert not births.refused(200, able=False, crowded=True)


def test_a_refusal_ends_a_pool_only_where_nobody_works_and_it_is_no_crowd():
    assert Births(kept=False).refused(100, able=False, crowded=False)
    assert not Births(kept=False).refused(100, able=True, crowded=False)
