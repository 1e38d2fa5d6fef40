"""`options`: the options of the config, made from the declarations so that it cannot differ from them."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from worker_dispatcher.cli.ending import OK
from worker_dispatcher.cli.help_text import add_command
from worker_dispatcher.config.declare import options
from worker_dispatcher.config.options import Config
from worker_dispatcher.dispatch.banner import print as say

_WIDTH = 79  # of a terminal, with a margin


def add(commands: Any) -> None:
    about = "All options of the config that worker_dispatcher.start() takes."
    parser = add_command(commands, "options", "all options of the config of start(): type, default, meaning", about)
    parser.set_defaults(function_of_command=_options)


def _options(_given: argparse.Namespace) -> int:
    say("A dot is a level: worker.number is {'worker': {'number': ...}}\n")
    say(_option_text(), end="")
    return OK


def option_table() -> str:
    """Markdown, a row for each option that this version has; ends in a newline."""
    rows = [("option", "type", "default", "description"), ("---",) * 4]
    for path, option in options(Config).items():
        rows.append((f"`{path}`", option.rule.kind, option.shown, option.description))
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def _option_text() -> str:
    """The same for a terminal: name, type and default of each option, and what it means below."""
    lines = []
    for path, option in options(Config).items():
        head = f"{path}  ({option.rule.kind}; default {option.shown})"
        lines += textwrap.wrap(head, _WIDTH, subsequent_indent="        ", break_on_hyphens=False)
        lines += textwrap.wrap(option.description, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines) + "\n"
