"""Options of a command that become options of the config, and the config's complaints in their names."""

from __future__ import annotations

import argparse
import re
from typing import Any

from worker_dispatcher.cli.ending import CannotRun
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.units import seconds_in

# Where an option of the config comes from, so that a complaint about it names what was typed.
_TYPED = {
    "journal": "--journal",
    "progress": "--progress",
    "task.function": "the function",
    "task.list": "--list",
    "task.retries": "--retries",
    "task.timeout": "--timeout",
    "worker.backend": "--dask",
    "worker.number": "--workers",
    "worker.parallel_processing.processes": "--grid",
    "worker.use_processing": "--processes",
    **{f"worker.frequency_mode.{name}": f"--{name}" for name in ("duration", "pacing", "rate", "stages")},
    "worker.frequency_mode.max_workers": "--max-workers",
}


def add_processes(parser: argparse._ActionsContainer) -> None:
    """--processes and --grid: where tasks run, if not in threads."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--processes", action="store_true", help="workers are processes: for work that computes")
    where.add_argument(
        "--grid", type=grid, metavar="PxT", help="so many processes of so many threads each, such as 4x8"
    )
    parser.add_argument("--dask", metavar="ADDRESS", help="run on a Dask cluster: tcp://HOST:PORT, or 'local'")
    parser.add_argument(
        "--tls", nargs=3, metavar=("CA", "CERT", "KEY"), help="with --dask tls://HOST:PORT: three PEM files"
    )


def add_progress(parser: argparse._ActionsContainer) -> None:
    """--progress, --no-progress and --quiet."""
    parser.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, help="a bar, or a line every 10 s; as the terminal has it"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but what went wrong")


def add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check", action="append", default=[], metavar="CHECK", help="such as 'p99<300ms'; may be given again"
    )


def refuse_checks(given: argparse.Namespace) -> None:
    """Raise CannotRun, before anything starts, for what is no check."""
    if not given.check:
        return
    from worker_dispatcher.reports.check import expect_checks

    try:
        expect_checks(given.check)
    except ValueError as error:
        raise CannotRun(str(error)) from None


def shape(given: argparse.Namespace, most: int | None, option: str) -> tuple[dict[str, Any], int | None]:
    """Where tasks run, as options of `worker`, and how many at a time; None if nobody said. most: what `option` said,
    which --grid says too. CannotRun if both do."""
    cluster = _cluster(given)
    if given.grid is None:
        return cluster | ({"use_processing": True} if given.processes else {}), most
    processes, threads = given.grid
    if most is not None:
        raise CannotRun(f"--grid {processes}x{threads} says how many tasks run at a time; leave {option} out")
    return cluster | {"parallel_processing": {"enabled": True, "processes": processes}}, processes * threads


def _cluster(given: argparse.Namespace) -> dict[str, Any]:
    if given.dask is None:
        if given.tls is not None:
            raise CannotRun("--tls says how to reach a Dask cluster; say which: --dask tls://HOST:PORT")
        return {}
    backend: dict[str, Any] = {"type": "dask", "address": None if given.dask == "local" else given.dask}
    if given.tls is not None:
        backend["security"] = dict(zip(("ca", "cert", "key"), given.tls, strict=True))
    return {"backend": backend}


def given_of(given: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that were typed; the others keep the defaults of the config."""
    return {name: value for name in names if (value := getattr(given, name)) is not None}


def grid(text: str) -> tuple[int, int]:
    """4x8: processes, threads of each."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be PROCESSESxTHREADS such as 4x8, got {text!r}")
    return int(found[1]), int(found[2])


def length(text: str) -> float:
    """A length of time in seconds: 10, 0.5, 250ms, 90s, 5min, 1m30s, 1h."""
    below = text.strip().startswith("-")  # the config says what is wrong with that
    seconds = seconds_in(text.strip().removeprefix("-"))
    if seconds is None:
        raise argparse.ArgumentTypeError(f"must be a time such as 10, 250ms, 90s, 5min or 1m30s, got {text!r}")
    return -seconds if below else seconds


def renamed(error: ConfigError) -> str:
    """The text of a ConfigError, with the option that was typed before the config's own name for it."""
    return str(
        ConfigError((f"{_TYPED[path]} ({path})" if path in _TYPED else path, text) for path, text in error.problems)
    )
