"""A report as text for a terminal: what came of the tasks, how long they took, the rate over time, what failed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from worker_dispatcher.reports.digest import Digest
from worker_dispatcher.reports.wording import (
    count_text,
    printable,
    rate_text,
    round_seconds_text,
    seconds_text,
    share_text,
    sparkline,
)
from worker_dispatcher.units import counted

__all__ = ["report_text"]

_WIDTH = 79  # of a terminal, with a margin
_MOST_GROUPS = 10
_LEAST_WIDTH = 8  # of a number in a table


def report_text(digest: Digest, *, ascii_only: bool = False) -> str:
    """Lines under 80 characters, but for what tasks said, without a last line end. ascii_only: no other characters."""
    lines = [
        *_first_lines(digest),
        *_outcomes(digest),
        *_latencies(digest),
        *_rate(digest, ascii_only),
        *_failures(digest),
        *_checks(digest),
    ]
    text = "\n".join(lines)
    return text.encode("ascii", "backslashreplace").decode() if ascii_only else text


def _first_lines(digest: Digest) -> Iterator[str]:
    health, tps = digest.health, digest.tps
    if health is not None:
        yield from textwrap.wrap(health.sentence if health.ok else f"WARNING: {health.sentence}", _WIDTH)
        yield ""
    counts = digest.facts.counts
    measured = tps["count"]["total"] if digest.facts.phases else sum(counts.values())
    rate, peak = rate_text(tps["tps"]), digest.peak
    if tps["count"]["success"] < tps["count"]["total"]:
        rate += " succeeded"
    yield (
        f"{counted(measured, 'task', digest.facts.total)} in {seconds_text(tps['duration'])}   {rate}"
        + (f", peak {rate_text(peak['tps'])} over {seconds_text(peak['duration'])}" if peak else "")
        + f"   in flight {count_text(tps['in_flight']['max'])}"
    )
    if digest.stopped:
        yield f"stopped early: {digest.stopped}"
    if digest.facts.phases:
        shown = ", ".join(f"{name} {count_text(count)}" for name, count in digest.facts.phases.items())
        yield f"phases: {shown}; the numbers are of the main phase"


def _outcomes(digest: Digest) -> Iterator[str]:
    counts = digest.facts.counts
    total = sum(counts.values())
    yield ""
    for name, count in digest.outcomes:
        yield f"{name:<16}{count_text(count):>12}{share_text(count, total):>10}"
    invalid = digest.tps["count"]["invalidity"]
    if invalid:
        yield f"{'malformed':<16}{count_text(invalid):>12}   logs, left out"


def _latencies(digest: Digest) -> Iterator[str]:
    table = digest.latencies
    if not table:
        return
    yield ""
    rows = [("latency", list(table[0].values))]
    rows += [(row.of, [seconds_text(value) for value in row.values.values()]) for row in table]
    width = 1 + max(_LEAST_WIDTH, *(len(cell) for _, cells in rows for cell in cells))  # so that 80 columns do
    yield from (f"{name:<16}" + "".join(f"{cell:>{width}}" for cell in cells) for name, cells in rows)


def _rate(digest: Digest, ascii_only: bool) -> Iterator[str]:
    bins = digest.bins
    ended = bins.succeeded + bins.failed
    if not ended.any():
        return
    per_line = -(-len(ended) // 60)  # joined so that the line fits
    sums = [int(ended[low : low + per_line].sum()) for low in range(0, len(ended), per_line)]
    length = bins.step * per_line
    yield ""
    yield f"ended per second {sparkline(sums, ascii_only=ascii_only)}"
    yield f"                 up to {rate_text(max(sums) / length)}; {round_seconds_text(length)} each"


def _failures(digest: Digest) -> Iterator[str]:
    groups = digest.facts.failures
    if not groups:
        return
    yield ""
    yield "failures"
    for group in groups[:_MOST_GROUPS]:
        ids = group.first_ids(3)
        kind, message = printable(group.type, 30), printable(group.message, 60)
        yield f"  {count_text(group.count):>8}  {kind}  {printable(group.place, 40)}  {message}  {ids}".rstrip()
    if len(groups) > _MOST_GROUPS:
        yield f"  and {counted(len(groups) - _MOST_GROUPS, 'more kind')}"


def _checks(digest: Digest) -> Iterator[str]:
    if digest.verdict is None:
        return
    yield ""
    yield "checks"
    for finding in digest.verdict.findings:
        yield f"  {finding}"
