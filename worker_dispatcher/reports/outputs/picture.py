"""A report as one PNG picture: the headline and four charts."""

from __future__ import annotations

import warnings
from typing import Any, BinaryIO

import numpy as np

from worker_dispatcher.reports.digest import Digest
from worker_dispatcher.reports.outputs.extras import load
from worker_dispatcher.reports.outputs.figures import COLORS
from worker_dispatcher.reports.timeline import histogram, in_flight_over_time, percentiles_over_time, round_lengths
from worker_dispatcher.reports.wording import printable, round_seconds_text

__all__ = ["write_picture"]

_INCHES = (12.8, 9.0)
_PERCENTS = (50, 95, 99)


def write_picture(digest: Digest, file: BinaryIO) -> None:
    """Draw and write; 1280 x 900 pixels. ImportError without matplotlib."""
    # A figure of its own, without pyplot: nothing of the caller's figures or backend is touched.
    figure = load("png").Figure(figsize=_INCHES, dpi=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a title may have signs that the font has not
        _headline(digest, figure)
        if len(digest.facts.rows):
            axes = figure.subplots(2, 2, gridspec_kw={"top": 0.82, "bottom": 0.07, "left": 0.06, "right": 0.98})
            figure.subplots_adjust(hspace=0.36, wspace=0.16)
            for draw, place in zip((_rates, _percentiles, _spread, _in_flight), axes.flat, strict=True):
                draw(digest, place)
                place.spines[["top", "right"]].set_visible(False)
                place.grid(alpha=0.25)
                place.set_axisbelow(True)
        else:
            _say(figure, 0.5, 0.45, "No task ran, so there is nothing to draw.", ha="center", fontsize=14)
        figure.savefig(file, format="png")


def _headline(digest: Digest, figure: Any) -> None:
    _say(figure, 0.03, 0.955, printable(digest.title, 90), fontsize=17, fontweight="bold")
    health = digest.health
    if health is not None:
        color = "#5d6878" if health.ok else "#c23a4d"
        _say(figure, 0.03, 0.925, health.sentence, fontsize=10, color=color)
    for index, (name, value, _) in enumerate(digest.headline):
        left = 0.03 + index * 0.108
        _say(figure, left, 0.895, name, fontsize=9, color="#5d6878")
        _say(figure, left, 0.865, value, fontsize=14, fontweight="bold")


def _say(figure: Any, x: float, y: float, text: str, **look: Any) -> None:
    figure.text(x, y, text, parse_math=False, **look)  # a dollar sign is no formula


def _rates(digest: Digest, place: Any) -> None:
    bins, peak = digest.bins, digest.peak
    good, bad = bins.succeeded / bins.step, bins.failed / bins.step
    place.stairs(good, bins.edges, fill=True, color=COLORS["succeeded"], label="succeeded")
    place.stairs(good + bad, bins.edges, baseline=good, fill=True, color=COLORS["failed"], label="failed")
    if digest.facts.rows.queue_delays is not None:
        place.stairs(bins.offered / bins.step, bins.edges, color=COLORS["offered"], label="offered")
    if peak:
        low, high = peak["started_at"] - digest.facts.began, min(peak["ended_at"], digest.facts.ended)
        place.axvspan(max(0.0, low), high - digest.facts.began, color="#e0952f", alpha=0.18, label="peak", zorder=0)
    _name(place, f"Tasks per second (per {round_seconds_text(bins.step)})", "seconds since the start")


def _percentiles(digest: Digest, place: Any) -> None:
    facts, bins = digest.facts, digest.bins
    middles = bins.edges[:-1] + bins.step / 2
    columns = [(facts.rows.times, "-", "")]
    if facts.rows.response_times is not None:
        columns.append((facts.rows.response_times, ":", " due"))
    for column, dash, suffix in columns:
        lines = percentiles_over_time(facts, column, bins, _PERCENTS)
        for percent, line in zip(_PERCENTS, lines, strict=True):
            color = COLORS[f"p{percent}"]
            place.plot(middles, line, dash, marker=".", ms=3, color=color, label=f"p{percent}{suffix}")
    place.set_ylim(bottom=0)
    _name(place, "Latency in seconds", "seconds since the start")


def _spread(digest: Digest, place: Any) -> None:
    rows = digest.facts.rows
    columns = [("from start", rows.times, COLORS["p50"])]
    if rows.response_times is not None:
        columns.append(("from due time", rows.response_times, COLORS["p95"]))
    found = histogram(*(column for _, column, _ in columns))
    for (label, _, color), counts in zip(columns, found.counts, strict=True):
        place.stairs(counts, found.edges, fill=True, color=color, alpha=0.5, label=label)
    place.set_xscale("log")
    ticks = round_lengths(float(found.edges[0]), float(found.edges[-1]))
    place.set_xticks([], minor=True)
    place.set_xticks(ticks, [round_seconds_text(length) for length in ticks])
    _name(place, "Tasks by latency", "a scale of powers")


def _in_flight(digest: Digest, place: Any) -> None:
    mean, most = in_flight_over_time(digest.facts, digest.bins)
    place.stairs(mean, digest.bins.edges, fill=True, color=COLORS["p50"], alpha=0.6, label="mean")
    place.stairs(most.astype(np.float64), digest.bins.edges, color=COLORS["p95"], label="most")
    _name(place, "Tasks in flight", "seconds since the start")


def _name(place: Any, title: str, below: str) -> None:
    place.set_title(title, loc="left", fontsize=10)
    place.set_xlabel(below, fontsize=9)
    place.tick_params(labelsize=8)
    names = len(place.get_legend_handles_labels()[1])
    place.legend(fontsize=7.5, frameon=False, ncols=names, loc="lower right", bbox_to_anchor=(1.01, 0.98))
