"""The page's charts as plain data: what plotly.js is given for each. No plotly is needed to make them.

Texts that a chart shows are read by plotly.js as a small HTML: every text of a task or a worker is escaped here.
Colours of text and grid are the page's own (page.js), so that a chart follows light and dark.
"""

from __future__ import annotations

import html
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.reports import timeline
from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.rows import Floats
from worker_dispatcher.reports.safe_text import shown
from worker_dispatcher.units import rate_text, round_seconds_text, seconds_text, share_text

COLORS = {
    "succeeded": "#2f8f6b",
    "failed": "#d1495b",
    "offered": "#7a869a",
    "p50": "#4c8ed9",
    "p95": "#e0952f",
    "p99": "#b04fc0",
    "peak": "rgba(224, 149, 47, 0.18)",
}
_PERCENTS = (50, 95, 99)
_MOST_LANES = 64
_OUTLIER = 30  # times the usual: an even scale would show one peak over a flat line


class Figure(NamedTuple):
    """name: of the element; title, note: text beside it; data, layout: plotly.js; height: pixels; wide: own row."""

    name: str
    title: str
    note: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int = 300
    wide: bool = False


class Unit(NamedTuple):
    """How a length of time is drawn: seconds times `factor`, named `name`."""

    factor: float
    name: str

    @staticmethod
    def of_run(seconds: float) -> Unit:
        if seconds >= 3 * 3600:
            return Unit(1 / 3600, "hours")
        return Unit(1 / 60, "minutes") if seconds >= 600 else Unit(1.0, "seconds")

    @staticmethod
    def of_latency(seconds: float) -> Unit:
        return Unit(1.0, "s") if seconds >= 1 else Unit(1e3, "ms") if seconds >= 1e-3 else Unit(1e6, "us")


def figures_of(report: ReportData) -> list[Figure]:
    """All charts, in the order of the page; none for a run without a well-formed log."""
    if not len(report.run.rows):
        return []
    workers = [_workers(report, _unit_of(report))] if report.run.workers[1] else []
    return [*charts_of(report), *workers]


def charts_of(report: ReportData) -> list[Figure]:
    """The four that every run with a well-formed log has."""
    time = _unit_of(report)
    return [_rates(report, time), _percentiles(report, time), _spread(report), _in_flight(report, time)]


def _unit_of(report: ReportData) -> Unit:
    return Unit.of_run(report.run.ended - report.run.began)


def _rates(report: ReportData, time: Unit) -> Figure:
    bins = report.bins
    middles = _numbers((bins.edges[:-1] + bins.step / 2) * time.factor)
    width = bins.step * time.factor
    data = [_bars("succeeded", middles, bins.succeeded / bins.step, width)]
    if bins.failed.any():
        data.append(_bars("failed", middles, bins.failed / bins.step, width))
    if report.run.rows.queue_delays is not None:
        data.append(_steps("offered", bins.edges * time.factor, bins.offered / bins.step, COLORS["offered"]))
    layout = _layout(f"{time.name} since the start", "tasks per second") | {"barmode": "stack", "bargap": 0.05}
    peak, note = report.peak, f"per {round_seconds_text(bins.step)}; a task counts where it ended"
    if peak:
        low = max(0.0, peak["started_at"] - report.run.began) * time.factor
        high = min(peak["ended_at"], report.run.ended) - report.run.began
        shade = {"type": "rect", "xref": "x", "yref": "paper", "x0": low, "x1": high * time.factor, "y0": 0, "y1": 1}
        layout["shapes"] = [shade | {"fillcolor": COLORS["peak"], "line": {"width": 0}, "layer": "below"}]
        note += f"; shaded: the peak of successes, {rate_text(peak['tps'])} over {seconds_text(peak['duration'])}"
    return Figure("rates", "Tasks per second", note, data, layout)


