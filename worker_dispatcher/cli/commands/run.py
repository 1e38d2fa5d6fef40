"""`run`: call a function for each task of a list."""

from __future__ import annotations

import argparse
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from worker_dispatcher.cli.driving import drive
from worker_dispatcher.cli.help_text import EXIT_CODES, add_command
from worker_dispatcher.cli.outputs import add_outputs, refuse_early
from worker_dispatcher.cli.shape import add_check, add_processes, add_progress, given_of, length, refuse_checks, shape
from worker_dispatcher.cli.target import TARGET_HELP, load_target
from worker_dispatcher.cli.tasks import LIST_HELP, tasks_of
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.errors import JournalError
from worker_dispatcher.reporting import report

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.run import Run
    from worker_dispatcher.reports.report import Report

_ABOUT = """
    Call a function for each task of a list, many at a time. Each task ends with
    a named outcome, even if it raises, hangs, or takes its process down with it.
"""
_MORE = """
    what the function gets
      def fetch(task): ...           a line of the list, without its line end
      def fetch(id, metadata): ...   those of id (from 1), task, metadata (a dict
                                     for notes), config ({}) that it names
      With a count instead of lines, task is an empty dict. An empty line is a
      task too. A coroutine function (async def) is awaited.

    examples
      worker-dispatcher run orders:fetch --list orders.txt --workers 20
      worker-dispatcher run sizes.py:measure --list 1000 --processes
      find . -name '*.jpg' | worker-dispatcher run thumb:small --list - --grid 4x8
      worker-dispatcher run orders:fetch --list o.txt --timeout 10 --retries 2 \\
          --log run.jsonl && worker-dispatcher report run.jsonl
      worker-dispatcher run orders:fetch --list o.txt --check 'error_rate<1%' \\
          --check 'p99<2s'
"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "run",
        "call a function for each task of a list",
        _ABOUT,
        _MORE,
        EXIT_CODES,
        usage="module:function --list LIST [options]",
    )
    parser.add_argument("function", metavar="module:function", help=TARGET_HELP)
    parser.add_argument("--list", metavar="LIST", help=LIST_HELP)
    parser.add_argument("--workers", type=int, metavar="N", help="how many tasks run at a time; else one per core")
    add_processes(parser)
    parser.add_argument("--timeout", type=length, metavar="TIME", help="of one attempt: 10, 250ms, 5min")
    parser.add_argument("--retries", type=int, metavar="N", help="how often a failed task is tried again")
    parser.add_argument("--journal", metavar="FILE", help="keep results here; the same command again runs the rest")
    add_check(parser)
    add_progress(parser)
    add_outputs(parser, "log")
    parser.set_defaults(function_of_command=_run, parser=parser)


def _run(given: argparse.Namespace) -> int:
    if given.list is None:  # not required of the parser, so that a list without its option is answered with that
        given.parser.error("the following arguments are required: --list")
    refuse_checks(given)
    refuse_early(given)
    worker, number = shape(given, given.workers, "--workers")
    task = {"function": load_target(given.function), "list": tasks_of("run", given.list)}
    config = {
        "verbose": not given.quiet,
        "task": task | given_of(given, "timeout", "retries"),
        "worker": worker | ({} if number is None else {"number": number}),
        **given_of(given, "journal", "progress"),
    }
    return drive(config, given, partial(_checked, given) if given.check else None)


def _checked(given: argparse.Namespace, run: Run) -> Report:
    """The report of all that its journal has, where there is one: what an earlier run did counts too."""
    from worker_dispatcher.reports.run_data import RunData

    source: Run | RunData = run
    if given.journal is not None:
        with suppress(JournalError, OSError):  # taken away, and the run has said so
            source = RunData(report(given.journal).run.logs, run.info)
    made = report(source, checks=given.check)
    if not given.quiet:
        say(f"checks\n{made.verdict}")
    return made
