"""A report as one PNG picture: the headline and four charts, in the units of the page."""

from __future__ import annotations

import textwrap
import warnings
from typing import Any, BinaryIO

import numpy as np

from worker_dispatcher.reports.check import Verdict
from worker_dispatcher.reports.digest import Digest
from worker_dispatcher.reports.outputs import load
from worker_dispatcher.reports.outputs.figures import COLORS, Unit
from worker_dispatcher.reports.timeline import histogram, in_flight_over_time, percentiles_over_time, round_lengths
from worker_dispatcher.reports.wording import printable
from worker_dispatcher.units import count_text, counted, round_seconds_text

__all__ = ["write_picture"]

_INCHES = (12.8, 9.0)
_PERCENTS = (50, 95, 99)
_SENTENCE = 170  # characters that fit in a line of the headline


def write_picture(digest: Digest, file: BinaryIO) -> None:
    """Draw and write; 1280 x 900 pixels. ImportError without matplotlib."""
    # A figure of its own, without pyplot: nothing of the caller's figures or backend is touched.
    figure = load("png").Figure(figsize=_INCHES, dpi=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a title may have signs that the font has not
        _headline(digest, figure)
        if len(digest.facts.rows):
            axes = figure.subplots(2, 2, gridspec_kw={"top": 0.735, "bottom": 0.06, "left": 0.06, "right": 0.98})
            figure.subplots_adjust(hspace=0.4, wspace=0.16)
            time = Unit.of_run(digest.facts.ended - digest.facts.began)
            for draw, place in zip((_rates, _percentiles, _spread, _in_flight), axes.flat, strict=True):
                draw(digest, place, time)
                place.spines[["top", "right"]].set_visible(False)
                place.grid(alpha=0.25)
                place.set_axisbelow(True)
        else:
            _say(figure, 0.5, 0.45, digest.nothing or "No task ran.", ha="center", fontsize=14)
        figure.savefig(file, format="png")


def _headline(digest: Digest, figure: Any) -> None:
    _say(figure, 0.03, 0.955, printable(digest.title, 90), fontsize=17, fontweight="bold")
    health = digest.health
    if health is not None:
        color = "#5d6878" if health.ok else "#c23a4d"
        sentence = "\n".join(textwrap.wrap(health.sentence, _SENTENCE))
        _say(figure, 0.03, 0.945, sentence, fontsize=9.5, color=color, va="top")
    remarks = ".  ".join(remark[:1].upper() + remark[1:] for remark in digest.remarks)
    _say(figure, 0.03, 0.81, printable(remarks, _SENTENCE), fontsize=8, color="#5d6878")
    if digest.verdict is not None:
        look = {"color": "#5d6878" if digest.verdict else "#c23a4d", "fontsize": 8}
        _say(figure, 0.03, 0.79, printable(_checks(digest.verdict), _SENTENCE), **look)
    for index, (name, value, note) in enumerate(digest.headline):
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


def _rates(digest: Digest, place: Any, time: Unit) -> None:
    bins, peak = digest.bins, digest.peak
    edges = bins.edges * time.factor
    good, bad = bins.succeeded / bins.step, bins.failed / bins.step
    place.stairs(good, edges, fill=True, color=COLORS["succeeded"], label="succeeded")
    if bad.any():
        place.stairs(good + bad, edges, baseline=good, fill=True, color=COLORS["failed"], label="failed")
    if digest.facts.rows.queue_delays is not None:
        place.stairs(bins.offered / bins.step, edges, color=COLORS["offered"], label="offered")
    if peak:
        low = max(0.0, peak["started_at"] - digest.facts.began)
        high = min(peak["ended_at"], digest.facts.ended) - digest.facts.began
        look = {"color": COLORS["p95"], "alpha": 0.18, "zorder": 0}
        place.axvspan(low * time.factor, high * time.factor, label="peak", **look)
    _name(place, f"Tasks per second (per {round_seconds_text(bins.step)})", _since(time))


def _percentiles(digest: Digest, place: Any, time: Unit) -> None:
    facts, bins = digest.facts, digest.bins
    columns = [(facts.rows.times, "-", "")]
    if facts.rows.response_times is not None:
        columns.append((facts.rows.response_times, ":", " due"))
    lines = [percentiles_over_time(facts, column, bins, _PERCENTS) for column, _, _ in columns]
    unit = Unit.of_latency(float(np.nanmax(lines, initial=0)))
    middles = (bins.edges[:-1] + bins.step / 2) * time.factor
    for (_, dash, suffix), found in zip(columns, lines, strict=True):
        for percent, line in zip(_PERCENTS, found, strict=True):
            look = {"marker": ".", "ms": 3, "color": COLORS[f"p{percent}"], "label": f"p{percent}{suffix}"}
            place.plot(middles, line * unit.factor, dash, **look)
    place.set_xlim(0, bins.edges[-1] * time.factor)
    place.set_ylim(bottom=0)
    _name(place, f"Latency ({unit.name})", _since(time))


def _spread(digest: Digest, place: Any, time: Unit) -> None:
    rows = digest.facts.rows
    columns = [(digest.from_start, rows.times, COLORS["p50"])]
    if rows.response_times is not None:
        columns.append(("from due time", rows.response_times, COLORS["p95"]))
    found = histogram(*(column for _, column, _ in columns))
    for (label, _, color), counts in zip(columns, found.counts, strict=True):
        place.stairs(counts, found.edges, fill=True, color=color, alpha=0.5, label=label)
    place.set_xscale("log")
    ticks = round_lengths(float(found.edges[0]), float(found.edges[-1]))
    place.set_xticks([], minor=True)
    place.set_xticks(ticks, [round_seconds_text(length) for length in ticks])
    _name(place, "Tasks by latency", "logarithmic scale")
    place.yaxis.get_major_locator().set_params(integer=True)


def _in_flight(digest: Digest, place: Any, time: Unit) -> None:
    mean, most = in_flight_over_time(digest.facts, digest.bins)
    edges = digest.bins.edges * time.factor
    place.stairs(mean, edges, fill=True, color=COLORS["p50"], alpha=0.6, label="mean")
    place.stairs(most.astype(np.float64), edges, color=COLORS["p95"], label="most")
    _name(place, "Tasks in flight", _since(time))


def _since(time: Unit) -> str:
    return f"{time.name} since the start"


def _name(place: Any, title: str, below: str) -> None:
    """The title over the legend, each in a line of its own: six names of lines are as wide as a chart."""
    place.set_title(title, loc="left", fontsize=10, pad=20)
    place.set_xlabel(below, fontsize=9)
    place.tick_params(labelsize=8)
    names = len(place.get_legend_handles_labels()[1])
    place.legend(fontsize=7.5, frameon=False, ncols=names, loc="lower left", bbox_to_anchor=(-0.02, 0.98))
