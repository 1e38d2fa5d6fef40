"""`demo`: a batch that computes, in threads and in processes, and a load test of a server of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker_dispatcher.cli.ending import FAILED, OK, CannotRun
from worker_dispatcher.cli.help_text import EXIT_CODES, add_command
from worker_dispatcher.clock import now
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.cores import usable_cores
from worker_dispatcher.reporting import report
from worker_dispatcher.units import seconds_text

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.run import Run
    from worker_dispatcher.reports.report import Report

_RATE, _SECONDS, _WORKERS = 100, 5, 20
_BELOW, _BLOCK = 300_000, 2_000
_ABOUT = """
    A first look. A puzzle of numbers is computed in plain Python, in threads and
    then in processes. Then a web server, which the demo starts on this machine,
    gets 100 requests a second. Each leaves a report.
    Takes about a quarter of a minute.
"""


class Chain(NamedTuple):
    """The longest chain that one task found: where it starts, and its steps down to 1."""

    start: int
    steps: int


def longest_chain(task: range) -> Chain:
    """Of all these starts: an even number is halved, an odd one times 3 plus 1, until it is 1 (Collatz)."""
    # In Python alone, and not by a library that lets other threads compute meanwhile: what processes are for.
    longest = Chain(0, 0)
    for start in task:
        number, steps = start, 0
        while number > 1:
            number = 3 * number + 1 if number % 2 else number // 2
            steps += 1
        if steps > longest.steps:
            longest = Chain(start, steps)
    return longest


def visit(id: int, config: str, metadata: dict[str, Any]) -> int:
    from urllib.request import urlopen  # it takes long to load, and only the demo needs it

    with urlopen(f"{config}orders/{id}", timeout=5) as response:
        metadata["status"] = response.status
        return len(response.read())


def add(commands: Any) -> None:
    parser = add_command(commands, "demo", "see it work: a batch, a load test, and their reports", _ABOUT, EXIT_CODES)
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("worker-dispatcher-demo"),
        metavar="FOLDER",
        help="where reports go: %(default)s",
    )
    parser.set_defaults(function_of_command=_demo)


def _demo(given: argparse.Namespace) -> int:
    try:
        given.to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"--to {given.to}: {error.strerror}") from None
    kept = "before its first report"
    try:
        good = _batch(given.to)
        kept = f"the report of the batch is in {given.to}"
        say("")
        good = _load_test(given.to) and good
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept) from None
    say("\nnext: worker-dispatcher run --help")
    return OK if good else FAILED


def _start(**config: Any) -> Run:
    from worker_dispatcher.dispatch.run import Run

    has_terminal = sys.stderr is not None and sys.stderr.isatty()
    return Run.of({"verbose": False, "progress": has_terminal, **config}).drive()


# The batch


def _batch(folder: Path) -> bool:
    say(f"1. a batch that computes, in plain Python: of all numbers below {_BELOW:,}, which")
    say("   takes most steps to 1, if even ones are halved and odd ones times 3 plus 1")
    blocks = [range(first, min(first + _BLOCK, _BELOW)) for first in range(1, _BELOW, _BLOCK)]
    runs, seconds = {}, {}
    for kind in ("threads", "processes"):
        began = now()
        worker = {"use_processing": kind == "processes"}
        runs[kind] = _start(task={"list": blocks, "function": longest_chain}, worker=worker)
        seconds[kind] = now() - began
        _say_outcome(kind, runs[kind], seconds[kind])
    chains = [[chain for chain in run.results if chain] for run in runs.values()]
    good = len(chains[1]) == len(blocks) and chains[0] == chains[1]
    if good:
        longest = max(chains[1], key=lambda chain: chain.steps)
        say(f"   both found {longest.start:,}, with {longest.steps} steps")
    else:
        say("   their results DIFFER")
    say(f"   processes were {seconds['threads'] / seconds['processes']:.1f} times as fast as threads{_why()}")
    made = report(runs["processes"], title="Chains of numbers, in processes")
    say(f"   report: {_written(made, folder, 'batch')}")
    return good


def _why() -> str:
    if usable_cores() < 2:
        return ": this machine has one core for them"
    takes_turns: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    return ",\n   which take turns where Python computes" if takes_turns else ""


def _say_outcome(kind: str, run: Run, seconds: float) -> None:
    counts = run.info["counts"]
    workers, begun = len({log["worker"] for log in run.logs}), [log["started_at"] for log in run.logs]
    start = f" ({seconds_text(min(begun) - run.info['started_at'])} until workers began)" if begun else ""
    say(f"   in {kind:<10}{seconds:6.2f} s{start}   {workers} workers   failed {sum(counts.values()) - counts['ok']}")


# The load test


def _load_test(folder: Path) -> bool:
    from worker_dispatcher.cli.commands.shop import STANDS_STILL, open_shop

    begin, end = STANDS_STILL
    say(f"2. a load test: {_RATE} requests a second for {_SECONDS} s, of a local web server")
    say(f"   that answers in about 20 ms, and stands still for {end - begin:g} s after {begin:g} s\n")
    with open_shop() as address:
        mode = {"enabled": True, "rate": _RATE, "duration": _SECONDS, "max_workers": _WORKERS}
        run = _start(
            task={"list": None, "function": visit, "config": address, "timeout": 10}, worker={"frequency_mode": mode}
        )
    made = report(run, title="A web shop, 100 requests a second", checks=["p99<1s", "error_rate<1%"], verbose=True)
    say("\n   'from due time' is what a visitor feels: it counts the wait for one of the")
    say(f"   {_WORKERS} workers too")
    say(f"   report: {_written(made, folder, 'load')}")
    return len(run.results) > 0 and all(run.results)


def _written(made: Report, folder: Path, name: str) -> str:
    """The report as a page of charts, or as text and CSV where the extra for pages is not there; in words, where."""
    try:
        return str(made.to_html(folder / f"{name}.html"))
    except ImportError:
        text = folder / f"{name}.txt"
        text.write_text(f"{made}\n", encoding="utf-8")
        made.to_csv(folder / f"{name}.csv")
        return f"{text} and .csv\n   with charts: pip install 'worker-dispatcher[report]'"