def _percentiles(report: ReportData, time: Unit) -> Figure:
    run, bins = report.run, report.bins
    columns = [(report.from_start, run.rows.times, "solid")]
    if run.rows.response_times is not None:
        columns.append(("from due time", run.rows.response_times, "dot"))
    lines = {name: timeline.percentiles_over_time(run, column, bins, _PERCENTS) for name, column, _ in columns}
    drawn = np.concatenate([line for found in lines.values() for line in found])
    unit = Unit.of_latency(float(np.nanmax(drawn, initial=0)))
    middles = _numbers((bins.edges[:-1] + bins.step / 2) * time.factor)
    data = []
    for name, _, dash in columns:
        for percent, line in zip(_PERCENTS, lines[name], strict=True):
            label = f"p{percent} due" if name == "from due time" else f"p{percent}"
            trace = _line(label, middles, _numbers(line * unit.factor), COLORS[f"p{percent}"], dash=dash)
            data.append(trace | {"mode": "lines+markers", "marker": {"size": 3}})
    note = f"of the tasks that ended in each {round_seconds_text(bins.step)}"
    note += f"; {report.from_start}" if report.run.retries[0] else ""
    if len(columns) > 1:
        note += "; dotted: from when the task was due, which counts its waiting"
    layout = _layout(f"{time.name} since the start", unit.name)
    positive = drawn[drawn > 0]
    if len(positive) and positive.max() > _OUTLIER * np.median(positive):
        layout["yaxis"] |= {"type": "log", "rangemode": "normal", "title": {"text": ""}}
        layout["yaxis"] |= _length_ticks(float(positive.min()), float(positive.max()), unit)
        note += "; logarithmic scale"
    return Figure("percentiles", "Latency over time", note, data, layout)


def _spread(report: ReportData) -> Figure:
    rows = report.run.rows
    columns = [(report.from_start, rows.times, COLORS["p50"])]
    if rows.response_times is not None:
        columns.append(("from due time", rows.response_times, COLORS["p95"]))
    found = timeline.histogram(*(column for _, column, _ in columns))
    unit = Unit.of_latency(float(found.edges[-1]))
    # A point for each corner: a bar on a logarithmic scale has no width of its own.
    corners = _numbers(np.repeat(found.edges, 2) * unit.factor)
    data = []
    for (name, _, color), counts in zip(columns, found.counts, strict=True):
        heights = [0, *np.repeat(counts, 2).tolist(), 0]
        data.append(_line(name, corners, heights, color) | {"fill": "tozeroy", "line": {"color": color, "width": 1}})
    layout = _layout("", "tasks")
    layout["xaxis"] |= {"type": "log"} | _length_ticks(float(found.edges[0]), float(found.edges[-1]), unit)
    return Figure("spread", "Latency histogram", "how many tasks took how long; logarithmic scale", data, layout)


def _length_ticks(low: float, high: float, unit: Unit) -> dict[str, Any]:
    """Ticks of a logarithmic scale: at round lengths, each with its own unit."""
    ticks = timeline.round_lengths(low, high)
    return {"tickvals": [tick * unit.factor for tick in ticks], "ticktext": [round_seconds_text(one) for one in ticks]}


def _in_flight(report: ReportData, time: Unit) -> Figure:
    mean, most = timeline.in_flight_over_time(report.run, report.bins)
    edges = report.bins.edges * time.factor
    data = [
        _steps("most", edges, most, COLORS["p95"]),
        _steps("mean", edges, mean, COLORS["p50"]) | {"fill": "tozeroy"},
    ]
    layout = _layout(f"{time.name} since the start", "tasks")
    return Figure("in-flight", "In flight", "tasks running at a time", data, layout)


