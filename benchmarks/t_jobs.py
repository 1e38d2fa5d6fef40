"""T. What do jobs cost that depend on each other: in chains, many at once, waiting, and once they have ended?

Beside executor-engine, whose names ours bears, so that both run the same lines.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psutil

from benchmarks import harness
from benchmarks.goals import Goal
from benchmarks.p_burst import check
from benchmarks.trivial import noop, timed_noop

NAP = 0.005  # seconds of a job that uses a slot
SLOTS = 4


class Library(NamedTuple):
    """Where a library has what the row uses."""

    engine: str
    conditions: str

    @contextmanager
    def running(self, **setting: Any) -> Iterator[tuple[Any, Any]]:
        """(its module, an engine that takes jobs), in a folder of its own: one of them writes there."""
        if self is THEIRS:
            import_module("executor.engine.log").logger.remove()  # three lines of log a job
        module, here = import_module(self.engine), os.getcwd()
        made = import_module(self.engine + (".core" if self is THEIRS else ""))
        with TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                with module.Engine(made.EngineSetting(**setting)) as engine:
                    yield module, engine
            finally:
                os.chdir(here)


OURS = Library("worker_dispatcher.engine", "worker_dispatcher.engine.conditions")
THEIRS = Library("executor.engine", "executor.engine.job.condition")


def nothing() -> None:
    pass


def nap() -> None:
    time.sleep(NAP)


def chain(library: Library, count: int) -> dict[str, float]:
    """Each job after the one before."""
    after = import_module(library.conditions).AfterAnother
    with library.running() as (module, engine):
        warm_up(module.ThreadJob, engine)
        jobs = [module.ThreadJob(nothing)]
        for _ in range(count - 1):
            jobs.append(module.ThreadJob(nothing, condition=after(job_id=jobs[-1].id)))
        began = time.perf_counter()
        engine.submit(*jobs)
        engine.wait(time_delta=0.01)
        took = time.perf_counter() - began
        assert all(job.status == "done" for job in jobs)
    return {"seconds": took}


def many(kind: str) -> Callable[[Library, int], dict[str, float]]:
    """All at once."""

    def run(library: Library, count: int) -> dict[str, float]:
        with library.running() as (module, engine):
            make = getattr(module, kind)
            warm_up(make, engine)
            began = time.perf_counter()
            jobs = [make(nothing) for _ in range(count)]
            engine.submit(*jobs)
            engine.wait(time_delta=0.01)
            took = time.perf_counter() - began
            assert all(job.status == "done" for job in jobs)
        return {"jobs_per_second": count / took}

    return run


def warm_up(make: Callable[..., Any], engine: Any) -> None:
    engine.submit(*(make(nothing) for _ in range(20)))
    engine.wait(time_delta=0.01)


def idle(library: Library, count: int) -> dict[str, float]:
    """Jobs that wait for one that was never submitted."""
    after = import_module(library.conditions).AfterAnother
    with library.running(max_jobs=None) as (module, engine):
        engine.submit(*(module.ThreadJob(nothing, condition=after(job_id="nobody")) for _ in range(count)))
        time.sleep(0.5)
        began, used = time.perf_counter(), time.process_time()
        time.sleep(3)
        share = (time.process_time() - used) / (time.perf_counter() - began)
        engine.cancel_all()
    return {"core_share": share}


def left_behind(kind: str) -> Callable[[Library, int], dict[str, float]]:
    """Jobs that are done, and what they still hold."""

    def run(library: Library, count: int) -> dict[str, float]:
        with library.running() as (module, engine):
            engine.submit(*(getattr(module, kind)(nothing) for _ in range(count)))
            engine.wait(time_delta=0.01)
            me = psutil.Process()
            children = me.children(recursive=True)
            held = {"threads": threading.active_count(), "processes": len(children), "descriptors": me.num_fds()}
            held["megabytes"] = int(sum(child.memory_full_info().pss for child in children) / 1e6)
        return {name: float(value) for name, value in held.items()}

    return run


def slots(library: Library, count: int) -> dict[str, float]:
    """Short jobs, and the share of the slots' time in which one ran."""
    with library.running(max_jobs=SLOTS) as (module, engine):
        warm_up(module.ThreadJob, engine)
        jobs = [module.ThreadJob(nap) for _ in range(count)]
        began = time.perf_counter()
        engine.submit(*jobs)
        engine.wait(time_delta=0.01)
        took = time.perf_counter() - began
        assert all(job.status == "done" for job in jobs)
    return {"used": count * NAP / SLOTS / took}


