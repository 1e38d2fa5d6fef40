"""The option table of README, made from the declarations so that it cannot differ from them."""

from __future__ import annotations

from worker_dispatcher.config.declare import options
from worker_dispatcher.config.options import Config

__all__ = ["option_table"]


def option_table() -> str:
    """Markdown, a row for each option that this version has; ends in a newline."""
    rows = [("option", "type", "default", "description"), ("---",) * 4]
    for path, option in options(Config).items():
        rows.append((f"`{path}`", option.rule.kind, option.shown, option.description))
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
