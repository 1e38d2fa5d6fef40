"""Many threads do to one engine whatever it offers, in any order: afterwards nothing is left over."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher.engine import (
    Engine,
    EngineSetting,
    ExecutorError,
    Job,
    LocalJob,
    ProcessJob,
    SubprocessJob,
    ThreadJob,
)
from worker_dispatcher.engine.conditions import AfterAnother, AfterOthers, Condition, EveryPeriod
from worker_dispatcher.engine.rows import read_store
from worker_dispatcher.engine.status import FINAL

IDS = [f"id{number}" for number in range(20)]
ACTS = {"submit": 30, "cancel": 10, "again": 8, "remove": 4, "wait": 4, "look": 4, "clear": 1, "stop": 1}


def nothing(*_: Any) -> int:
    return 1


def fail(*_: Any) -> None:
    raise ValueError("no")


def nap(*_: Any) -> None:
    time.sleep(0.002)


async def nap_softly(*_: Any) -> None:
    await asyncio.sleep(0.002)


class Sometimes(Condition):
    def satisfy(self, engine: Engine) -> bool:
        return random.random() < 0.3


def some_job(dice: random.Random, others: list[Job]) -> Job:
    said: dict[str, Any] = {}
    for name, chance, value in (
        ("id", 0.4, dice.choice(IDS)),
        ("retries", 0.2, dice.randint(1, 2)),
        ("retry_time_delta", 0.1, 0.005),
        ("deadline", 0.05, 0.01),
        ("timeout", 0.05, 0.05),
        ("priority", 0.1, dice.randint(-1, 1)),
        ("callback", 0.1, nothing),
        ("error_callback", 0.1, fail),
    ):
        if dice.random() < chance:
            said[name] = value
    if others and dice.random() < 0.3:
        few = [job.id for job in dice.choices(others, k=3)]
        conditions = [AfterAnother(few[0]), AfterOthers(few, mode="any"), Sometimes(), EveryPeriod("0.01s")]
        said["condition"] = dice.choice(conditions)
    if dice.random() < 0.03:
        return SubprocessJob(dice.choice(["true", "false", "sleep 0.01"]), record_cmd=False, **said)
    args: tuple[Any, ...] = ()
    if others and dice.random() < 0.3:
        args = dice.choice(others).future, [dice.choice(others).future]
        said["on_upstream"] = dice.choice(["cancel", "run", "fail"])
    return dice.choice([LocalJob, ThreadJob, ThreadJob, ProcessJob])(
        dice.choice([nothing, nothing, fail, nap, nap_softly]), args, **said
    )


class Storm:
    """What several threads do to an engine. errors: what should not have been raised."""

    def __init__(self, engine: Engine, seed: int, seconds: float) -> None:
        self.engine, self.made, self.errors = engine, list[Job](), list[BaseException]()
        self._until = time.monotonic() + seconds
        self._threads = [threading.Thread(target=self._run, args=(random.Random(seed + n),)) for n in range(6)]

    def blow(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join(self._until - time.monotonic() + 60)
        assert not any(thread.is_alive() for thread in self._threads), "somebody waits for ever"

    def _run(self, dice: random.Random) -> None:
        while time.monotonic() < self._until and not self.errors:
            act = dice.choices([*ACTS], [*ACTS.values()])[0]
            try:
                self._do(act, dice)
            except ExecutorError:  # an id that is in use, or a circle
                pass
            except BaseException as error:
                if "is not running" not in str(error):
                    self.errors.append(error)

    def _do(self, act: str, dice: random.Random) -> None:
        engine, late = self.engine, self.made[-50:]
        if act == "submit":
            jobs = [some_job(dice, late[-10:]) for _ in range(dice.randint(1, 4))]
            engine.submit(*jobs)
            self.made += jobs
        elif act == "stop":
            engine.stop()
            engine.start()
        elif act == "clear":
            engine.jobs.clear_non_active()
        elif act == "look":
            _ = engine.resource, [repr(job) for job in engine.jobs], engine.jobs.pending.items()
        elif late:
            job = dice.choice(late)
            acts: dict[str, Callable[[], Any]] = {
                "cancel": job.future.cancel if dice.random() < 0.3 else lambda: engine.cancel(*late[-3:]),
                "again": lambda: engine.submit(job),
                "remove": lambda: engine.remove(job),
                "wait": lambda: engine.wait_job(job, 0.02),
            }
            acts[act]()


def what_is_wrong(engine: Engine, made: list[Job], slots: tuple[float, ...]) -> list[Any]:
    """After the end of all jobs."""
    board, dispatcher, jobs = engine._dispatcher.board, engine._dispatcher, engine.jobs
    wrong: list[Any] = [("still there", job) for job in made if job.status not in (*FINAL, "created")]
    wrong += [("future", job) for job in made if job.status in FINAL and not job.future.done()]
    for job in jobs:
        views = [status for status in jobs.valid_statuses if job.id in getattr(jobs, status)]
        if views != [job.status] or not job.is_told:
            wrong.append(("views", job, views, job.is_told))
    if set(board.entries) != {job.id for job in jobs}:
        wrong.append(("the board knows others", set(board.entries) ^ {job.id for job in jobs}))
    if engine.resource != slots or board.free["local"] != 1:
        wrong.append(("slots", board.free))
    if (dispatcher.left, dispatcher.endless, dispatcher.untold, dispatcher.claimed) != (0, 0, 0, {}):
        wrong.append(("counts", dispatcher.left, dispatcher.endless, dispatcher.untold, dispatcher.claimed))
    if board._followers or board._asked:
        wrong.append(("who waits", board._followers, board._asked))
    return wrong


def storm(folder: Path, seed: int, seconds: float, *, kept: bool) -> None:
    print(f"seed {seed}")
    setting = EngineSetting(3, 2, max_jobs=6, print_traceback=False, cache_path=str(folder))
    path = folder / "jobs.sqlite" if kept else None
    engine = Engine(setting, store=path)
    engine.start()
    blown = Storm(engine, seed, seconds)
    try:
        blown.blow()
        assert not blown.errors
        engine.wait(1)
        engine.cancel_all()
        engine.wait(30)
        assert not what_is_wrong(engine, blown.made, (3, 2, float("inf"), 6))
    finally:
        began = time.monotonic()
        engine._dispatcher.close(kill=True)
    assert time.monotonic() - began < 5
    if path is not None:
        statuses = {job.id: job.status for job in engine.jobs}
        assert sorted((row.id, row.status) for row in read_store(path)[1]) == sorted(statuses.items())
        again = Engine(EngineSetting(cache_path=str(folder)), store=path, resume=True)
        with again:
            assert {job.id: job.status for job in again.jobs} == statuses


@pytest.mark.parametrize("kept", [False, True])
def test_whatever_many_threads_do_all_jobs_end_and_nothing_is_left(kept: bool, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storm(tmp_path, 7, 1.2, kept=kept)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True])
def test_whatever_many_threads_do_for_long_all_jobs_end_and_nothing_is_left(kept: bool, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(6):
            folder = tmp_path / str(number)
            folder.mkdir()
            storm(folder, random.randrange(10**6), 5, kept=kept)
