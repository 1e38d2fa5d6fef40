"""Growth. Does the cost of a task, a worker or a byte stay what it is as there are more of them?

Each curve is drawn in results/growth_<curve>.png: time and memory per unit on logarithmic axes, where what does not
grow is level or falls. Workers nap, ten times 50 ms each; their cost is the time beyond that half second, for starting
them, handing out and collecting. Payloads are bytes that a process sends back as it got them. Records that are handed
over and not kept shall take the same memory in all, however many there are.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import harness, rivals
from benchmarks.a_noop import figures as per_task
from benchmarks.h_threads import dummy, futures
from benchmarks.i_sleeps import COROUTINES, one_iterator
from benchmarks.naps import nap, timed_nap
from benchmarks.trivial import noop, timed_noop

NAP = 0.05  # seconds
NAPS = 10  # of each worker
PAYLOAD = 800_000_000  # bytes in all, within these numbers of tasks: at least one for each process
LEAST_PAYLOADS, MOST_PAYLOADS = 4, 2_000
TASKS = (10**3, 10**4, 10**5, 10**6)
OURS = "worker_dispatcher"


@dataclass(frozen=True)
class Point:
    x: int
    units: int
    case: harness.Case


@dataclass(frozen=True)
class Curve:
    """One plot. unit: what cost is counted by; figure: microseconds for each unit.

    The goal: at the last point a unit costs at most `most` times as much, in time and in memory, as where x is `since`.
    judge_memory: False where the points cannot be compared: four payloads of 400 MB are all in flight at once.
    whole: memory is that of the run, not of a unit: it must not grow at all.
    """

    name: str
    unit: str
    figure: str
    since: int
    points: tuple[Point, ...]
    most: float = 1.5
    judge_memory: bool = True
    whole: bool = False

    @property
    def memory(self) -> str:
        return "bytes_in_all" if self.whole else f"bytes_per_{self.unit}"


@dataclass(frozen=True)
class Handed:
    """The records of a run that kept none: each was checked as it came, so what they were is known."""

    items: Sequence[int]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def results(self) -> Sequence[int]:
        return self.items

    def times(self) -> list[tuple[float, float]]:
        return [(0.0, 0.0)] * len(self.items)


def handed_over(case: harness.Case, items: Sequence[int], chunk: int | None) -> Handed:
    import worker_dispatcher

    task = {"list": items, "function": case.function}
    worker = {"number": case.workers, "use_processing": True}
    run = worker_dispatcher.launch({"task": task, "worker": worker, "verbose": False}, keep_records=False)
    count = 0
    for log in run:
        assert log["result"] == log["task_id"] - 1
        assert log["started_at"] <= log["ended_at"]
        count += 1
    assert count == len(items)
    return Handed(items)


def check(items: Sequence[Any], results: Sequence[Any]) -> None:
    assert len(results) == len(items)
    assert all(result == item for result, item in zip(results, items, strict=True))


def naps(count: int) -> list[float]:
    return [NAP] * count


def payloads(size: int, count: int) -> list[bytes]:
    return [bytes([nth % 256]) * size for nth in range(count)]


def per_worker(workers: int, items: Sequence[float], seconds: float) -> dict[str, float]:
    return {"us_per_worker": (seconds - sum(items) / workers) / workers * 1e6}


def per_byte(items: Sequence[bytes], seconds: float) -> dict[str, float]:
    return {
        "us_per_byte": seconds / sum(max(1, len(item)) for item in items) * 1e6,
        "ms_per_task": seconds / len(items) * 1e3,
    }


def tasks(shape: str, contestants: Sequence[harness.Contestant]) -> Curve:
    def point(count: int) -> Point:
        name = f"{count} tasks, {shape}"
        case = harness.Case(name, count, noop, timed_noop, range, check, per_task, "us_per_task")
        return Point(count, count, case.among(contestants))

    return Curve(f"tasks_in_{shape}", "task", "us_per_task", 100_000, tuple(map(point, TASKS)))


def records() -> Curve:
    """Handed over as tasks end, and kept until the end."""

    def point(count: int) -> Point:
        name = f"{count} tasks, records handed over"
        case = harness.Case(name, count, noop, timed_noop, range, check, per_task, "us_per_task")
        return Point(count, count, case.among((ours(handed_over), KEPT)))

    return Curve("records", "task", "us_per_task", 100_000, tuple(map(point, TASKS)), whole=True)


def workers(shape: str, numbers: Sequence[int], since: int, contestants: Sequence[harness.Contestant]) -> Curve:
    def point(number: int) -> Point:
        figures = functools.partial(per_worker, number)
        case = harness.Case(
            f"{number} {shape}", NAPS * number, nap, timed_nap, naps, check, figures, "us_per_worker",
            workers=number, chunks=(),
        )  # fmt: skip
        return Point(number, number, case.among(contestants))

    return Curve(shape, "worker", "us_per_worker", since, tuple(map(point, numbers)))


def payload(sizes: Sequence[int], since: int, contestants: Sequence[harness.Contestant]) -> Curve:
    def point(size: int) -> Point:
        count = max(LEAST_PAYLOADS, min(MOST_PAYLOADS, PAYLOAD // max(1, size)))
        items = functools.partial(payloads, size)
        case = harness.Case(f"{size} B", count, noop, timed_noop, items, check, per_byte, "us_per_byte")
        return Point(size, max(1, size) * count, case.among(contestants))

    return Curve("payload", "byte", "us_per_byte", since, tuple(map(point, sizes)), judge_memory=False)


def ours(kind: Callable[..., Any]) -> harness.Contestant:
    return harness.Contestant(OURS, "ours", kind)


KEPT = harness.Contestant("worker_dispatcher, records kept", "ours-kept", rivals.processes)
POOL = harness.Contestant("multiprocessing.Pool", "default", rivals.pool)
FUTURES = harness.Contestant("ProcessPoolExecutor", "default", rivals.futures)
DUMMY = harness.Contestant("multiprocessing.dummy", "default", dummy)
THREADS = harness.Contestant("ThreadPoolExecutor", "default", futures)
ASYNCIO = harness.Contestant("asyncio", "tuned", one_iterator)
CURVES = (
    tasks("processes", (rivals.OURS, rivals.FLOOR, POOL)),
    tasks("threads", (ours(rivals.ours), DUMMY)),
    records(),
    workers("processes", (1, 2, 4, 8, 16, 32, 64), 8, (rivals.OURS, rivals.FLOOR, POOL)),
    workers("threads", (1, 10, 100, 1_000), 100, (ours(rivals.ours), THREADS)),
    workers("coroutines", (1, 10, 100, 1_000, 10_000), 1_000, (ours(COROUTINES), ASYNCIO)),
    payload((0, 100, 10**4, 10**6, 10**7, 10**8, 4 * 10**8), 10**6, (rivals.OURS, FUTURES)),
)


def finish(answer: dict[str, Any], write: bool) -> None:
    """Judge each curve, in its last case, and draw it."""
    found = {case["case"]: case for case in answer["cases"]}
    for curve in CURVES:
        cases = [found[point.case.name] for point in curve.points]
        names = (curve.figure, curve.memory) if curve.judge_memory else (curve.figure,)
        for index, name in enumerate(names):
            pairs = zip(curve.points, cases, strict=True)
            costs = {point.x: costs_of(curve, point, case)[index].get(OURS) for point, case in pairs}
            cases[-1]["goal"].append(judged(curve, name, costs))
        if write:
            draw(curve, cases)


def costs_of(curve: Curve, point: Point, case: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Of each contestant that ended well: microseconds for each unit, and bytes of memory."""
    good = [one for one in case["contestants"] if one["error"] is None]
    time = {one["name"]: one["figures"][curve.figure]["median"] for one in good}
    units = 1 if curve.whole else point.units
    memory = {one["name"]: one["peak_mb"] * 1e6 / units for one in good if one["peak_mb"] is not None}
    return time, memory


