"""The command `worker-dispatcher`, also as `python -m worker_dispatcher`; floor 6.

    main ── commands/, a module each: run  load  report  compare  jobs  options  doctor  demo
              |
              +── target.py    module:function -> the function; its folder among the places to import from
              +── tasks.py     --list -> the tasks, read while the run goes on
              +── shape.py     options that become the config, and a ConfigError in their names
              +── driving.py   a run that Ctrl-C may end at any time: what is done comes back
              +── outputs.py   --log, --html, ...: refused before anything starts, written whole; spool.py: long results
              +── ending.py    exit codes, signals, and what a command cannot do; help_text.py: how --help looks
              +── streams.py   standard output and error: what could not be written is found out

A command is a function of the parsed arguments that returns the exit code. It may raise CannotRun (one message, exit
code 2) or KeyboardInterrupt (130). The room has no state and no threads; everything is said through dispatch.banner.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn, TypeAlias

from worker_dispatcher.cli.ending import BAD, CHECK_FAILED, CannotRun, end_with, interruptible, tell
from worker_dispatcher.cli.help_text import EXIT_CODES, Help, paragraphs
from worker_dispatcher.cli.streams import is_absent, output_apart, reason_lost, watch_outputs
from worker_dispatcher.dispatch.interrupt import Presses
from worker_dispatcher.units import rate_in, seconds_in

_Parsers: TypeAlias = dict[str, argparse.ArgumentParser]
COMMANDS = ("run", "load", "report", "compare", "jobs", "options", "doctor", "demo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code. argparse raises SystemExit itself, for --help and for a usage that is none."""
    given = argparse.Namespace(command=None, is_program=arguments is None)
    watch_outputs()
    with Presses(goes_on=True) as presses:
        try:
            code = _code(arguments, given, presses)
        except SystemExit:
            if _all_was_said(given):
                raise
            return BAD
        code = code if code > CHECK_FAILED or _all_was_said(given) else BAD
        if arguments is None:
            end_with(code)
            presses.told()
        return code


def _all_was_said(given: argparse.Namespace) -> bool:
    """False where standard output did not take all: a full disk, a closed descriptor. Standard error says so."""
    if reason := reason_lost(sys.stdout):
        tell(given.command, f"not all could be printed, standard output: {reason}")
    return not reason


def _code(arguments: Sequence[str] | None, given: argparse.Namespace, presses: Presses) -> int:
    with interruptible() as code_of_signal:
        try:
            with presses.raising:
                return _run(arguments, given)
        except CannotRun as refusal:
            tell(given.command, str(refusal))
            return BAD
        except KeyboardInterrupt as interrupt:
            presses.told()
            tell(given.command, f"interrupted: {interrupt}" if interrupt.args else "interrupted")
            return code_of_signal()


def _run(arguments: Sequence[str] | None, given: argparse.Namespace) -> int:
    parser, commands = _parsers()
    _expect_command(parser, sys.argv[1:] if arguments is None else arguments)
    _, strange = parser.parse_known_args(arguments, given)
    if strange:
        _refuse(strange, given, commands.get(given.command, parser), commands)
    if given.command is None:
        parser.print_help()
        return BAD
    function: Callable[[argparse.Namespace], int] = given.function_of_command
    if getattr(given, "log", None) != "-":
        return function(given)
    if is_absent(sys.stdout):
        raise CannotRun("--log -: standard output is closed")
    with output_apart() as given.output_of_log:
        return function(given)


def _refuse(
    arguments: list[str], given: argparse.Namespace, parser: argparse.ArgumentParser, commands: _Parsers
) -> NoReturn:
    """End with the usage of the command that was meant, and with the commands that have such an option, or with the
    name that is most like the one given."""
    import difflib  # 2 ms, and only a wrong command line needs it

    strange, command = arguments[0], given.command
    name = strange.partition("=")[0]
    owners = [one for one, other in commands.items() if name in _options_of(other)]
    text = f"unknown argument {strange}"
    if owners:
        text += f"; it is an option of {', '.join(owners)}"
    if owners and (command is None or command in owners):
        text += ", to be given after the name of the command"
    elif command == "run" and "report" in owners:
        text += f": give --log run.jsonl here, then worker-dispatcher report run.jsonl {name} FILE"
    elif strange == "-" or not strange.startswith("-"):
        text += f"; did you mean {meant}?" if (meant := _meant(arguments, given, _options_of(parser))) else ""
    elif near := difflib.get_close_matches(name, _options_of(parser), 1, cutoff=0.8 if owners else 0.6):
        text += f"; did you mean {near[0]}?"
    parser.error(text)


def _meant(arguments: list[str], given: argparse.Namespace, known: list[str]) -> str:
    """What to type for values that have no option before them; empty where nothing fits."""
    import shlex  # only a wrong command line needs it

    value = arguments[0]
    suffix = value.rpartition(".")[2].lower()
    fits = {
        "--check": re.search(r"[<>=]", value),
        f"--{suffix}": suffix in ("html", "xlsx", "png") or (suffix in ("csv", "json") and "--list" not in known),
        "--stages": ":" in value and given.command == "load" and given.rate is None,
        "--rate": rate_in(value) and given.command == "load" and given.stages is None,
        "--duration": seconds_in(value),
        "--max-workers": value.isdecimal(),
        "--list": True,
        "--workers": value.isdecimal(),
    }
    for option, fit in fits.items():
        if fit and option in known and not getattr(given, option[2:].replace("-", "_")):
            return f"{option} {shlex.quote(value)}"
    if given.command == "report" and len(arguments) == 1:
        return f"worker-dispatcher compare {shlex.quote(given.run)} {shlex.quote(value)}"
    return ""


def _expect_command(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """End with the command that is most like the one given, where there is none of its name."""
    if not arguments or arguments[0].startswith("-") or arguments[0] in COMMANDS:
        return
    import difflib  # 2 ms, and only a wrong command line needs it

    near = difflib.get_close_matches(arguments[0], COMMANDS, 1) or [f"one of {', '.join(COMMANDS)}"]
    parser.error(f"there is no command {arguments[0]}; did you mean {near[0]}?")


def _options_of(parser: argparse.ArgumentParser) -> list[str]:
    listed = re.findall(r"^  (?:-\w, )?--[a-z-].*$", parser.format_help(), re.MULTILINE)
    return [name for line in listed for name in re.findall(r"--[a-z-]+", line.strip().partition("  ")[0])]


def _parsers() -> tuple[argparse.ArgumentParser, _Parsers]:
    """The parser of the command line, and those of its commands by name."""
    from worker_dispatcher import __version__

    parser = argparse.ArgumentParser(
        prog="worker-dispatcher",
        description="Run many calls and never lose the run.",
        epilog=paragraphs(
            """
            first steps
              worker-dispatcher doctor                      is this machine ready?
              worker-dispatcher demo                        see it work
              worker-dispatcher run orders:fetch --list orders.txt --workers 20
              worker-dispatcher COMMAND --help              examples for each command
            """,
            EXIT_CODES,
        ),
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=f"worker-dispatcher {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name in COMMANDS:
        import_module(f"{__name__}.commands.{name}").add(commands)
    return parser, commands.choices
