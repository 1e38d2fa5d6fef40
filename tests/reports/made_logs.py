"""Logs as get_logs() gives them, made up: for reports of runs that would take long or are hard to stage."""

from __future__ import annotations

from typing import Any

import numpy as np

BEGAN = 1_700_000_000.0  # Unix time
TRACEBACK = """Traceback (most recent call last):
  File "/home/me/app/orders.py", line 12, in visit
    return client.get(url)
  File "/usr/lib/python3/site-packages/requests/api.py", line 73, in get
    return request("get", url)
ValueError: no such order
"""


def log(task_id: int, started: float, took: float, **more: Any) -> dict[str, Any]:
    """One log of a task that ended ok; started: seconds since the run began. more: fields, also instead of these."""
    return {
        "task_id": task_id,
        "started_at": BEGAN + started,
        "ended_at": BEGAN + started + took,
        "duration": took,
        "result": True,
        "metadata": {},
        "status": "ok",
        "error": None,
        "attempts": 1,
        "worker": 1,
        "pid": 1,
    } | more


def failed(task_id: int, started: float, took: float, message: str = "no such order", **more: Any) -> dict[str, Any]:
    error = {"type": "ValueError", "message": message, "traceback": TRACEBACK}
    return log(task_id, started, took, status="error", error=error, result=None) | more


def due(made: dict[str, Any], at: float) -> dict[str, Any]:
    """The same log with the fields of a load test. at: seconds since the run began when it was due."""
    waited = made["started_at"] - BEGAN - at
    fields = {"scheduled_at": BEGAN + at, "queue_delay": waited, "response_time": waited + made["duration"]}
    return made | fields | {"interval": 0}


def many(count: int, *, share_failed: float = 0.01, seconds: float = 600.0, seed: int = 1) -> list[dict[str, Any]]:
    """A load test of so many tasks over 100 workers, in order of their start."""
    dice = np.random.default_rng(seed)
    dues = np.sort(dice.uniform(0, seconds, count)).tolist()
    took = dice.lognormal(-4, 0.7, count).tolist()
    waited = dice.exponential(0.001, count).tolist()
    bad = (dice.random(count) < share_failed).tolist()
    return [
        due((failed if bad[i] else log)(i + 1, dues[i] + waited[i], took[i], worker=i % 100 + 1), dues[i])
        for i in range(count)
    ]


EMPTY: list[dict[str, Any]] = []
ONE = [log(1, 0.0, 0.25)]
INSTANT = [log(1, 0.0, 0.0)]
ALL_FAILED = [failed(n, n / 10, 0.05) for n in range(1, 21)]
MIXED = many(400, share_failed=0.1, seconds=8.0, seed=3)
