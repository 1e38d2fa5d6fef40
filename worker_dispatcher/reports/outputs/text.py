"""A report as text for a terminal: what came of the tasks, how long they took, the rate over time, what failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.safe_text import printable, sparkline, text_width, wrapped
from worker_dispatcher.units import count_text, counted, rate_text, round_seconds_text, seconds_text, share_text

_WIDEST = 79  # characters of a line of the widest text
_MOST_GROUPS = 10
_LEAST_WIDTH = 8  # of a number in a table
_NAMES = 16  # columns of what a row of a table is about


def report_text(report: ReportData, *, ascii_only: bool = False, columns: int | None = None) -> str:
    """Lines for a terminal of 40 to 80 columns, without a last line end; a wider one gets no longer ones.

    ascii_only: no other characters; columns: None for those of the terminal, or of the variable COLUMNS.
    """
    width = text_width(columns)
    lines = [
        *_first_lines(report, width),
        *_outcomes(report),
        *_latencies(report, width),
        *_rate(report, ascii_only, width),
        *_failures(report, width),
        *_checks(report, width),
    ]
    text = "\n".join(lines)
    return text.encode("ascii", "backslashreplace").decode() if ascii_only else text


def _first_lines(report: ReportData, width: int) -> Iterator[str]:
    health, tps = report.health, report.tps
    if health is not None:
        yield from wrapped(health.sentence if health.ok else f"WARNING: {health.sentence}", width)
        yield ""
    if report.nothing:
        yield from wrapped(report.nothing, width)
        return
    counts = report.run.counts
    rate, peak = rate_text(tps["tps"]), report.peak
    if tps["count"]["success"] < tps["count"]["total"]:
        rate += " succeeded"
    tasks = counted(sum(counts.values()), "task", report.run.total)
    if report.run.phases:
        tasks += f", {count_text(tps['count']['total'])} measured"
    first = (
        f"{tasks} in {seconds_text(tps['duration'])}   {rate}"
        + (f", peak {rate_text(peak['tps'])} over {seconds_text(peak['duration'])}" if peak else "")
        + f"   in flight {count_text(tps['in_flight']['max'])}"
    )
    yield from wrapped(first, width, "  ")
    if report.stopped:
        yield from wrapped(f"stopped early: {report.stopped}", width, "  ")
    for remark in report.remarks:
        yield from wrapped(remark, width, "  ")


def _outcomes(report: ReportData) -> Iterator[str]:
    counts = report.run.counts
    total = sum(counts.values())
    if report.nothing:
        return
    yield ""
    for name, count in report.run.outcomes.items():
        yield f"{name:<{_NAMES}}{count_text(count):>12}{share_text(count, total):>10}"
    invalid = report.tps["count"]["invalidity"]
    if invalid:
        yield f"{'malformed':<{_NAMES}}{count_text(invalid):>12}   logs, left out"


def _latencies(report: ReportData, width: int) -> Iterator[str]:
    """A column for each percentile; where there is no room for that, a row."""
    table = report.latencies
    if not table:
        return
    yield ""
    names, columns = list(next(iter(table.values()))), [list(map(seconds_text, one.values())) for one in table.values()]
    rows = [["latency", *names], *([of, *texts] for of, texts in zip(table, columns, strict=True))]
    lines = _aligned(rows, _NAMES)
    if max(map(len, lines)) > width:
        heads = [of.rpartition(" ") for of in table]  # on two lines: they are longer than the numbers
        turned = zip(names, *columns, strict=True)
        lines = _aligned([["latency", *(head[0] for head in heads)], ["", *(head[2] for head in heads)], *turned], 7)
    yield from lines


def _aligned(rows: Iterable[Sequence[str]], first: int) -> list[str]:
    """first: columns of the names of the rows."""
    rows = list(rows)
    width = 1 + max(_LEAST_WIDTH, *(len(cell) for _, *cells in rows for cell in cells))
    return [f"{name:<{first}}" + "".join(f"{cell:>{width}}" for cell in cells) for name, *cells in rows]


def _rate(report: ReportData, ascii_only: bool, width: int) -> Iterator[str]:
    bins = report.bins
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


def _failures(report: ReportData, width: int) -> Iterator[str]:
    """A line each; what tasks said may make it longer, so it is only wrapped where there is little room."""
    groups = report.run.failures
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


def _checks(report: ReportData, width: int) -> Iterator[str]:
    if report.verdict is None:
        return
    yield ""
    yield "checks"
    for finding in report.verdict.findings:
        yield from wrapped(f"  {finding}", width, " " * 8)