PROGRAM = """
import sys, time
from {engine} import Engine, ProcessJob, ThreadJob
def sleep():
    for _ in range(2000):
        time.sleep(0.01)
if __name__ == "__main__":
    with Engine() as engine:
        engine.submit(ThreadJob(sleep), ThreadJob(sleep), ProcessJob(sleep), ProcessJob(sleep))
        time.sleep(1)
        print("ready", flush=True)
        engine.wait()
"""


def ctrl_c(library: Library, count: int) -> dict[str, float]:
    """A program with jobs that run is told to stop; seconds until it has, and processes of it that are left then."""
    with TemporaryDirectory() as folder:
        script = Path(folder) / "program.py"
        script.write_text(textwrap.dedent(PROGRAM.format(engine=library.engine)))
        environment = os.environ | {"PYTHONPATH": str(harness.ROOT)}
        with subprocess.Popen(
            [sys.executable, str(script)], cwd=folder, env=environment, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as program:  # fmt: skip
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            children = psutil.Process(program.pid).children(recursive=True)
            began = time.perf_counter()
            program.send_signal(signal.SIGINT)
            try:
                program.wait(60)
            except subprocess.TimeoutExpired:
                program.kill()
            took = time.perf_counter() - began
            strays = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
            for child in strays:
                child.kill()
    return {"seconds": took, "strays": float(len(strays))}


def figures_of(
    case: harness.Case, contestant: harness.Contestant, items: Sequence[int], chunk: int | None
) -> dict[str, float]:
    found: Any = contestant.run(case, items, chunk)
    return dict(found)


def case_of(
    name: str, measure: Callable[[Library, int], dict[str, float]], headline: str, count: int, *goals: Goal,
    higher: bool = False, share: int = 1,
) -> harness.Case:  # fmt: skip
    """share: what part of the jobs executor-engine gets, where all would take minutes."""

    def runner(library: Library, part: int) -> Callable[..., Any]:
        return lambda case, items, chunk: measure(library, max(SLOTS, len(items) // part))

    return harness.Case(
        name, count, noop, timed_noop, range, check, harness.no_figures, headline, higher,
        measure=figures_of, goals=goals,
        contestants=(
            harness.Contestant("worker_dispatcher", "ours", runner(OURS, 1)),
            harness.Contestant("executor-engine", "default", runner(THEIRS, share), "executor"),
        ),
    )  # fmt: skip


ROW = harness.Row(
    str(__doc__),
    (
        case_of("a chain of 1 000 jobs", chain, "seconds", 1_000, Goal(at_most=0.1)),
        case_of(
            "no-op jobs in threads", many("ThreadJob"), "jobs_per_second", 20_000, Goal(at_least=20_000),
            higher=True, share=10,
        ),
        case_of(
            "no-op jobs in processes", many("ProcessJob"), "jobs_per_second", 8_000, Goal(at_least=4_000),
            higher=True, share=100,
        ),
        case_of("1 000 jobs that wait", idle, "core_share", 1_000, Goal(at_most=0.01)),
        case_of("after 1 000 jobs in threads", left_behind("ThreadJob"), "threads", 1_000, Goal(at_most=25)),
        case_of("after 80 jobs in processes", left_behind("ProcessJob"), "processes", 80, Goal(at_most=22)),
        case_of("jobs of 5 ms, 4 slots", slots, "used", 800, Goal(at_least=0.9), higher=True),
        case_of("Ctrl-C while jobs run", ctrl_c, "seconds", 4, Goal(at_most=1), Goal("strays", at_most=0)),
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.t_jobs"))
