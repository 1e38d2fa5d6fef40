"""A graph of jobs with random dependencies, failures, retries and cancellations, and a plain model of how they end."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from worker_dispatcher.engine import Engine, EngineSetting, Job, ThreadJob
from worker_dispatcher.engine.conditions import AfterAnother

__all__ = ["CALLS", "Flaky", "Plan", "expect_as_planned", "run"]

CALLS: Counter[int] = Counter()  # by key of what was called; in this process, wherever a copy was called


class Flaky:
    """Fails so many times before it gives what it was given."""

    def __init__(self, key: int, failures: int) -> None:
        self.key, self.failures = key, failures

    def __call__(self, *needs: int) -> int:
        CALLS[self.key] += 1
        if CALLS[self.key] <= self.failures:
            raise OSError(CALLS[self.key])
        return 1 + max(needs, default=0)


class Plan:
    """What is to become of each job, by number."""

    def __init__(self, seed: int, count: int) -> None:
        dice, self.count = random.Random(seed), count
        self.needs = [
            sorted({dice.randrange(n) for _ in range(dice.choice((0, 1, 2, 3)))} if n else ()) for n in range(count)
        ]
        self.after = [dice.randrange(n) if n and dice.random() < 0.3 else None for n in range(count)]
        self.failures = [dice.choice((0, 0, 0, 0, 0, 1, 2)) if dice.random() < 0.5 else 0 for _ in range(count)]
        self.retries = [dice.choice((0, 1, 2)) if failures else 0 for failures in self.failures]
        self.cancelled = set(dice.sample(range(count), count // 50))
        self.order = dice.sample(range(count), count)

    def ends(self) -> Iterator[tuple[str, int | None]]:
        """(status, result) of each job."""
        found: list[tuple[str, int | None]] = []
        for number in range(self.count):
            upstream = [found[need] for need in self.needs[number]]
            if number in self.cancelled or any(status != "done" for status, _ in upstream):
                end: tuple[str, int | None] = ("cancelled", None)
            elif self.failures[number] > self.retries[number]:
                end = ("failed", None)
            else:
                end = ("done", 1 + max((value or 0 for _, value in upstream), default=0))
            found.append(end)
            yield end


def run(plan: Plan, make: type[Job], use: Any = None) -> tuple[list[Job], list[Flaky]]:
    """Submitted in any order, while nothing can begin, so that what is cancelled has not. use: is given the engine."""
    CALLS.clear()
    gate, calls = threading.Event(), [Flaky(key, failures) for key, failures in enumerate(plan.failures)]
    first = ThreadJob(gate.wait, (60,))
    jobs: list[Job] = []
    for number, call in enumerate(calls):
        condition = AfterAnother(first.id)
        after = plan.after[number]
        whole = condition if after is None else condition & AfterAnother(jobs[after].id)
        needs = [jobs[need].future for need in plan.needs[number]]
        jobs.append(make(call, needs, retries=plan.retries[number], condition=whole))
    with Engine(EngineSetting(print_traceback=False)) as engine:
        if use is not None:
            use(engine)
        engine.submit(first, *(jobs[number] for number in plan.order))
        engine.cancel(*(jobs[number] for number in sorted(plan.cancelled)))
        gate.set()
        engine.wait()
    return jobs, calls


def expect_as_planned(plan: Plan, jobs: list[Job], calls: list[Flaky]) -> None:
    expected = list(plan.ends())
    assert [(job.status, job.result() if job.status == "done" else None) for job in jobs] == expected
    for job, call, (status, _value) in zip(jobs, calls, expected, strict=True):
        tries = {"done": call.failures + 1, "failed": job.retries + 1, "cancelled": 0}[status]
        assert (CALLS[call.key], job.attempts) == (tries, tries)
