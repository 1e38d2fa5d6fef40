"""A report as one PNG picture: the headline and four charts of the page."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from worker_dispatcher.reports.check import Verdict
from worker_dispatcher.reports.outputs import load
from worker_dispatcher.reports.outputs.figures import COLORS, Figure, charts_of
from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.safe_text import printable
from worker_dispatcher.units import count_text, counted, round_seconds_text

_INCHES = (12.8, 9.0)
_SENTENCE = 170  # characters that fit in a line of the headline


def write_picture(report: ReportData, file: BinaryIO) -> None:
    """Draw and write; 1280 x 900 pixels. ImportError without matplotlib."""
    # A figure of its own, without pyplot: nothing of the caller's figures or backend is touched.
    figure = load("png").Figure(figsize=_INCHES, dpi=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a title may have signs that the font has not
        _headline(report, figure)
        if len(report.run.rows):
            axes = figure.subplots(2, 2, gridspec_kw={"top": 0.735, "bottom": 0.06, "left": 0.06, "right": 0.98})
            figure.subplots_adjust(hspace=0.4, wspace=0.16)
            step = round_seconds_text(report.bins.step)
            for drawn, place in zip(charts_of(report), axes.flat, strict=True):
                _draw(drawn, place, step)
                place.spines[["top", "right"]].set_visible(False)
                place.grid(alpha=0.25)
                place.set_axisbelow(True)
        else:
            _say(figure, 0.5, 0.45, report.nothing or "No task ran.", ha="center", fontsize=14)
        figure.savefig(file, format="png")


def _headline(report: ReportData, figure: Any) -> None:
    _say(figure, 0.03, 0.955, printable(report.title, 90), fontsize=17, fontweight="bold")
    health = report.health
    if health is not None:
        color = "#5d6878" if health.ok else "#c23a4d"
        sentence = "\n".join(textwrap.wrap(health.sentence, _SENTENCE))
        _say(figure, 0.03, 0.945, sentence, fontsize=9.5, color=color, va="top")
    remarks = ".  ".join(remark[:1].upper() + remark[1:] for remark in report.remarks)
    _say(figure, 0.03, 0.81, printable(remarks, _SENTENCE), fontsize=8, color="#5d6878")
    if report.verdict is not None:
        look = {"color": "#5d6878" if report.verdict else "#c23a4d", "fontsize": 8}
        _say(figure, 0.03, 0.79, printable(_checks(report.verdict), _SENTENCE), **look)
    for index, (name, value, note) in enumerate(report.headline):
        left = 0.03 + index * 0.108
        _say(figure, left, 0.895, name, fontsize=9, color="#5d6878")
        _say(figure, left, 0.868, value, fontsize=14 if len(value) < 10 else 10, fontweight="bold")
        _say(figure, left, 0.86, note.replace(", ", ",\n"), fontsize=8, color="#5d6878", va="top")


def _checks(verdict: Verdict) -> str:
    """How many hold, and those that do not."""
    failed = [f"{one.expression} (observed {one.seen})" for one in verdict.findings if not one.holds]
    count = len(verdict.findings)
    held = "all hold" if not failed else f"{count_text(len(failed))} FAIL: {', '.join(failed)}"
    return f"{counted(count, 'check')}: {held if count > 1 or failed else 'holds'}"


def _say(figure: Any, x: float, y: float, text: str, **look: Any) -> None:
    figure.text(x, y, text, parse_math=False, **look)  # a dollar sign is no formula


_TITLES = {
    "rates": "Tasks per second",
    "percentiles": "Latency",
    "spread": "Tasks by latency",
    "in-flight": "In flight",
}


def _draw(figure: Figure, place: Any, step: str) -> None:
    """A chart of the page. step: the length of a bin."""
    below: Any = 0.0  # the bars so far: they stand on each other
    for trace in figure.data:
        x, y = (np.array(trace[axis], np.float64) for axis in "xy")
        if trace["type"] == "bar":
            place.bar(x, y, trace["width"], below, color=trace["marker"]["color"], label=trace["name"])
            below += y
            continue
        line, level = trace["line"], trace["line"].get("shape") == "hv"
        look = {"color": line["color"], "label": trace["name"], "lw": line["width"], "ls": _LINES[line.get("dash")]}
        look |= {"marker": ".", "ms": 3} if "marker" in trace else {}
        place.plot(x, y, drawstyle="steps-post" if level else "default", **look)
        if "fill" in trace:
            place.fill_between(x, y, step="post" if level else None, color=line["color"], alpha=0.5, lw=0)
    for shade in figure.layout.get("shapes", ()):
        place.axvspan(shade["x0"], shade["x1"], label="peak", color=COLORS["p95"], alpha=0.18, zorder=0)
    place.margins(x=0)
    _scale(place.set_xscale, place.xaxis, figure.layout["xaxis"])
    _scale(place.set_yscale, place.yaxis, figure.layout["yaxis"])
    unit = {"rates": f"per {step}", "percentiles": figure.layout["yaxis"]["title"]["text"]}.get(figure.name)
    below = figure.layout["xaxis"]["title"]["text"] or "logarithmic scale"
    _name(place, _TITLES[figure.name] + (f" ({unit})" if unit else ""), below)


_LINES = {"solid": "-", "dot": ":", None: "-"}


def _scale(set_scale: Callable[[str], object], axis: Any, said: Mapping[str, Any]) -> None:
    if said.get("type") == "log":
        set_scale("log")
        axis.set_ticks([], minor=True)
        axis.set_ticks(said["tickvals"], said["ticktext"])
    elif said.get("rangemode") == "tozero":
        axis.axes.set_ylim(bottom=0)
        axis.get_major_locator().set_params(integer=said["title"]["text"] == "tasks")


def _name(place: Any, title: str, below: str) -> None:
    """The title over the legend, each in a line of its own: six names of lines are as wide as a chart."""
    place.set_title(title, loc="left", fontsize=10, pad=20)
    place.set_xlabel(below, fontsize=9)
    place.tick_params(labelsize=8)
    names = len(place.get_legend_handles_labels()[1])
    place.legend(fontsize=7.5, frameon=False, ncols=names, loc="lower left", bbox_to_anchor=(-0.02, 0.98))