def _workers(report: ReportData, time: Unit) -> Figure:
    """A row per worker; each task a bar where they can be told apart, else how busy the worker was."""
    run = report.run
    names = run.workers[1]
    exact = len(run.rows) <= timeline.MOST_BARS and len(names) <= _MOST_LANES
    data, lanes = _task_bars(report, time) if exact else _busy(report, time)
    layout = _layout(f"{time.name} since the start", "worker")
    layout["yaxis"] |= {"type": "category", "autorange": "reversed", "fixedrange": True}
    layout["yaxis"] |= {"categoryorder": "array", "categoryarray": lanes, "showgrid": False}
    layout |= {"barmode": "overlay", "bargap": 0.2, "hovermode": "closest"}
    note = "each bar is a task" if exact else "the darker, the busier; too many tasks to draw each"
    # Under load workers come and go with the rate, so one that has ended early waited for nobody.
    tails = timeline.idle_tails(run) if run.rows.queue_delays is None else None
    if tails is not None:
        note += f"; {share_text(tails.idle, 1)} of the workers' time passed idle at the end"
        note += "" if run.sessions is None else " of the last session"
        if tails.alone > 0.05 * (run.ended - run.began):
            task = html.escape(shown(run.log(tails.row).get("task_id"), 40))
            note += f", waiting for worker {html.escape(tails.last)} (task {task}), "
            note += f"{seconds_text(tails.alone)} after all others"
    height = 110 + (20 if len(lanes) <= 24 else 11) * len(lanes)
    return Figure("workers", "Workers", note, data, layout, height, True)


def _task_bars(report: ReportData, time: Unit) -> tuple[list[dict[str, Any]], list[str]]:
    run = report.run
    codes, names = run.workers
    lanes = [html.escape(name) for name in names]
    data = []
    for name, kind in (("succeeded", run.rows.ok), ("failed", ~run.rows.ok)):
        picked = np.flatnonzero(kind & (codes >= 0))
        if not len(picked):
            continue
        starts = (run.rows.starts[picked] - run.began) * time.factor
        lengths = (run.rows.ends[picked] - run.rows.starts[picked]) * time.factor
        hover = [
            f"task {html.escape(shown(run.log(row).get('task_id'), 40))}, {seconds_text(took)}"
            for row, took in zip(picked.tolist(), run.rows.times[picked].tolist(), strict=True)
        ]
        color = COLORS[name]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "base": _numbers(starts),
                "x": _numbers(lengths),
                "y": [lanes[code] for code in codes[picked].tolist()],
                "hovertext": hover,
                "hoverinfo": "text",
                "marker": {"color": color, "line": {"color": "rgba(255, 255, 255, 0.5)", "width": 0.5}},
            }
        )
    return data, lanes


def _busy(report: ReportData, time: Unit) -> tuple[list[dict[str, Any]], list[str]]:
    busy = timeline.busy_shares(report.run)
    lanes = [html.escape(name) for name in busy.names]
    trace = {
        "type": "heatmap",
        "x": _numbers(busy.edges * time.factor),
        "y": lanes,
        "z": [_numbers(np.round(100 * row, 1)) for row in busy.shares],
        "zmin": 0,
        "zmax": 100,
        "colorscale": [[0, "rgba(76, 142, 217, 0.06)"], [1, "#1f5fa8"]],
        "hovertemplate": "worker %{y}: %{z} % busy<extra></extra>",
        "showscale": False,
    }
    return [trace], lanes


def _bars(name: str, x: list[float | None], y: Floats, width: float) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": name,
        "x": x,
        "y": _numbers(y),
        "width": width,
        "marker": {"color": COLORS[name], "line": {"width": 0}},
    }


def _line(name: str, x: list[float | None], y: list[Any], color: str, *, dash: str = "solid") -> dict[str, Any]:
    line = {"color": color, "dash": dash, "width": 1.6}
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line}


def _steps(name: str, edges: Floats, heights: Floats | NDArray[Any], color: str) -> dict[str, Any]:
    """A line that is level over each bin."""
    trace = _line(name, _numbers(edges), _numbers(np.append(heights, heights[-1:])), color)
    trace["line"]["shape"] = "hv"
    return trace


def _layout(x: str, y: str) -> dict[str, Any]:
    return {
        "xaxis": {"title": {"text": x, "standoff": 8}, "zeroline": False, "automargin": True},
        "yaxis": {"title": {"text": y, "standoff": 8}, "rangemode": "tozero", "automargin": True},
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        "hovermode": "x unified",
    }


def _numbers(values: Floats | NDArray[Any]) -> list[float | None]:
    """Short numbers, None for NaN: a page with a million digits is slow, and JSON knows no NaN."""
    return [None if value != value else float(f"{value:.6g}") for value in np.asarray(values, np.float64).tolist()]