def judged(curve: Curve, name: str, costs: dict[int, float | None]) -> dict[str, Any]:
    """As goals.judged gives it; value: how many times the cost where the curve is to be level."""
    last = curve.points[-1].x
    before, after = costs[curve.since], costs[last]
    value = after / before if before and after and before > 0 else None
    goal = f"{name}: <= {curve.most:g}x that of {curve.since}"
    nobody = {"best_rival": None, "to_best_rival": None, "to_floor": None}
    return {"by": OURS, "goal": goal, "value": value, "met": None if value is None else value <= curve.most} | nobody


def draw(curve: Curve, cases: Sequence[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    labels = (f"microseconds per {curve.unit}", curve.memory.replace("_", " of memory ", 1).replace("_", " "))
    for index, (axes, label) in enumerate(zip(figure.subplots(1, 2), labels, strict=True)):
        names = [one["name"] for one in cases[0]["contestants"]]
        lines: dict[str, list[tuple[int, float]]] = {name: [] for name in names}
        for point, case in zip(curve.points, cases, strict=True):
            for name, cost in costs_of(curve, point, case)[index].items():
                if cost > 0:  # less than nothing is noise, and has no logarithm
                    lines[name].append((point.x, cost))
        for name, line in lines.items():
            axes.plot([x for x, _ in line], [cost for _, cost in line], marker="o", label=name)
        axes.set_xscale("symlog" if curve.points[0].x == 0 else "log")
        axes.set(yscale="log", xlabel=curve.name.replace("_", " "), ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    harness.RESULTS.mkdir(exist_ok=True)
    figure.savefig(harness.RESULTS / f"growth_{curve.name}.png", dpi=100)


CASES = tuple(point.case for curve in CURVES for point in curve.points)
ROW = harness.Row(str(__doc__), CASES, finish=finish)

if __name__ == "__main__":
    sys.exit(harness.main("benchmarks.growth"))
