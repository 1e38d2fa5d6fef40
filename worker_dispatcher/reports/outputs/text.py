"""A report as text for a terminal: what came of the tasks, how long they took, the rate over time, what failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from worker_dispatcher.reports.digest import Digest
from worker_dispatcher.reports.wording import printable, sparkline, text_width, wrapped
from worker_dispatcher.units import count_text, counted, rate_text, round_seconds_text, seconds_text, share_text

_WIDEST = 79  # characters of a line of the widest text
_MOST_GROUPS = 10
_LEAST_WIDTH = 8  # of a number in a table
_NAMES = 16  # columns of what a row of a table is about


def report_text(digest: Digest, *, ascii_only: bool = False, columns: int | None = None) -> str:
    """Lines for a terminal of 40 to 80 columns, without a last line end; a wider one gets no longer ones.

    ascii_only: no other characters; columns: None for those of the terminal, or of the variable COLUMNS.
    """
    width = text_width(columns)
    lines = [
        *_first_lines(digest, width),
        *_outcomes(digest),
        *_latencies(digest, width),
        *_rate(digest, ascii_only, width),
        *_failures(digest, width),
        *_checks(digest, width),
    ]
    text = "\n".join(lines)
    return text.encode("ascii", "backslashreplace").decode() if ascii_only else text


def _first_lines(digest: Digest, width: int) -> Iterator[str]:
    health, tps = digest.health, digest.tps
    if health is not None:
        yield from wrapped(health.sentence if health.ok else f"WARNING: {health.sentence}", width)
        yield ""
    if digest.nothing:
        yield from wrapped(digest.nothing, width)
        return
    counts = digest.facts.counts
    rate, peak = rate_text(tps["tps"]), digest.peak
    if tps["count"]["success"] < tps["count"]["total"]:
        rate += " succeeded"
    tasks = counted(sum(counts.values()), "task", digest.facts.total)
    if digest.facts.phases:
        tasks += f", {count_text(tps['count']['total'])} measured"
    first = (
        f"{tasks} in {seconds_text(tps['duration'])}   {rate}"
        + (f", peak {rate_text(peak['tps'])} over {seconds_text(peak['duration'])}" if peak else "")
        + f"   in flight {count_text(tps['in_flight']['max'])}"
    )
    yield from wrapped(first, width, "  ")
    if digest.stopped:
        yield from wrapped(f"stopped early: {digest.stopped}", width, "  ")
    for remark in digest.remarks:
        yield from wrapped(remark, width, "  ")


def _outcomes(digest: Digest) -> Iterator[str]:
    counts = digest.facts.counts
    total = sum(counts.values())
    if digest.nothing:
        return
    yield ""
    for name, count in digest.facts.outcomes.items():
        yield f"{name:<{_NAMES}}{count_text(count):>12}{share_text(count, total):>10}"
    invalid = digest.tps["count"]["invalidity"]
    if invalid:
        yield f"{'malformed':<{_NAMES}}{count_text(invalid):>12}   logs, left out"


def _latencies(digest: Digest, width: int) -> Iterator[str]:
    """A column for each percentile; where there is no room for that, a row."""
    table = digest.latencies
    if not table:
        return
    yield ""
    rows = [["latency", *table[0].values], *([row.of, *map(seconds_text, row.values.values())] for row in table)]
    lines = _aligned(rows, _NAMES)
    if max(map(len, lines)) > width:
        (_, *names), *columns = rows
        heads = [of.rpartition(" ") for of, *_ in columns]  # on two lines: they are longer than the numbers
        turned = zip(names, *(values for _, *values in columns), strict=True)
        lines = _aligned([["latency", *(head[0] for head in heads)], ["", *(head[2] for head in heads)], *turned], 7)
    yield from lines


def _aligned(rows: Iterable[Sequence[str]], first: int) -> list[str]:
    """first: columns of the names of the rows."""
    rows = list(rows)
    width = 1 + max(_LEAST_WIDTH, *(len(cell) for _, *cells in rows for cell in cells))
    return [f"{name:<{first}}" + "".join(f"{cell:>{width}}" for cell in cells) for name, *cells in rows]


def _rate(digest: Digest, ascii_only: bool, width: int) -> Iterator[str]:
    bins = digest.bins
    ended = bins.succeeded + bins.failed
    if not ended.any():
        return
    name = "ended per second "
    per_line = -(-len(ended) // (width - len(name) - 2))  # joined so that the line fits
    sums = [int(ended[low : low + per_line].sum()) for low in range(0, len(ended), per_line)]
    length = bins.step * per_line
    yield ""
    yield name + sparkline(sums, ascii_only=ascii_only)
    told = f"up to {rate_text(max(sums) / length)}; {round_seconds_text(length)} each"
    yield told.rjust(len(told) + max(0, min(len(name), width - len(told))))


def _failures(digest: Digest, width: int) -> Iterator[str]:
    """A line each; what tasks said may make it longer, so it is only wrapped where there is little room."""
    groups = digest.facts.failures
    if not groups:
        return
    yield ""
    yield "failures"
    for group in groups[:_MOST_GROUPS]:
        said = printable(group.type, 30), printable(group.place, 40), printable(group.message, 60), group.first_ids(3)
        line = f"  {count_text(group.count):>8}  {'  '.join(filter(None, said))}"
        yield from [line] if width == _WIDEST else wrapped(line, width, " " * 12)
    if len(groups) > _MOST_GROUPS:
        yield f"  and {counted(len(groups) - _MOST_GROUPS, 'more kind')}"


def _checks(digest: Digest, width: int) -> Iterator[str]:
    if digest.verdict is None:
        return
    yield ""
    yield "checks"
    for finding in digest.verdict.findings:
        yield from wrapped(f"  {finding}", width, " " * 8)
