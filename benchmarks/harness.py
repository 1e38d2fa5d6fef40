"""How everything here is measured.

* One measurement is one fresh process: it makes the items, runs a part of them as a warm-up, then all of them by the
  clock. What a library keeps alive between calls (executors, fork servers) is warm; what a rival starts inside its call
  is on the clock, as it is for us.
* Contestants are interleaved: every repeat runs each of them once, so that a slow minute of the machine hits all.
* Results are asserted inside the timed run. Everybody delivers a record (start, end) for each task: rivals through a
  wrapper that does only that, we through `get_logs()`, whose rendering is timed apart (`logs_seconds`).
* A tuned rival runs once with each chunk size on offer, and goes on with the fastest.
* Memory is a measurement of its own, since sampling disturbs: the highest sum of PSS over the process tree, and of
  files in memory that nobody has mapped, above what the items took before the run. Linux only.
* Medians, with all values, the machine and the versions, go to benchmarks/results/<row>.json, of a machine with
  fewer than four cores to benchmarks/results/<n>_cores/<row>.json.
"""

from __future__ import annotations

import argparse
import compileall
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.goals import RIVALS, Goal, advantage, best, goal_table, judged

RESULTS = Path(__file__).parent / "results"
USUAL_CORES = 4  # what the workloads are made for
ROOT = Path(__file__).parent.parent
LIBRARIES = ["worker-dispatcher", "joblib", "loky", "mpire", "pebble", "ray", "dask", "numpy", "cloudpickle", "psutil"]

