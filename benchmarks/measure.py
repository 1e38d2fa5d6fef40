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
from pathlib import Path
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


def found(module: str, case_name: str, label: str) -> tuple[Case, Contestant]:
    row: Row = importlib.import_module(module).ROW
    case = next(case for case in row.cases if case.name == case_name)
    return case, next(contestant for contestant in row.contestants_of(case) if contestant.label == label)


def measure_here(module: str, case_name: str, label: str, chunk: int | None, count: int) -> dict[str, float]:
    case, contestant = found(module, case_name, label)
    return (case.measure or throughput)(case, contestant, case.items(count), chunk)


def peak_here(module: str, case_name: str, label: str, chunk: int | None, count: int) -> dict[str, float]:
    """Peak memory of the tree during one run, above what it was before, in MB."""
    case, contestant = found(module, case_name, label)
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
    """Print a line, then, once stdin ends, the first and the highest memory of the tree below pid, in bytes."""
    root, me = psutil.Process(pid), os.getpid()
    base = peak = tree_bytes(root, me)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        peak = max(peak, tree_bytes(root, me))
    print(base, peak)


def tree_bytes(root: psutil.Process, without: int) -> int:
    """The sum of PSS; of shared memory at least what the tree's open files in memory hold, mapped or not."""
    private = shared = 0
    in_memory: dict[int, int] = {}  # by inode
    for process in [root, *root.children(recursive=True)]:
        if process.pid == without:
            continue
        try:
            sizes = proportional_sizes(process.pid)
            in_memory |= files_in_memory(process.pid)
        except OSError:  # it ended while we looked
            continue
        shared += sizes["Pss_Shmem"]
        private += sizes["Pss"] - sizes["Pss_Shmem"]
    return private + max(shared, sum(in_memory.values()))


def proportional_sizes(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    rows = (line.split() for line in lines if line.startswith("Pss"))
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in rows}


def files_in_memory(pid: int) -> dict[int, int]:
    folder = Path(f"/proc/{pid}/fd")
    found = {}
    for name in os.listdir(folder):
        try:
            if os.readlink(folder / name).startswith(("/memfd:", "/dev/shm/")):
                facts = os.stat(folder / name)
                found[facts.st_ino] = facts.st_blocks * 512
        except OSError:  # closed meanwhile
            continue
    return found


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "sample":
        sample(int(rest[0]))
    else:
        act = {"time": measure_here, "peak": peak_here}[verb]
        print(json.dumps(act(rest[0], rest[1], rest[2], int(rest[3]) or None, int(rest[4]))))
