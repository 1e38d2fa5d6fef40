"""A program in whose calls an alarm rings at random moments: alarmed.py times seed face ...

The alarm's handler raises a TimeoutError, as most do. Prints a line for each call that did not end by it though it had
rung, unless the interpreter itself has lost it (it says so: what is raised in a callback of a weak reference leaves no
call), and what is left of processes at the end.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import psutil

import worker_dispatcher as wd
from worker_dispatcher.engine import Engine, ProcessJob, ThreadJob

TASKS = 8
GRID = {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}}


class Rung(TimeoutError):
    """What the alarm raises."""


class Alarm:
    """rung: it has raised in the current call; lost: the interpreter has said that it took that for itself."""

    def __init__(self) -> None:
        self.rung = self.lost = False
        signal.signal(signal.SIGALRM, self.ring)
        sys.unraisablehook = self.lose

    def ring(self, number: int, frame: FrameType | None) -> None:
        self.rung = True
        raise Rung

    def lose(self, what: Any) -> None:
        if isinstance(what.exc_value, Rung):
            self.lost = True
        else:
            sys.__unraisablehook__(what)

    def tried(self, call: Callable[[], Any], after: float) -> str:
        """What is wrong with a call in which the alarm rings after so many seconds; empty if nothing is."""
        self.rung = self.lost = False
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, after)
                call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Rung:
            return ""
        except BaseException as error:
            return f"{error!r} left the call"
        return "nothing left the call" if self.rung and not self.lost else ""


def work(task: int) -> int:
    time.sleep(0.001)
    return task


async def work_softly(task: int) -> int:
    await asyncio.sleep(0.001)
    return task


def run(function: Callable[[int], Any] = work, *, journal: str = "", **worker: Any) -> Any:
    config = {"task": {"list": range(TASKS), "function": function}, "worker": {"number": 2, **worker}, "verbose": False}
    if journal:
        config["journal"] = tempfile.mktemp(dir=journal)
    return wd.start(config)


def launch(**worker: Any) -> Any:
    config = {"task": {"list": range(TASKS), "function": work}, "worker": {"number": 2, **worker}, "verbose": False}
    launched = wd.launch(config)
    logs = list(launched)
    return launched.results if logs else []


def pooled(kind: str) -> Any:
    with wd.WorkerPool(2, kind=kind) as pool:
        return list(pool.map(work, range(TASKS)))


def engaged(kind: type[ThreadJob] | type[ProcessJob], folder: str = "") -> Any:
    with Engine(store=tempfile.mktemp(dir=folder) if folder else None) as engine:
        jobs = [kind(work, (number,)) for number in range(TASKS)]
        engine.submit(*jobs)
        engine.wait()
        return [job.result() for job in jobs]


def faces(folder: str) -> dict[str, Callable[[], Any]]:
    return {
        "threads": run,
        "coroutines": partial(run, work_softly),
        "processes": partial(run, use_processing=True),
        "spawn": partial(run, use_processing=True, start_method="spawn"),
        "fork": partial(run, use_processing=True, start_method="fork"),
        "grid": partial(run, **GRID),
        "load": partial(run, frequency_mode={"enabled": True, "interval": 0.003}),
        "journal": partial(run, journal=folder),
        "launch": partial(launch, use_processing=True),
        "pool": partial(pooled, "thread"),
        "pool of processes": partial(pooled, "process"),
        "engine": partial(engaged, ThreadJob),
        "engine with processes": partial(engaged, ProcessJob),
        "engine with a store": partial(engaged, ThreadJob, folder),
    }


def left() -> list[str]:
    """The children that should be gone by now: all but the fork server, which is told by its command line."""
    until = time.monotonic() + 10
    while True:
        children = psutil.Process().children()
        found = [repr(one) for one in children if one.status() == psutil.STATUS_ZOMBIE or "-c" not in one.cmdline()]
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.02)


def main(times: int, seed: int, *names: str) -> None:
    warnings.simplefilter("ignore")
    alarm, chance = Alarm(), random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        known = faces(folder)
        for name in names or known:
            call = known[name]
            call()
            began = time.perf_counter()
            call()
            took = time.perf_counter() - began
            for _ in range(times):
                if wrong := alarm.tried(call, max(1e-4, chance.random() * took)):
                    print(f"{name}: {wrong}", flush=True)
            if call() in ([], None):
                print(f"{name}: nothing came of the next call", flush=True)
    for one in left():
        print(f"left: {one}", flush=True)
    print("tried", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
    os._exit(0)  # threads that were left behind in tasks are none of this
