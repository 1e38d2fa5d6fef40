"""Four loads, each named rightly, live and from what is saved of it: generator too slow, workers too few, service
that stands still, all well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher as wd
from worker_dispatcher.reports.report import Report

TRIES = 6  # of a run that a busy machine may hold up: it is then truly late, and the report right to say so


def at_once(task: object) -> bool:
    return True


def nap(task: object) -> bool:
    time.sleep(0.02)
    return True


async def wait_long(task: object) -> bool:
    import asyncio

    await asyncio.sleep(0.05)
    return True


class StandsStill:
    """Answers in 2 ms, but for one pause: whoever calls then waits for its end."""

    def __init__(self, begin: float = 0.5, length: float = 1.0) -> None:
        self.began, self.begin, self.length, self.mutex = 0.0, begin, length, threading.Lock()

    def __call__(self, id: int) -> bool:
        with self.mutex:
            self.began = self.began or time.monotonic()
        since = time.monotonic() - self.began
        time.sleep(self.begin + self.length - since if self.begin <= since < self.begin + self.length else 0.002)
        return True


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Report]:
    def loaded(function: Callable[..., Any], worker: dict[str, Any] | None = None, **mode: Any) -> Report:
        mode = {"enabled": True, **mode}
        journal = tmp_path / "run.db"
        journal.unlink(missing_ok=True)
        config = {
            "task": {"list": None, "function": function},
            "worker": {"frequency_mode": mode, **(worker or {})},
            "journal": journal,
            "verbose": False,
        }
        return wd.report(wd.launch(config).wait())

    return loaded


def until_named(cause: str, make: Callable[[], Report]) -> Report:
    for _ in range(TRIES):
        made = make()
        assert made.health is not None
        if made.health.cause == cause:
            return made
        assert made.health.cause == "generator", made.health  # this machine was busy, not anything else
    pytest.fail(f"{TRIES} times {made.health} where {cause!r} was right")


def same_from_what_is_saved(made: Report, folder: Path) -> None:
    for saved in (made.to_jsonl(folder / "run.jsonl"), folder / "run.db", made.run.logs):
        again = wd.report(saved)
        assert again.health is not None
        assert made.health is not None
        assert (again.health.cause, again.health.ok, again.health.waited) == (
            made.health.cause,
            made.health.ok,
            made.health.waited,
        )
        if not isinstance(saved, list):
            assert again.health.sentence == made.health.sentence
            assert again.text().splitlines()[0] == made.text().splitlines()[0]


def test_a_generator_that_is_too_slow_is_named_though_workers_were_idle(load: Any, tmp_path: Path) -> None:
    made = load(at_once, rate=60_000, duration=0.25, max_workers=8)
    assert made.health.cause == "generator"
    assert not made.health.ok
    assert made.health.judged == 15_000 == made.tps["count"]["total"]
    assert made.text().startswith("WARNING: The load generator was the bottleneck: with workers free, ")
    same_from_what_is_saved(made, tmp_path)


@pytest.mark.parametrize(
    ("function", "worker"),
    [
        pytest.param(nap, {}, id="threads", marks=pytest.mark.combination),
        pytest.param(nap, {"use_processing": True}, id="processes"),
        pytest.param(nap, {"parallel_processing": {"enabled": True}}, id="grid", marks=pytest.mark.combination),
        pytest.param(wait_long, {}, id="coroutines"),
    ],
)
def test_too_few_workers_are_named_with_what_was_asked_and_reached(
    load: Any, tmp_path: Path, function: Any, worker: dict[str, Any]
) -> None:
    made = until_named(
        "workers", lambda: load(function, worker, rate=400, pacing="burst", interval=0.1, duration=0.7, max_workers=2)
    )
    assert made.health.ok  # of the generator alone
    first = made.text().splitlines()[0]
    assert first.startswith("All 2 workers were busy for ")
    assert "of 280 tasks waited for one, up to " in made.health.sentence
    assert "400/s asked, " in made.health.sentence
    assert "Raise max_workers" in made.health.sentence
    reached = float(made.health.sentence.split("asked, ")[1].split("/s")[0])
    assert reached < 150  # two workers, 20 ms a call
    same_from_what_is_saved(made, tmp_path)


def test_a_service_that_stands_still_is_named(load: Any, tmp_path: Path) -> None:
    made = until_named("service", lambda: load(StandsStill(), rate=100, duration=2, max_workers=20))
    assert made.health.ok
    assert made.text().startswith("All 20 workers were busy for ")
    assert " while calls stood still (as a rule " in made.health.sentence
    same_from_what_is_saved(made, tmp_path)


@pytest.mark.parametrize("worker", [{}, {"use_processing": True}], ids=["threads", "processes"])
def test_a_load_that_goes_well_is_said_to(load: Any, tmp_path: Path, worker: dict[str, Any]) -> None:
    made = until_named("", lambda: load(nap, worker, rate=20, duration=1.5, max_workers=6))
    assert made.health.ok
    assert made.text().startswith("The load generator kept up")
    same_from_what_is_saved(made, tmp_path)
