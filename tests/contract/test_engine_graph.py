"""A large graph of jobs ends as a plain model says."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from graphs import Plan, expect_as_planned, run

from worker_dispatcher.engine import Engine, ThreadJob

COUNT = 10_000


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_ten_thousand_jobs_end_as_the_model_says_and_twice_the_same(seed: int) -> None:
    plan = Plan(seed, COUNT)
    assert len({status for status, _ in plan.ends()}) == 3
    for _ in range(2):
        expect_as_planned(plan, *run(plan, ThreadJob))


def test_a_job_that_is_done_takes_less_than_two_kilobytes() -> None:
    with Engine() as engine:
        engine.submit(*(ThreadJob(int) for _ in range(100)))
        engine.wait()
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            engine.submit(*(ThreadJob(int) for _ in range(1000)))
            engine.wait()
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert held / 1000 < 2000
    assert len(engine.jobs.done) == 1100
