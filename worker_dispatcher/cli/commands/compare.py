"""`compare`: two runs on disk side by side."""

from __future__ import annotations

import argparse
from typing import Any

from worker_dispatcher.cli.commands.report import RUN_HELP, read
from worker_dispatcher.cli.ending import CHECK_FAILED, OK, CannotRun
from worker_dispatcher.cli.help_text import EXIT_CODES_OF_FILES, add_command
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.reports.safe_text import text_width, wrapped

_ABOUT = """
    Compare two runs: percentiles, error rate and rates, and which differences are
    more than chance.
"""
_MORE = """
    what fails
      NAME>CHANGE or NAME<CHANGE, where a change is new - base: in percent of the
      base, in the name's own unit, or as a plain number for error_rate.
      names: p50 p90 p95 p99 response.p50 ... error_rate tps steady_tps

    examples
      worker-dispatcher compare base.jsonl new.jsonl
      worker-dispatcher compare base.jsonl new.jsonl --fail-if 'p95>+10%'
      worker-dispatcher compare base.jsonl new.jsonl --fail-if 'p99>+50ms' \\
          --fail-if 'tps<-5%' --fail-if 'error_rate>+0.01'
"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "compare",
        "compare two runs on disk",
        _ABOUT,
        _MORE,
        EXIT_CODES_OF_FILES,
        usage="BASE NEW [--fail-if CHANGE]...",
    )
    parser.add_argument("base", metavar="BASE", help=RUN_HELP)
    parser.add_argument("new", metavar="NEW", help="the same")
    parser.add_argument(
        "--fail-if", action="append", default=[], metavar="CHANGE", help="such as 'p95>+10%%'; may be given again"
    )
    parser.set_defaults(function_of_command=_compare)


def _compare(given: argparse.Namespace) -> int:
    from worker_dispatcher.reports.compare import compare, judge_changes, read_changes

    try:
        changes = read_changes(given.fail_if)
    except ValueError as error:
        raise CannotRun(str(error)) from None
    if given.base == given.new == "-":
        raise CannotRun("only one of the two can be standard input")
    compared = compare(read(given.base).rows, read(given.new).rows, names=(given.base, given.new))
    say(str(compared))
    verdict = judge_changes(changes, compared)
    if verdict.findings:
        say("\n" + "\n".join(line for one in verdict.findings for line in wrapped(str(one), text_width(None), " " * 6)))
    return OK if verdict else CHECK_FAILED
