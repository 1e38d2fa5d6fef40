"""What the PNG picture shows, read from the figure that is drawn: nothing lies over anything else."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from made_logs import ALL_FAILED, MIXED, ONE, due, log, many

from worker_dispatcher.reports.outputs.picture import write_picture
from worker_dispatcher.reports.report_data import ReportData
from worker_dispatcher.reports.run_data import RunData

FEW_WORKERS = [due(log(n, n * 0.1, 0.1, worker=1), n * 0.001) for n in range(5000)]
RUNS = {"one": ONE, "failed": ALL_FAILED, "mixed": MIXED, "long": many(2000, seconds=20_000), "few": FEW_WORKERS}
every_run = pytest.mark.parametrize("logs", RUNS.values(), ids=RUNS.keys())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that draws logs, and gives the figure as it was written."""
    from matplotlib.figure import Figure

    figures: list[Any] = []
    save = Figure.savefig

    def kept(figure: Any, *given: Any, **more: Any) -> None:
        figures.append(figure)
        save(figure, *given, **more)

    def draw(logs: list[dict[str, Any]], checks: tuple[str, ...] = ()) -> Any:
        write_picture(ReportData(RunData(logs), "Orders", checks), io.BytesIO())
        return figures.pop()

    monkeypatch.setattr(Figure, "savefig", kept)
    return draw


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [one.get_text() for one in figure.findobj(Text)]


@every_run
def test_nothing_lies_over_another_text_or_leaves_the_picture(logs: list[dict[str, Any]], drawn: Any) -> None:
    retried = [one | {"attempts": 3, "phase": "main" if at % 2 else "warmup"} for at, one in enumerate(logs)]
    for figure in (drawn(logs), drawn(retried, ("p99<1ms", "tps>1e9", "failed==0", "success_rate>99%"))):
        assert_nothing_overlaps(figure)


def assert_nothing_overlaps(figure: Any) -> None:
    boxes = {text.get_text(): text.get_window_extent() for text in figure.texts if text.get_text()}
    for number, axes in enumerate(figure.axes):
        boxes[f"title {number}"] = axes._left_title.get_window_extent()
        boxes[f"legend {number}"] = axes.get_legend().get_window_extent()
    over = [(one, two) for one, two in itertools.combinations(boxes, 2) if boxes[one].overlaps(boxes[two])]
    outside = [name for name, box in boxes.items() if box.x0 < 0 or box.y0 < 0 or box.x1 > 1280 or box.y1 > 900]
    assert (over, outside) == ([], [])


def test_the_picture_has_the_units_of_the_page(drawn: Any) -> None:
    short, long = drawn(MIXED), drawn(RUNS["long"])
    assert "Latency (ms)" in texts(short)
    assert "seconds since the start" in texts(short)
    assert "hours since the start" in texts(long)
    latency = short.axes[1]
    times = [one["duration"] * 1e3 for one in MIXED]
    assert max(times) == pytest.approx(max(max(line.get_ydata()) for line in latency.lines[:3]))


def test_the_picture_says_that_its_rate_is_that_of_the_successes(drawn: Any) -> None:
    assert "successes,\nwhole run" in texts(drawn(MIXED))


def test_the_picture_of_a_run_without_a_failure_has_no_colour_for_one(drawn: Any) -> None:
    assert "failed" not in texts(drawn(ONE))
    assert "failed" in texts(drawn(MIXED))


def test_the_picture_has_the_verdict_of_the_checks(drawn: Any) -> None:
    assert "2 checks: 1 FAIL: p99<1ms (observed 250 ms)" in texts(drawn(ONE, ("p99<1ms", "failed==0")))
    assert "2 checks: all hold" in texts(drawn(ONE, ("p99<1s", "failed==0")))
    assert "1 check: holds" in texts(drawn(ONE, ("failed==0",)))
    assert not any("check" in text for text in texts(drawn(ONE)))
