"""When to try again, and how monotonic moments are told as Unix time."""

from __future__ import annotations

import time

import pytest

from worker_dispatcher.clock import Anchor, now
from worker_dispatcher.retry import Backoff, RetryPolicy


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (Backoff(), [0, 0, 0]),
        (Backoff(initial=1, jitter=0), [1, 2, 4]),
        (Backoff(initial=1, factor=1, jitter=0), [1, 1, 1]),
        (Backoff(initial=1, factor=10, maximum=50, jitter=0), [1, 10, 50]),
        (Backoff(initial=100, maximum=60, jitter=0), [60, 60, 60]),
    ],
)
def test_waits_grow_up_to_the_maximum(backoff, waits):
    assert [backoff.wait(attempts) for attempts in (1, 2, 3)] == waits


def test_a_wait_after_very_many_attempts_is_the_maximum():
    assert Backoff(initial=1, jitter=0).wait(100_000) == 60


def test_jitter_spreads_waits_on_both_sides():
    waits = [Backoff(initial=10, jitter=0.1).wait(1) for _ in range(300)]
    assert 9 <= min(waits) < 9.5
    assert 10.5 < max(waits) <= 11


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_there_are_as_many_retries_as_asked(retries):
    assert [RetryPolicy(retries).again(n) for n in range(1, retries + 2)] == [True] * retries + [False]


def test_an_anchor_tells_monotonic_moments_as_unix_time():
    assert Anchor(wall=1000.0, monotonic=5.0).wall_at(7.5) == 1002.5
    anchor = Anchor.take()
    assert anchor.wall == pytest.approx(time.time(), abs=1)
    assert anchor.monotonic == pytest.approx(now(), abs=1)
