"""The table of benchmarks/README.md and the headline of README.md, made from the results files.

`python -m benchmarks.how_fast` writes both into the pages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS

HEAD = (
    "| | workload | figure | ours | best rival | we are | two cores: ours | best rival | we are | goal |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)
OURS = "worker_dispatcher"
NO_ROWS = ("growth",)  # curves, which have pictures of their own
ROOT = Path(__file__).resolve().parents[1]
HEADLINE = {  # which rows, and how to say them
    ("a_noop", "1e5 no-op tasks"): "tasks that do nothing, in processes",
    ("d_cpu_long", "2 000 x 1 ms"): "tasks that compute for 1 ms, in processes",
    ("f_arrays", "40 x 10 MB in and out"): "arrays of 10 MB, to tasks and back",
    ("h_threads", "1e5 no-op tasks, threads"): "tasks that do nothing, in threads",
}


@dataclass(frozen=True)
class Line:
    """What one run says of a case and a shape of ours. ours, rival: as they are shown; ratio: how many times better we
    are than the best rival; None without one."""

    figure: str
    ours: str
    rival: str
    ratio: float | None
    goal: str

    def cells(self) -> str:
        return f"{self.ours} | {self.rival} | {'-' if self.ratio is None else f'{self.ratio:.2f}x'}"


Place = tuple[str, str]  # the letter of the row, and the workload


def table(results: Path = RESULTS) -> str:
    """One line for each case and shape of ours, in the order of the rows: what a machine of four cores says, and beside
    it one of two, where that says something else."""
    many, two = (lines_of(results / folder) for folder in (".", "2_cores"))
    rows = []
    for letter, workload in sorted({**many, **two}, key=lambda place: place[0]):
        usual, fewer = many.get((letter, workload)), two.get((letter, workload))
        first = usual or fewer
        assert first is not None
        there = usual.cells() if usual else NOTHING
        beside = fewer.cells() if fewer and differs(usual, fewer) else NOTHING
        rows.append(f"| {letter} | {workload} | `{first.figure}` | {there} | {beside} | {first.goal} |")
    return "\n".join([HEAD, *rows])


NOTHING = "| |"
TENTH = 1.1


def differs(usual: Line | None, fewer: Line) -> bool:
    """True where we stand to the best rival otherwise by more than a tenth, or where there is nothing to compare."""
    if usual is None or usual.ratio is None or fewer.ratio is None:
        return True
    return max(usual.ratio, fewer.ratio) > TENTH * min(usual.ratio, fewer.ratio)


def lines_of(folder: Path) -> dict[Place, Line]:
    answers = (json.loads(path.read_text()) for path in sorted(folder.glob("*.json")) if path.stem not in NO_ROWS)
    return {place: line for answer in answers for place, line in lines(answer)}


def lines(answer: dict[str, Any]) -> Iterator[tuple[Place, Line]]:
    letter = answer["question"].partition(".")[0]
    for case in answer["cases"]:
        figure = case["headline"]
        medians = {
            one["name"] if one["kind"].startswith("ours") else f"{one['name']} ({one['kind']})": value
            for one in case["contestants"]
            if one["error"] is None
            for value in [one["figures"][figure]["median"]]
        }
        rival = case["best_rival"]
        best = f"{medians[rival]:.3g} {rival}" if rival else "-"
        for ours in (name for name in medians if name.startswith(OURS)):
            shape = ours.removeprefix(OURS).strip(" ,")
            workload = f"{case['case']}: {shape}" if shape else case["case"]
            ratio = advantage(case, medians, ours) if rival else None
            yield (letter, workload), Line(figure, f"{medians[ours]:.3g}", best, ratio, reached(case, ours))


def advantage(case: dict[str, Any], medians: dict[str, float], ours: str) -> float:
    """How many times better than the best rival a shape of ours is, from what is written of the first of them."""
    first, rival, times = medians[OURS], medians[case["best_rival"]], float(case["ours_to_best_rival"])
    more_is_better = abs(times - first / rival) < abs(times - rival / first)
    return times * (medians[ours] / first if more_is_better else first / medians[ours])


def reached(case: dict[str, Any], ours: str) -> str:
    met = {one["met"] for one in case.get("goal", ()) if one["met"] is not None and one["by"] == ours}
    return "-" if not met else "met" if all(met) else "missed in part" if any(met) else "missed"


def headline(results: Path = RESULTS) -> str:
    """The ratios that README.md shows, a line each."""
    said = []
    for (file, name), words in HEADLINE.items():
        answer = json.loads((results / f"{file}.json").read_text())
        (case,) = (case for case in answer["cases"] if case["case"] == name)
        said.append(f"* {float(case['ours_to_best_rival']):.2f}: {words}")
    return "\n".join(said)


def pages(root: Path = ROOT) -> dict[Path, str]:
    """How the pages read with what the results say now, by their paths."""
    parts = ((root / "README.md", "headline", headline()), (root / "benchmarks" / "README.md", "how fast", table()))
    return {path: filled(path.read_text(encoding="utf-8"), mark, part) for path, mark, part in parts}


def filled(text: str, mark: str, part: str) -> str:
    opening, closing = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
    between = re.compile(re.escape(opening) + ".*?" + re.escape(closing), re.DOTALL)
    new, found = between.subn(lambda _: f"{opening}{part}\n{closing}", text)
    assert found == 1, f"{found} parts between {opening.strip()} and {closing}"
    return new


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
