"""`report`: what a run on disk says."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from worker_dispatcher.cli.ending import BAD, CHECK_FAILED, OK, CannotRun, held, tell
from worker_dispatcher.cli.help_text import EXIT_CODES_OF_FILES, add_command
from worker_dispatcher.cli.outputs import Written, add_outputs, refuse_early
from worker_dispatcher.cli.shape import add_check, refuse_checks
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal.file import is_database
from worker_dispatcher.reporting import report
from worker_dispatcher.zipped import lines_of

if TYPE_CHECKING:
    from worker_dispatcher.reports.report import Report
    from worker_dispatcher.reports.run_data import RunData

_ABOUT = """
    Show what a run on disk says: outcomes, percentiles, the rate over time, and
    what failed. The run may still be writing to its journal.
"""
_MORE = """
    examples
      worker-dispatcher report run.jsonl
      worker-dispatcher report run.db --html run.html --xlsx run.xlsx
      worker-dispatcher report run.jsonl --check 'p95<300ms' --check 'failed==0'
"""
RUN_HELP = "a log that --log wrote (JSON lines, may be gzipped; - is standard input), or a journal"


def add(commands: Any) -> None:
    parser = add_command(
        commands, "report", "show what a run on disk says", _ABOUT, _MORE, EXIT_CODES_OF_FILES, usage="RUN [options]"
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    add_check(parser)
    add_outputs(parser, "html", "xlsx", "png", "csv", "json")
    parser.set_defaults(function_of_command=_report)


def read(path: str, **options: Any) -> Report:
    """The report of a run on disk. CannotRun for a file that has none."""
    try:
        made = report(_of_standard_input() if path == "-" else path, **options)
        _ = made.verdict  # a check may ask for what is not known of this run
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror or error}") from None
    except (JournalError, ValueError) as error:
        raise CannotRun(str(error)) from None
    if not (made.run.logs or made.run.info or (os.path.isfile(path) and is_database(path))):
        raise CannotRun(f"{'standard input' if path == '-' else path}: is empty: there is no log in it")
    return made


def _of_standard_input() -> RunData:
    from worker_dispatcher.reports.run_data import run_data_of_lines

    if sys.stdin is None:
        raise CannotRun("-: standard input is closed")
    return run_data_of_lines(lines_of(sys.stdin.buffer, "standard input"), "standard input")


def _report(given: argparse.Namespace) -> int:
    refuse_checks(given)
    refuse_early(given)
    made = read(given.run, title=given.run, checks=given.check)
    report(made, verbose=True)
    with held() as pressed:
        written = Written(given)
        written.rest(made)
    if written.files:
        say(f"written: {', '.join(written.files)}")
    if written.problems:
        tell("report", "; ".join(written.problems))
        return BAD
    if pressed():
        raise KeyboardInterrupt
    return OK if made.verdict is None or made.verdict else CHECK_FAILED
