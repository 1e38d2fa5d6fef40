"""find_max_rate against services whose limit is known."""

from __future__ import annotations

import threading
import time

import pytest

from worker_dispatcher import find_max_rate


class Service:
    """Answers one caller after the other, each after so many seconds: 1 / seconds calls a second at most."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.turn = seconds, threading.Lock()

    def call(self, task: object) -> bool:
        with self.turn:
            time.sleep(self.seconds)
        return True


def config(service: Service) -> dict[str, object]:
    return {
        "task": {"list": None, "function": service.call},
        "worker": {"frequency_mode": {"max_workers": 100}},
        "verbose": False,
    }


def test_the_limit_of_a_service_is_found_between_a_rate_that_holds_and_one_that_fails() -> None:
    found = find_max_rate(config(Service(0.01)), "response.p90<150ms", start=20, duration=1, precision=0.3)
    # 100/s keeps a queue of a second's load; it takes some rate above it for the wait to reach 150 ms.
    if found.limited_by == "generator":
        pytest.skip("this machine is too busy to load anything")
    assert 50 <= found.rate <= 130
    assert found.limit is not None
    assert found.rate < found.limit <= 1.3 * found.rate * 1.01
    assert found.limited_by in {"objectives", "workers"}
    assert [trial.holds for trial in found.trials] == [trial.rate <= found.rate for trial in found.trials]
    assert f"highest rate that holds: {found.rate:g}/s" in str(found)


def test_a_service_that_never_fails_is_limited_by_the_highest_rate_allowed() -> None:
    found = find_max_rate(config(Service(0)), ["error_rate<1%"], start=50, most=150, duration=0.3)
    if found.limited_by == "generator":
        pytest.skip("this machine is too busy to load anything")
    assert (found.rate, found.limit, found.limited_by) == (150, None, "most")
    assert [trial.rate for trial in found.trials] == [50, 100, 150]


def test_a_service_that_always_fails_has_no_rate() -> None:
    broken = Service(0)
    broken.call = lambda task: False  # type: ignore[method-assign]
    found = find_max_rate(config(broken), "error_rate<1%", start=64, duration="200ms")
    assert found.rate == 0
    assert found.trials[-1].failed_by == "objectives"
    assert [trial.rate for trial in found.trials] == [64, 32, 16, 8, 4, 2, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slo": []}, "needs an objective"),
        ({"slo": "fast"}, "cannot be read"),
        ({"slo": "p99<1s", "config": None}, "nothing to run"),
        ({"slo": "p99<1s", "config": {"task": {"list": iter([1])}}}, "begin again"),
        ({"slo": "p99<1s", "config": {"task": {"list": 1}, "worker": {"number": 2}}}, "leave worker.number out"),
        ({"slo": "p99<1s", "config": {"worker": {"frequency_mode": True}}}, "must be a dict of options"),
        ({"slo": "p99<1s", "config": {"worker": {"frequency_mode": {"max_wokers": 1}}}}, "max_workers"),
        ({"slo": "p99<1s", "start": 0}, "0 < start <= most"),
        ({"slo": "p99<1s", "precision": 1}, "precision"),
    ],
)
def test_what_makes_no_search_is_refused(options: dict[str, object], said: str) -> None:
    service = Service(0)
    service.call = lambda task: pytest.fail("a load was made")  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=said):
        find_max_rate(**{"config": config(service), "duration": 0.1} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["queue", "drop"])
def test_tasks_that_pile_up_are_no_rate_that_is_served(policy: str) -> None:
    def call(task: object) -> bool:
        time.sleep(0.1)
        return True

    mode = {"max_workers": 2, "on_saturation": policy}  # 20 a second at most
    task = {"list": None, "function": call}
    found = find_max_rate(
        {"task": task, "worker": {"frequency_mode": mode}}, "p99<1s", start=5, most=80, duration=1, precision=0.5
    )
    if found.limited_by == "generator":
        pytest.skip("this machine is too busy to load anything")
    assert found.limited_by == "workers"
    assert 5 <= found.rate <= 25