Record = tuple[Any, float, float]  # result, start, end


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    run: run(case, items, chunk) -> one Record per item, in order; chunk is None unless tuned
    kind: 'ours', 'default', 'tuned' or 'floor'; 'ours-...' are further ways to use us
    needs: the library to import, or None
    """

    name: str
    kind: str
    run: Callable[[Case, Sequence[Any], int | None], Sequence[Record]]
    needs: str | None = None

    @property
    def label(self) -> str:
        return f"{self.name} ({self.kind})" if self.kind in {"default", "tuned"} else self.name


@dataclass(frozen=True)
class Case:
    """One workload.

    function: the bare task; timed: the same, returning a Record (a function of a module, so that it pickles by name)
    items: items(count), made before the clock starts; check: check(items, results) raises if a result is wrong
    figures: figures(items, seconds) -> what the row speaks of; headline: the one that is compared
    measure: measures one contestant in this process; the default is the throughput of one call
    chunks: what a tuned rival may choose from, nothing if its tuning is of another kind
    contestants: those of the row if None
    """

    name: str
    count: int
    function: Callable[[Any], Any]
    timed: Callable[[Any], Record]
    items: Callable[[int], Sequence[Any]]
    check: Callable[[Sequence[Any], Sequence[Any]], None]
    figures: Callable[[Sequence[Any], float], dict[str, float]]
    headline: str
    higher_is_better: bool = False
    workers: int = 4
    chunks: tuple[int, ...] = (16, 64, 256, 1024, 4096)
    measure: Callable[[Case, Contestant, Sequence[Any], int | None], dict[str, float]] | None = None
    goals: tuple[Goal, ...] = ()
    contestants: tuple[Contestant, ...] | None = None

    def among(self, contestants: Sequence[Contestant]) -> Case:
        return dataclasses.replace(self, contestants=tuple(contestants))


def no_figures(items: Sequence[Any], seconds: float) -> dict[str, float]:
    """Of a case that is measured in its own way."""
    return {}


@dataclass(frozen=True)
class Row:
    """finish: finish(answer, write) adds what spans several cases; `write` says whether files are wanted.
    cores: that it is about, whatever the machine has."""

    question: str
    cases: tuple[Case, ...]
    contestants: tuple[Contestant, ...] = ()
    cores: int | None = None
    finish: Callable[[dict[str, Any], bool], None] | None = None

    def contestants_of(self, case: Case) -> tuple[Contestant, ...]:
        return self.contestants if case.contestants is None else case.contestants


@dataclass
class Standing:
    """What is known of one contestant in one case."""

    contestant: Contestant
    chunk: int | None = None
    runs: list[dict[str, float]] = field(default_factory=list)
    peak_mb: float | None = None
    error: str | None = None

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(run[name] for run in self.runs) for name in (self.runs or [{}])[0]}

    def figure(self, name: str) -> float | None:
        """The median of a figure, or the peak of memory; None if it failed or has none of that name."""
        if self.error is not None:
            return None
        return self.peak_mb if name == "peak_mb" else self.medians().get(name)

    def as_json(self) -> dict[str, Any]:
        spread = {
            name: {"median": median, "min": min(values), "max": max(values), "all": values}
            for name, median in self.medians().items()
            if (values := [run[name] for run in self.runs])
        }
        facts = {"name": self.contestant.name, "kind": self.contestant.kind, "chunk": self.chunk}
        return facts | {"figures": spread, "peak_mb": self.peak_mb, "error": self.error}


def results_of(records: Sequence[Record]) -> Sequence[Any]:
    return records.results if hasattr(records, "results") else [record[0] for record in records]


def times_of(records: Sequence[Record]) -> Sequence[tuple[float, float]]:
    return records.times() if hasattr(records, "times") else [record[1:] for record in records]


def measured(verb: str, module: str, case: Case, standing: Standing, count: int) -> dict[str, float]:
    """One measurement in a fresh process; RuntimeError with what it said if it failed or took over ten minutes."""
    label, chunk = standing.contestant.label, str(standing.chunk or 0)
    command = [sys.executable, "-m", "benchmarks.measure", verb, module, case.name, label, chunk, str(count)]
    # A memory-mapping rival must not fill shared memory, which the tests on this machine watch.
    environment = os.environ | {"JOBLIB_TEMP_FOLDER": os.environ.get("TMPDIR", "/tmp")}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError("took over 600 s") from None
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(module: str, row: Row, case: Case, options: argparse.Namespace) -> list[Standing]:
    count = min(case.count, max(case.workers, case.count // 10)) if options.quick else case.count
    wanted = [c for c in row.contestants_of(case) if not options.only or any(part in c.label for part in options.only)]
    standings = [Standing(c) for c in wanted if c.needs is None or importlib.util.find_spec(c.needs)]
    for standing in standings:
        attempt(standing, lambda standing=standing: tune(module, case, standing, count))
    for _ in range(options.repeats):
        for standing in standings:
            attempt(standing, lambda s=standing: s.runs.append(measured("time", module, case, s, count)))
    if case.measure is None:
        for standing in standings:
            attempt(standing, lambda s=standing: set_peak(s, measured("peak", module, case, s, count)["peak_mb"]))
    return standings


def attempt(standing: Standing, action: Callable[[], None]) -> None:
    """Do it unless it failed before; a contestant that fails is out of the case, with its reason."""
    if standing.error is None:
        try:
            action()
        except RuntimeError as error:
            standing.error = str(error)


def set_peak(standing: Standing, peak_mb: float) -> None:
    standing.peak_mb = peak_mb


def tune(module: str, case: Case, standing: Standing, count: int) -> None:
    if standing.contestant.kind != "tuned" or not case.chunks:
        return
    seconds = {}
    for chunk in case.chunks:
        standing.chunk = chunk
        seconds[chunk] = measured("time", module, case, standing, count)["seconds"]
    standing.chunk = min(seconds, key=seconds.__getitem__)


def table(case: Case, standings: Sequence[Standing]) -> str:
    """The contestants, best first, with our ratio to each (above 1: we are better)."""
    good = [standing for standing in standings if standing.error is None]
    good.sort(key=lambda standing: standing.medians()[case.headline], reverse=case.higher_is_better)
    ours = next((standing for standing in good if standing.contestant.kind == "ours"), None)
    lines = [f"{case.name}: {case.headline}, median of {len(good[0].runs) if good else 0}", HEADER]
    for standing in good:
        figures = standing.medians()
        values = [run[case.headline] for run in standing.runs]
        times = advantage(ours, standing, case.headline, case.higher_is_better)
        ratio = f"{times:8.2f}x" if times else "        -"
        peak = f"{standing.peak_mb:9.0f}" if standing.peak_mb is not None else "        -"
        name = standing.contestant.label + (f" chunk {standing.chunk}" if standing.chunk else "")
        spread = f"{min(values):10.4g} ..{max(values):10.4g}"
        others = "  ".join(f"{key} {value:.4g}" for key, value in figures.items() if key != case.headline)
        lines.append(f"  {name:<44}{figures[case.headline]:11.4g}  {spread}  {ratio}  {peak}  {others}")
    lines += [f"  {standing.contestant.label:<44}FAILED: {standing.error}" for standing in standings if standing.error]
    return "\n".join(lines)


HEADER = f"  {'':<44}{'median':>11}  {'min .. max':>22}  {'ours is':>9}  {'peak MB':>9}"


def machine() -> dict[str, Any]:
    cpu = platform.processor() or "unknown"
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def commit() -> str | None:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True, cwd=ROOT
    )
    return done.stdout.strip() or None


def options_from(arguments: Sequence[str] | None, *, rows: bool = False) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    if rows:
        parser.add_argument("rows", nargs="*", help="rows to run, for example a_noop; default: all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the tasks; nothing is written")
    parser.add_argument("--cores", type=int, help="use only so many, as on a smaller machine")
    parser.add_argument("--only", action="append", help="contestants whose name holds this text; may be repeated")
    parser.add_argument("--write", action="store_true", help="write the results though only a part was asked for")
    return parser.parse_args(arguments)


@contextmanager
def on_cores(count: int | None) -> Iterator[None]:
    """Inside, this process and those it starts have so many cores, or all that are there; None: as it is."""
    if count is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_cores)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cores)


def results_of_cores(cores: int) -> Path:
    """Where the results files of machines with so many cores are."""
    return RESULTS if cores >= USUAL_CORES else RESULTS / f"{cores}_cores"


def run_row(module: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run all cases of a row, print the tables, write the JSON (not when only a part was asked for) and return it."""
    # As an installer does: otherwise, where bytecode is not to be written, only we would be compiled in each process.
    for folder in ("worker_dispatcher", "benchmarks"):
        compileall.compile_dir(ROOT / folder, quiet=1)
    row: Row = importlib.import_module(module).ROW
    with on_cores(row.cores or options.cores):
        return run_here(module, row, options)


