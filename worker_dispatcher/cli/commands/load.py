"""`load`: call a function at a given rate, whether or not earlier calls have ended."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from worker_dispatcher.cli.driving import drive
from worker_dispatcher.cli.ending import tell
from worker_dispatcher.cli.help_text import EXIT_CODES, add_command
from worker_dispatcher.cli.outputs import add_outputs, refuse_early
from worker_dispatcher.cli.shape import add_check, add_processes, add_progress, given_of, length, refuse_checks, shape
from worker_dispatcher.cli.target import TARGET_HELP, load_target
from worker_dispatcher.cli.tasks import LIST_HELP, tasks_of
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.reporting import report

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.run import Run
    from worker_dispatcher.reports.report import Report

_ABOUT = """
    Call a function at a given rate, whether or not earlier calls have ended, and
    report what came of it: outcomes, percentiles, the rate over time.
"""
_MORE = """
    what the function gets
      def visit(task): ...           a line of --list, which begins again at its
                                     end; without a list, an empty dict
      def visit(id, metadata): ...   those of id (from 1), task, metadata (a dict
                                     for notes), config ({}) that it names
      A call fails if it raises or runs too long, or returns False or an HTTP
      response of status 400 or more. What else it returns is a success, None too.

    stages
      30s:200/s,60s:200/s,10s:0      each ramps from the rate before it to its own
      30s:=100/s,30s:=200/s          = is a step: its own rate from the start

    checks
      p99<300ms   response.p95<1s   error_rate<1%   tps>=180   failed==0

    examples
      worker-dispatcher load shop:visit --rate 200/s --duration 60 --max-workers 64
      worker-dispatcher load shop.py:visit --stages 30s:200,60s:200 --html run.html
      worker-dispatcher load shop:visit --rate 90/min --duration 10min \\
          --check 'p99<300ms' --check 'error_rate<1%' --log run.jsonl
"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "load",
        "call a function at a given rate and report",
        _ABOUT,
        _MORE,
        EXIT_CODES,
        usage="module:function --rate RATE [options]",
    )
    parser.add_argument("function", metavar="module:function", help=TARGET_HELP)
    due = parser.add_mutually_exclusive_group()
    due.add_argument("--rate", metavar="RATE", help="calls a second: 200, 200/s, 90/min, 3600/h")
    due.add_argument("--stages", type=stages, metavar="STAGES", help="rates that change: 30s:200/s,60s:200/s,10s:0")
    parser.add_argument("--duration", type=length, metavar="TIME", help="no call starts after it: 60, 90s, 5min")
    parser.add_argument("--pacing", metavar="PACING", help="even (as it is), burst, random or poisson")
    parser.add_argument("--list", metavar="LIST", help=LIST_HELP)
    parser.add_argument("--max-workers", type=int, metavar="N", help="the most calls at a time; later ones wait")
    add_processes(parser)
    parser.add_argument("--timeout", type=length, metavar="TIME", help="of one call: 10, 250ms, 5min")
    add_check(parser)
    add_progress(parser)
    add_outputs(parser, "html", "xlsx", "png", "csv", "json", "log")
    parser.set_defaults(function_of_command=_load, parser=parser)


def stages(text: str) -> list[dict[str, Any]]:
    """30s:200/s,10s:=50/s: stages as the config has them."""
    found = []
    for one in text.split(","):
        duration, colon, rate = one.partition(":")
        if not colon or not rate:
            raise argparse.ArgumentTypeError(f"must be TIME:RATE,TIME:RATE,... such as 30s:200/s,10s:0, got {one!r}")
        step, rate = rate.strip().startswith("="), rate.strip().removeprefix("=")
        nothing = re.fullmatch(r"\s*0+(\.0*)?\s*(/\s*\w+)?\s*", rate)
        found.append({"duration": length(duration), "rate": 0 if nothing else rate, "step": step})
    return found


def _first_line(given: argparse.Namespace) -> str:
    speed = given.rate or "stages of " + ", ".join(f"{one['duration']:g} s" for one in given.stages)
    end = "" if given.duration is None else f" for {given.duration:g} s"
    return f"loading {given.function} with {speed}{end} ...\n"


def _tell_of_short_stages(given: argparse.Namespace) -> None:
    whole = sum(one["duration"] for one in given.stages or ())
    if given.duration is not None and 0 < whole < given.duration:
        tell("load", f"the load ends with its stages, after {whole:g} s; --duration {given.duration:g} s is longer")


def _load(given: argparse.Namespace) -> int:
    if given.rate is None and given.stages is None:  # not required of the parser, as --list of `run`
        given.parser.error("one of the arguments --rate --stages is required")
    if given.stages is None and given.duration is None and given.list is None:
        given.parser.error("a --rate has no end of its own: give --duration, or a --list")
    refuse_checks(given)
    refuse_early(given)
    _tell_of_short_stages(given)
    worker, most = shape(given, given.max_workers, "--max-workers")
    mode = {"enabled": True, **given_of(given, "rate", "stages", "pacing", "duration")}
    mode |= {} if most is None else {"max_workers": most}
    task = {"function": load_target(given.function), "list": given.list and tasks_of("load", given.list)}
    config = {
        "verbose": False,
        "task": task | given_of(given, "timeout"),
        "worker": worker | {"frequency_mode": mode},
        "progress": not given.quiet if given.progress is None else given.progress,
    }

    def reported(run: Run) -> Report:
        made = report(run, title=given.function, checks=given.check, verbose=not given.quiet)
        if not given.quiet:
            say("")
        return made

    def opening() -> None:
        if not given.quiet:
            say(_first_line(given))

    return drive(config, given, reported, opening)
