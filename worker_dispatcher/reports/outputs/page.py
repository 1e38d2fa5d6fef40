"""A report as one HTML file that needs no network: interactive charts and tables, light and dark, desk and phone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from worker_dispatcher.reports.outputs import load
from worker_dispatcher.reports.outputs.csv_file import NO_FIELDS, Fields, values_of
from worker_dispatcher.reports.outputs.figures import COLORS, Figure, figures_of
from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.safe_text import printable, shown
from worker_dispatcher.tracebacks import own
from worker_dispatcher.units import count_text, counted, round_seconds_text, seconds_text, share_text

# Nothing is loaded and nothing is sent, whatever a task's text may try.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"


def page_text(report: ReportData, fields: Fields = NO_FIELDS) -> str:
    """The page; about 5 MB, nearly all of it plotly.js. ImportError without plotly.

    fields: more columns for the slowest tasks.
    """
    library = load("html").get_plotlyjs()
    drawn = figures_of(report)
    parts = ["<!DOCTYPE html>", '<html lang="en">', *_head(report), "<body>", *_body(report, drawn, fields)]
    if drawn:
        data = [{"name": figure.name, "data": figure.data, "layout": figure.layout} for figure in drawn]
        # Nothing in it ends a script or starts a comment; json.dumps makes it ASCII.
        plain = json.dumps(data, allow_nan=False).translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"})
        parts += [
            f'<script type="application/json" id="figures">{plain}</script>',
            "<script>" + library.replace("</script", "<\\/script") + "</script>",
            f"<script>{_source('page.js')}</script>",
        ]
    return "\n".join([*parts, "</body>", "</html>", ""])


def _source(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _safe(text: str) -> str:
    return escape(printable(text))


def _head(report: ReportData) -> list[str]:
    return [
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{_safe(report.title)}</title>",
        f"<style>{_source('page.css')}</style>",
        "</head>",
    ]


def _body(report: ReportData, drawn: Sequence[Figure], fields: Fields) -> Iterator[str]:
    yield from _opening(report)
    yield from _cards(report)
    if report.verdict is not None:
        yield from _checks(report)
    yield from _charts(drawn)
    yield '<div class="pair">'
    yield from _latencies(report)
    yield from _outcomes(report)
    yield "</div>"
    yield from _failures(report)
    yield from _slowest(report, fields)
    yield from _settings(report)
    yield f'<footer class="quiet">Made by worker_dispatcher from {counted(len(report.run.reader), "log")}.</footer>'


def _opening(report: ReportData) -> Iterator[str]:
    health, tps = report.health, report.tps
    if health is not None and not health.ok:
        yield f'<p class="banner" role="alert">{_safe(health.sentence)}</p>'
    yield f"<h1>{_safe(report.title)}</h1>"
    if tps["count"]["total"]:
        yield f'<p class="quiet">{_moment(tps["started_at"])}, for {seconds_text(tps["duration"])}</p>'
    else:
        yield f'<p class="quiet">{_safe(report.nothing or "No task ran.")}</p>'
    if health is not None and health.ok:
        yield f'<p class="banner good">{_safe(health.sentence)}</p>'
    if report.stopped:
        yield f'<p class="banner early">Stopped early: {_safe(report.stopped)}</p>'
    for remark in report.remarks:
        yield f'<p class="quiet">{_safe(remark[:1].upper() + remark[1:])}.</p>'
    invalid = tps["count"]["invalidity"]
    if invalid:
        yield f'<p class="quiet">{counted(invalid, "malformed log")} left out.</p>'


def _moment(wall: float) -> str:
    try:
        return datetime.fromtimestamp(wall, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    except own(OverflowError, OSError, ValueError):  # logs may say anything
        return f"{wall:g}"


def _cards(report: ReportData) -> Iterator[str]:
    yield '<div class="cards">'
    for name, value, note in report.headline:
        bad = ' class="card bad"' if name == "Failed" and value != "0" else ' class="card"'
        quiet = f'<span class="quiet">{_safe(note)}</span>'
        yield f'<div{bad}><span class="quiet">{_safe(name)}</span><b>{_safe(value)}</b>{quiet}</div>'
    yield "</div>"


def _checks(report: ReportData) -> Iterator[str]:
    found = report.verdict.findings if report.verdict is not None else ()
    rows = [
        (("holds", "good") if one.holds else ("FAILS", "bad"), (one.expression, ""), (one.seen, "")) for one in found
    ]
    yield from _table("Checks", "", ["", "check", "observed"], rows)


def _charts(drawn: Sequence[Figure]) -> Iterator[str]:
    if drawn:
        yield "<noscript><p>The charts need JavaScript; the tables below do not.</p></noscript>"
    yield '<div class="charts">'
    for figure in drawn:
        wide = ' class="wide"' if figure.wide else ""
        yield f'<section{wide}><h2>{figure.title}</h2><p class="quiet">{figure.note}</p>'
        yield f'<div class="chart" id="{figure.name}" style="height:{figure.height}px"></div></section>'
    yield "</div>"


def _latencies(report: ReportData) -> Iterator[str]:
    """A row per percentile: a phone is narrow."""
    columns = [[(seconds_text(value), "number") for value in values.values()] for values in report.latencies.values()]
    names = [(name, "word") for name in next(iter(report.latencies.values()), ())]
    rows = zip(names, *columns, strict=True)
    yield from _table("Latency", "nearest rank, all tasks that ran", ["", *report.latencies], rows)


def _outcomes(report: ReportData) -> Iterator[str]:
    total = sum(report.run.counts.values())
    rows = [
        ((name, ""), (count_text(count), "number"), (share_text(count, total), "number"))
        for name, count in report.run.outcomes.items()
    ]
    yield from _table("Outcomes", "", ["", "tasks", "share"], rows)


def _failures(report: ReportData) -> Iterator[str]:
    groups = report.run.failures
    if not groups:
        return
    rows = [
        (
            (count_text(group.count), "number"),
            (printable(group.type, 80), "word"),
            (group.place, "word"),
            (printable(group.message, 300), "text"),
            (group.first_ids(5), "ids aside"),
        )
        for group in groups
    ]
    yield from _table("Failures", "by type and line of code", ["tasks", "type", "line", "first message", "first"], rows)


def _slowest(report: ReportData, fields: Fields) -> Iterator[str]:
    known = any(slow.response is not None for slow in report.slowest)
    names = [
        "task",
        "worker",
        "started at",
        "took",
        *(["from due"] if known else []),
        "status",
        "result or error",
        *fields,
    ]
    rows = [
        (
            (slow.task_id, ""),
            (slow.worker, "aside"),
            (seconds_text(slow.started), "number aside"),
            (seconds_text(slow.duration), "number"),
            *([(seconds_text(slow.response), "number")] if known else []),
            (slow.status, "" if slow.status == "ok" else "bad"),
            (slow.said, "text"),
            *((shown(value, 120) if value is not None else "", "text") for value in values_of(fields, log)),
        )
        for slow, log in zip(report.slowest, map(report.run.log, report.run.slowest()), strict=True)
    ]
    yield from _table("Slowest tasks", "", names, rows)


def _settings(report: ReportData) -> Iterator[str]:
    rows = [((name, ""), (value, "text")) for name, value in [*report.machine, *report.settings]]
    if rows:
        yield "<section><details><summary>Configuration and machine</summary>"
        yield from _rows([], rows)
        yield "</details></section>"


Cell = tuple[str, str]
"""(text, classes of the cell). Any text: it is escaped where it is written. aside: left out on a phone; word: a name,
which a phone breaks between its parts."""

# In a name: between the words of ValueError, behind a slash or an underscore, behind the dots of a package.
_SEAM = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[/_])(?=\w)|(?<=\w\.)(?=\w+\.|[A-Z])")


def _table(title: str, note: str, names: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    listed = list(rows)
    yield f'<section><h2>{_safe(title)}</h2><p class="quiet">{_safe(note) if listed else "nothing to show"}</p>'
    if listed:
        yield from _rows(names, listed)
    yield "</section>"


def _rows(names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    yield '<div class="scroll"><table>'
    if names:
        kinds = [" ".join({"number", "aside"} & set(kind.split())) for _, kind in rows[0]]
        yield f"<tr>{''.join(_cell(name, kind, 'th') for name, kind in zip(names, kinds, strict=False))}</tr>"
    for row in rows:
        yield f"<tr>{''.join(_cell(text, kind) for text, kind in row)}</tr>"
    yield "</table></div>"


def _cell(text: str, kind: str, tag: str = "td") -> str:
    shown = "<wbr>".join(map(_safe, _SEAM.split(text))) if kind == "word" else _safe(text)
    return f'<{tag} class="{kind}">{shown}</{tag}>' if kind else f"<{tag}>{shown}</{tag}>"


_WIDTH, _HEIGHT = 640, 90  # pixels of the picture
_MOST_GROUPS = 5


def notebook_html(report: ReportData) -> str:
    """A piece of HTML for a notebook, a few KB without a script: headline, tasks per second, latencies and the most
    frequent failures."""
    parts = ['<div style="font-size:0.92em;max-width:60em">']
    if report.health is not None and not report.health.ok:
        parts.append(f'<p style="color:{COLORS["failed"]}"><b>{_safe(report.health.sentence)}</b></p>')
    parts += _plain([name for name, _, _ in report.headline], [[value for _, value, _ in report.headline]])
    parts += [f"<p>{_safe(remark)}</p>" for remark in report.remarks]
    if len(report.run.rows):
        parts.append(_picture(report))
    if report.latencies:
        rows = [[of, *map(seconds_text, values.values())] for of, values in report.latencies.items()]
        parts += _plain(["latency", *next(iter(report.latencies.values()))], rows)
    if groups := report.run.failures[:_MOST_GROUPS]:
        found = [[count_text(one.count), one.type[:60], one.place, one.message[:120]] for one in groups]
        parts += _plain(["failures", "type", "line", "first message"], found)
    return "".join([*parts, "</div>"])


def _plain(names: Sequence[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    return _rows(names, [[(text, "") for text in row] for row in rows])


def _picture(report: ReportData) -> str:
    """Bars of what succeeded and failed per bin, as SVG."""
    bins = report.bins
    top = int((bins.succeeded + bins.failed).max()) or 1
    width = _WIDTH / len(bins)
    bars = []
    for at, (good, bad) in enumerate(zip(bins.succeeded.tolist(), bins.failed.tolist(), strict=True)):
        low = _HEIGHT * (1 - good / top)
        bars.append(_bar(at * width, low, width, _HEIGHT * good / top, COLORS["succeeded"]) if good else "")
        height = _HEIGHT * bad / top
        bars.append(_bar(at * width, low - height, width, height, COLORS["failed"]) if bad else "")
    title = f"tasks ended per {round_seconds_text(bins.step)}, up to {top}"
    view = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    return f'<svg {view} style="max-width:100%"><title>{title}</title>{"".join(bars)}</svg>'


def _bar(x: float, y: float, width: float, height: float, color: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}" fill="{color}"/>'