def run_here(module: str, row: Row, options: argparse.Namespace) -> dict[str, Any]:
    key = module.rpartition(".")[2]
    print(f"\n{key}: {row.question}", flush=True)
    answer: dict[str, Any] = {"row": key, "question": row.question, "when": datetime.now(UTC).isoformat("T", "seconds")}
    answer |= {
        "commit": commit(),
        "repeats": options.repeats,
        "machine": machine(),
        "versions": versions(),
        "cases": [],
    }
    for case in row.cases:
        standings = compare(module, row, case, options)
        print(table(case, standings), flush=True)
        ours = next((s for s in standings if s.contestant.kind == "ours" and s.error is None), None)
        entry: dict[str, Any] = {"case": case.name, "count": case.count, "headline": case.headline}
        for name, kinds in (("best_rival", RIVALS), ("floor", ("floor",))):
            other = best(standings, kinds, case.headline, case.higher_is_better)
            times = advantage(ours, other, case.headline, case.higher_is_better)
            entry |= {name: other.contestant.label if other else None, f"ours_to_{name}": times}
        entry |= {"goal": [judged(goal, case, standings) for goal in case.goals]}
        answer["cases"].append(entry | {"contestants": [standing.as_json() for standing in standings]})
    write = not options.quick and (options.write or not options.only)
    if row.finish:
        row.finish(answer, write)
    if write:
        folder = results_of_cores(answer["machine"]["cores"])
        folder.mkdir(exist_ok=True, parents=True)
        (folder / f"{key}.json").write_text(json.dumps(answer, indent=1) + "\n")
    return answer


def main(module: str, arguments: Sequence[str] | None = None) -> int:
    """What `python -m benchmarks.<row>` does; 1 if we failed in a case."""
    answer = run_row(module, options_from(arguments))
    print(f"\n{goal_table([answer])}")
    return int(any(we_failed(case) for case in answer["cases"]))


def we_failed(case: dict[str, Any]) -> bool:
    return any(one["kind"].startswith("ours") and one["error"] for one in case["contestants"])
