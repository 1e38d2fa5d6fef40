"""--check, of the commands that have it."""

from __future__ import annotations

import argparse

from worker_dispatcher.cli.ending import Refused

__all__ = ["add_check", "refuse_checks"]


def add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check", action="append", default=[], metavar="CHECK", help="such as 'p99<300ms'; may be given again"
    )


def refuse_checks(given: argparse.Namespace) -> None:
    """Refused, before anything starts, for what is no check."""
    if not given.check:
        return
    from worker_dispatcher.reports.report import make_report

    try:
        make_report([], checks=given.check)
    except ValueError as error:
        raise Refused(str(error)) from None
