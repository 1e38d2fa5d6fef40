"""How the help of a command looks."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

_ALL_OK = """
    exit codes
      0    all ok
"""
_FAILED = """\
      1    tasks of a run or a load failed (where there are checks, they decide
           instead); doctor found something to do
"""
_REST = """\
      2    bad config or usage, or standard output is full or closed
      99   a check failed
      130  interrupted by Ctrl-C (143 by SIGTERM); what is done is written
"""
EXIT_CODES = _ALL_OK + _FAILED + _REST
EXIT_CODES_OF_FILES = _ALL_OK.replace("all ok", "all ok; tasks that failed in what is read change nothing") + _REST

EXIT_CODES_OF_STORES = _ALL_OK.replace("all ok", "all ok; jobs that failed change nothing") + _REST.replace(
    "      99   a check failed\n", ""
)


class Help(argparse.RawDescriptionHelpFormatter):
    """Examples stay as they are written; the names of options get room beside what they mean."""

    def __init__(self, prog: str, **more: Any) -> None:
        super().__init__(prog, max_help_position=26, **more)


def add_command(
    commands: Any, name: str, help: str, about: str, *more: str, usage: str | None = None
) -> argparse.ArgumentParser:
    """The parser of a command. about, more: what stands above its options, and below them; usage: what follows its
    name, where that is not to be made of all options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        usage=usage and f"worker-dispatcher {name} {usage}",
        description=paragraphs(about),
        epilog=paragraphs(*more),
        formatter_class=Help,
    )
    return parser


def paragraphs(*texts: str) -> str:
    """Texts of indented source as paragraphs."""
    return "\n\n".join(textwrap.dedent(text).strip() for text in texts)
