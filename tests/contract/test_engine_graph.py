"""A large graph of jobs with random dependencies, failures, retries and cancellations ends as a plain model says."""

from __future__ import annotations

import gc
import random
import threading
import tracemalloc
from collections.abc import Iterator

import pytest

from worker_dispatcher.engine import Engine, EngineSetting, Job, ThreadJob
from worker_dispatcher.engine.conditions import AfterAnother

COUNT = 10_000


class Flaky:
    """Fails so many times before it gives what it was given."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self, *needs: int) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise OSError(self.calls)
        return 1 + max(needs, default=0)


class Plan:
    """What is to become of each job, by number."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self.needs = [
            sorted({dice.randrange(n) for _ in range(dice.choice((0, 1, 2, 3)))} if n else ()) for n in range(COUNT)
        ]
        self.after = [dice.randrange(n) if n and dice.random() < 0.3 else None for n in range(COUNT)]
        self.failures = [dice.choice((0, 0, 0, 0, 0, 1, 2)) if dice.random() < 0.5 else 0 for _ in range(COUNT)]
        self.retries = [dice.choice((0, 1, 2)) if failures else 0 for failures in self.failures]
        self.cancelled = set(dice.sample(range(COUNT), COUNT // 50))
        self.order = dice.sample(range(COUNT), COUNT)

    def ends(self) -> Iterator[tuple[str, int | None]]:
        """(status, result) of each job."""
        found: list[tuple[str, int | None]] = []
        for number in range(COUNT):
            upstream = [found[need] for need in self.needs[number]]
            if number in self.cancelled or any(status != "done" for status, _ in upstream):
                end: tuple[str, int | None] = ("cancelled", None)
            elif self.failures[number] > self.retries[number]:
                end = ("failed", None)
            else:
                end = ("done", 1 + max((value or 0 for _, value in upstream), default=0))
            found.append(end)
            yield end


def run(plan: Plan) -> tuple[list[Job], list[Flaky]]:
    """Submitted in any order, while nothing can begin, so that what is cancelled has not."""
    gate, calls = threading.Event(), [Flaky(failures) for failures in plan.failures]
    first = ThreadJob(gate.wait, (60,))
    jobs: list[Job] = []
    for number, call in enumerate(calls):
        condition = AfterAnother(first.id)
        after = plan.after[number]
        whole = condition if after is None else condition & AfterAnother(jobs[after].id)
        needs = [jobs[need].future for need in plan.needs[number]]
        jobs.append(ThreadJob(call, needs, retries=plan.retries[number], condition=whole))
    with Engine(EngineSetting(print_traceback=False)) as engine:
        engine.submit(first, *(jobs[number] for number in plan.order))
        engine.cancel(*(jobs[number] for number in sorted(plan.cancelled)))
        gate.set()
        engine.wait()
    return jobs, calls


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_ten_thousand_jobs_end_as_the_model_says_and_twice_the_same(seed: int) -> None:
    plan = Plan(seed)
    expected = list(plan.ends())
    assert len({status for status, _ in expected}) == 3
    for _ in range(2):
        jobs, calls = run(plan)
        ends = [(job.status, job.result() if job.status == "done" else None) for job in jobs]
        assert ends == expected
        for job, call, (status, _value) in zip(jobs, calls, expected, strict=True):
            tries = {"done": call.failures + 1, "failed": job.retries + 1, "cancelled": 0}[status]
            assert (call.calls, job.attempts) == (tries, tries)


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
