"""The limiter, with a clock of the test's."""

from __future__ import annotations

from typing import Any

import pytest

from worker_dispatcher import Limiter, limiter


class Clock:
    at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(limiter, "now", made)
    return made


def test_one_begins_at_once_and_the_next_when_its_time_has_come(clock: Clock) -> None:
    four = Limiter(4)
    assert four.take() == 0.0
    assert four.take() == 1000.25
    assert four.take() == 1000.25  # what may not begin counts for nothing
    clock.at = 1000.25
    assert four.take() == 0.0
    assert four.take() == 1000.5


def test_after_a_rest_a_burst_may_begin_and_no_more(clock: Clock) -> None:
    bursts = Limiter(2, per=1.0, burst=3)
    assert [bursts.take() for _ in range(4)] == [0.0, 0.0, 0.0, 1000.5]
    clock.at = 1000.5
    assert [bursts.take() for _ in range(2)] == [0.0, 1001.0]
    clock.at = 2000.0
    assert [bursts.take() for _ in range(4)] == [0.0, 0.0, 0.0, 2000.5]


def test_never_more_begin_in_a_span_than_the_rate_and_one_burst(clock: Clock) -> None:
    limits = Limiter(10, per=2.0, burst=5)
    begun = []
    while clock.at < 1010.0:
        while limits.take() == 0.0:
            begun.append(clock.at)
        clock.at += 0.03125
    for first in begun:
        assert sum(first <= at < first + 2.0 for at in begun) <= 10 + 5
    assert 45 <= len(begun) <= 56


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "5", True, None])
def test_a_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match=r"Limiter\(rate=\.\.\.\) must be a number above 0"):
        Limiter(rate)
    with pytest.raises(ValueError, match="per"):
        Limiter(1, per=rate)


@pytest.mark.parametrize("burst", [0, 1.5, -1, "2"])
def test_a_burst_that_is_none_is_refused(burst: Any) -> None:
    with pytest.raises(ValueError, match="integer of at least 1"):
        Limiter(1, burst=burst)


def test_it_says_what_it_is() -> None:
    assert repr(Limiter(5, per=2, burst=3)) == "Limiter(5, per=2, burst=3)"
