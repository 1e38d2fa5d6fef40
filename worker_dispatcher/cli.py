"""The command `worker-dispatcher`; floor 5."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from worker_dispatcher.config import option_table

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, or 2 for a usage that is none (argparse raises SystemExit itself)."""
    parser = argparse.ArgumentParser(prog="worker-dispatcher", description="Run many calls and never lose the run.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("options", help="all options of the config: type, default, meaning")
    parser.parse_args(arguments)
    print(option_table())
    return 0
