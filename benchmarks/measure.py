"""One measurement, in this process: `python -m benchmarks.measure time|peak ROW CASE CONTESTANT CHUNK COUNT`.

Prints the figures as JSON. `sample PID` is the helper of `peak`, a process of its own so that it takes no time of ours.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil

from benchmarks.harness import ROOT, Case, Contestant, Row, results_of, times_of


def throughput(case: Case, contestant: Contestant, items: Sequence[Any], chunk: int | None) -> dict[str, float]:
    """Seconds of one call for all items, after a warm-up with a tenth of them (at least one per worker)."""
    warm = items[: max(case.workers, len(items) // 10)]
    contestant.run(case, warm, chunk)
    gc.collect()
    began = time.perf_counter()
    records = contestant.run(case, items, chunk)
    case.check(items, results_of(records))
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    times = times_of(records)
    logs_seconds = time.perf_counter() - began
    assert len(times) == len(items), f"{len(times)} records for {len(items)} tasks"
    assert all(start <= end for start, end in times)
    return case.figures(items, seconds) | {"seconds": seconds, "logs_seconds": logs_seconds}


def measure_here(module: str, case_name: str, label: str, chunk: int | None, count: int) -> dict[str, float]:
    row: Row = importlib.import_module(module).ROW
    case = next(case for case in row.cases if case.name == case_name)
    contestant = next(contestant for contestant in row.contestants if contestant.label == label)
    return (case.measure or throughput)(case, contestant, case.items(count), chunk)


def peak_here(module: str, case_name: str, label: str, chunk: int | None, count: int) -> dict[str, float]:
    """Peak PSS of the tree during one run, above what it was before, in MB."""
    row: Row = importlib.import_module(module).ROW
    case = next(case for case in row.cases if case.name == case_name)
    contestant = next(contestant for contestant in row.contestants if contestant.label == label)
    items = case.items(count)
    contestant.run(case, items[: case.workers], chunk)
    command = [sys.executable, "-m", "benchmarks.measure", "sample", str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as sampler:
        assert sampler.stdout is not None
        sampler.stdout.readline()  # it has taken the base line
        records = contestant.run(case, items, chunk)
        answer, _ = sampler.communicate("")
    assert len(records) == len(items)
    base, peak = map(int, answer.split())
    return {"peak_mb": (peak - base) / 1e6}


def sample(pid: int) -> None:
    """Print a line, then, once stdin ends, the first and the highest sum of PSS of the tree below pid, in bytes."""
    root, me = psutil.Process(pid), os.getpid()
    base = peak = tree_pss(root, me)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        peak = max(peak, tree_pss(root, me))
    print(base, peak)


def tree_pss(root: psutil.Process, without: int) -> int:
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += 0 if process.pid == without else process.memory_full_info().pss
        except psutil.Error:  # it ended while we looked
            continue
    return total


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "sample":
        sample(int(rest[0]))
    else:
        act = {"time": measure_here, "peak": peak_here}[verb]
        print(json.dumps(act(rest[0], rest[1], rest[2], int(rest[3]) or None, int(rest[4]))))
