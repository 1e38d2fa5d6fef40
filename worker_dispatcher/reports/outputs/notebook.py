"""A report as a piece of HTML for a notebook: no script, no plotly, a few KB."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from worker_dispatcher.reports.digest import Digest
from worker_dispatcher.reports.outputs.figures import COLORS
from worker_dispatcher.reports.wording import printable
from worker_dispatcher.units import count_text, round_seconds_text, seconds_text

__all__ = ["notebook_html"]

_WIDTH, _HEIGHT = 640, 90  # pixels of the picture
_MOST_GROUPS = 5


def notebook_html(digest: Digest) -> str:
    """Headline, tasks per second, latencies and the most frequent failures."""
    parts = ['<div style="font-size:0.92em;max-width:60em">']
    if digest.health is not None and not digest.health.ok:
        parts.append(f'<p style="color:{COLORS["failed"]}"><b>{_safe(digest.health.sentence)}</b></p>')
    parts.append(_table([[name for name, _, _ in digest.headline], [value for _, value, _ in digest.headline]]))
    parts += [f"<p>{_safe(remark)}</p>" for remark in digest.remarks]
    if len(digest.facts.rows):
        parts.append(_picture(digest))
    if digest.latencies:
        rows = [[row.of, *map(seconds_text, row.values.values())] for row in digest.latencies]
        parts.append(_table([["latency", *digest.latencies[0].values], *rows]))
    if digest.facts.failures:
        groups = digest.facts.failures[:_MOST_GROUPS]
        found = [[count_text(one.count), one.type[:60], one.place, one.message[:120]] for one in groups]
        parts.append(_table([["failures", "type", "line", "first message"], *found]))
    return "".join([*parts, "</div>"])


def _safe(text: str) -> str:
    return escape(printable(text))


def _table(rows: Iterable[Iterable[str]]) -> str:
    head, *body = [list(row) for row in rows]
    lines = [f"<tr>{''.join(f'<th>{_safe(cell)}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in row)}</tr>" for row in body]
    return f"<table>{''.join(lines)}</table>"


def _picture(digest: Digest) -> str:
    """Bars of what succeeded and failed per bin, as SVG."""
    bins = digest.bins
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
