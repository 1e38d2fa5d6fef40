"""`options`: the options of the config."""

from __future__ import annotations

import argparse
from typing import Any

from worker_dispatcher.cli.ending import OK
from worker_dispatcher.dispatch.banner import print as say


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "options",
        help="all options of the config of start(): type, default, meaning",
        description="All options of the config that worker_dispatcher.start() takes.",
    )
    parser.set_defaults(function_of_command=_options)


def _options(_given: argparse.Namespace) -> int:
    from worker_dispatcher.config.table import option_text

    say("A dot is a level: worker.number is {'worker': {'number': ...}}\n")
    say(option_text(), end="")
    return OK
