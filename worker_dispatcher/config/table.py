"""The options for people to read, made from the declarations so that it cannot differ from them."""

from __future__ import annotations

import textwrap

from worker_dispatcher.config.declare import options
from worker_dispatcher.config.options import Config

_WIDTH = 79  # of a terminal, with a margin


def option_table() -> str:
    """Markdown, a row for each option that this version has; ends in a newline."""
    rows = [("option", "type", "default", "description"), ("---",) * 4]
    for path, option in options(Config).items():
        rows.append((f"`{path}`", option.rule.kind, option.shown, option.description))
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def option_text() -> str:
    """The same for a terminal: name, type and default of each option, and what it means below."""
    lines = []
    for path, option in options(Config).items():
        head = f"{path}  ({option.rule.kind}; default {option.shown})"
        lines += textwrap.wrap(head, _WIDTH, subsequent_indent="        ", break_on_hyphens=False)
        lines += textwrap.wrap(option.description, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines) + "\n"
