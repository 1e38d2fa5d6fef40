"""Coordinated omission: a service that stands still shows in the times from the due moment, whatever the workers do."""

from __future__ import annotations

import threading
import time

import pytest

import worker_dispatcher


class Service:
    """Answers at once, but for one pause: whoever calls then waits for its end."""

    def __init__(self, begin: float, length: float) -> None:
        self.began: float | None = None
        self.begin, self.length, self.mutex = begin, length, threading.Lock()

    def call(self, task: object) -> bool:
        with self.mutex:
            self.began = self.began or time.monotonic()
        since = time.monotonic() - self.began
        if self.begin <= since < self.begin + self.length:
            time.sleep(self.begin + self.length - since)
        return True


@pytest.mark.parametrize(
    ("duration", "freeze"),
    [(2.5, 0.5), pytest.param(10, 2, marks=pytest.mark.slow)],
    ids=["short", "as long as it takes"],
)
def test_a_frozen_service_is_seen_from_due_times_and_not_from_starts(duration: float, freeze: float) -> None:
    # A fifth of all tasks came due while it stood still, evenly: the 99th percentile is that of the worst of them.
    worst = freeze * (1 - 0.01 * duration / freeze)
    for _ in range(8):  # a machine with much else to do stands still itself now and then
        service = Service(duration / 4, freeze)
        worker_dispatcher.start(
            {
                "task": {"list": None, "function": service.call},
                "worker": {"frequency_mode": {"enabled": True, "rate": 200, "duration": duration, "max_workers": 20}},
                "verbose": False,
            }
        )
        table = worker_dispatcher.get_tps()["percentiles"]
        assert worker_dispatcher.get_result_info()["counts"]["ok"] == 200 * duration
        assert worst - 0.05 < table["response_time"]["p99"]
        made = worker_dispatcher.report(verbose=False)
        if table["response_time"]["p99"] < freeze + 0.1 and table["execution_time"]["p95"] < 0.05 and made.health.ok:
            break
    assert table["response_time"]["p99"] < freeze + 0.1
    # The service time is that of the 20 calls that were on their way; all others never met the pause.
    assert table["execution_time"]["p95"] < 0.05
    assert made.health is not None
    assert made.health.ok  # it is the service that was late
    text = str(made)
    assert "from due time" in text
    assert "from start" in text
