"""Threads do not run far ahead of a driver that has much to do with each of their results: these would fill memory."""

from __future__ import annotations

import time

import pytest

from worker_dispatcher.call import Call
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.pools.base import AttemptDone, Batch, BatchDone, Setup
from worker_dispatcher.pools.threads import ThreadPool

WORKERS, MANY = 4, 8192


class Endless:
    """A source that always has more. given: how many tasks were taken from it."""

    given = 0

    def take(self, count):
        self.given += count
        return Batch(self.given - count + 1, range(count))

    def take_alone(self):
        return None


def most_that_wait(result, rounds=16):
    """How many tasks have ended at most, and are not heard of, where the driver comes only when all have."""
    ran, heard, most, source = [], 0, 0, Endless()

    def gives(item):
        ran.append(item)
        return result(item)

    pool = ThreadPool(Setup(Call(gives, CallStyle(positional=True))), WORKERS)
    try:
        for _ in range(rounds):
            pool.feed(source)
            most = max(most, source.given - heard)
            while len(ran) < source.given:
                time.sleep(0.001)
            while heard < source.given:
                pool.sleep(pool.due)
                for event in pool.collect():
                    heard += len(event.results) if isinstance(event, BatchDone) else isinstance(event, AttemptDone)
    finally:
        pool.close()
    return most


@pytest.mark.parametrize(
    "result",
    [
        lambda item, text="x" * 1_000_000: text,
        lambda item, text="x" * 1_000_000: {"status": 200, "body": text},
        lambda item, text="x" * 1_000_000: [item, text],
    ],
    ids=["text", "dict", "list"],
)
def test_few_heavy_results_wait_for_the_driver(result):
    assert most_that_wait(result) <= 8 * WORKERS


def test_many_small_results_wait_so_that_no_thread_does():
    assert most_that_wait(lambda item: item) == MANY


def test_a_result_that_cannot_be_weighed_counts_as_light():
    class Odd(dict):
        def values(self):
            raise RuntimeError("dictionary changed size during iteration")

        def __sizeof__(self):
            raise AssertionError("code of the user in the driver's thread")

    assert most_that_wait(lambda item: Odd()) == MANY
