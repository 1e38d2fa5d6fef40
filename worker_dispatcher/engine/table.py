"""The jobs of an engine as a table, once or live."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TextIO

from worker_dispatcher.clock import wall
from worker_dispatcher.engine.job import Job
from worker_dispatcher.engine.status import FINAL, RUNNING, STATUSES
from worker_dispatcher.units import counted, seconds_text

_MOST = 20  # rows of a live table: those that run, then those that have ended last
_COLORS = {"running": "cyan", "done": "green", "failed": "red", "cancelled": "magenta"}
_EVERY = 0.25  # seconds from one picture to the next

Row = tuple[str, str, str, str, str]
HEAD: Row = ("job", "kind", "status", "attempts", "took")


def row_of(job: Job) -> Row:
    """A job in words: name, kind, status, attempts, how long it has run or took."""
    took = ""
    if job.begun_at:
        took = seconds_text(max(0.0, (job.ended_at or wall()) - job.begun_at))
    return job.name, type(job).__name__.removesuffix("Job"), job.status, str(job.attempts or ""), took


def text_of(jobs: Sequence[Job]) -> str:
    """A table in plain text, jobs in their order, with a line of counts below."""
    rows = [HEAD, *(row_of(job) for job in jobs)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, counts_of(jobs)]) + "\n"


def counts_of(jobs: Sequence[Job]) -> str:
    """'3 jobs: 1 running, 2 done'."""
    statuses = [job.status for job in jobs]
    counts = [f"{statuses.count(status)} {status}" for status in STATUSES if status in statuses]
    return counted(len(jobs), "job") + (f": {', '.join(counts)}" if counts else "")


@contextmanager
def live(jobs: Callable[[], Sequence[Job]], stream: TextIO | None) -> Iterator[None]:
    """Show the jobs while the block runs: a table where the package rich is there, else a line of counts. Nothing where
    the stream is no terminal."""
    stream = sys.stderr if stream is None else stream
    if stream is None or not stream.isatty():
        yield
    elif find_spec("rich") is not None:
        with _rich_table(jobs, stream):
            yield
    else:
        with _line(jobs, stream):
            yield


def _chosen(jobs: Sequence[Job]) -> list[Job]:
    """The rows for which there is room."""
    running = [job for job in jobs if job.status == RUNNING]
    ended = sorted((job for job in jobs if job.status in FINAL), key=lambda job: job.ended_at)
    room = max(0, _MOST - len(running))
    return [*(ended[-room:] if room else []), *running[:_MOST]]


@contextmanager
def _rich_table(jobs: Callable[[], Sequence[Job]], stream: TextIO) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    def picture() -> Any:
        known = jobs()
        table = Table(*HEAD, caption=counts_of(known))
        for job in _chosen(known):
            name, kind, status, *rest = row_of(job)
            color = _COLORS.get(status, "white")
            table.add_row(name, kind, f"[{color}]{status}[/{color}]", *rest)
        return table

    with Live(get_renderable=picture, console=Console(file=stream), refresh_per_second=1 / _EVERY):
        yield


@contextmanager
def _line(jobs: Callable[[], Sequence[Job]], stream: TextIO) -> Iterator[None]:
    over = threading.Event()

    def show() -> None:
        while True:
            ended = over.wait(_EVERY)
            stream.write(f"\r\x1b[K{counts_of(jobs())}" + ("\n" if ended else ""))
            stream.flush()
            if ended:
                return

    thread = threading.Thread(target=show, name="live-table", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
