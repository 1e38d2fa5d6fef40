"""The table of README's "How fast", made from the results files: `python -m benchmarks.how_fast`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS

HEAD = "| | workload | figure | ours | best rival | we are | goal |\n| --- | --- | --- | --- | --- | --- | --- |"
OURS = "worker_dispatcher"
NO_ROWS = ("growth",)  # curves, which have pictures of their own


def table(results: Path = RESULTS) -> str:
    """One line for each case, in the order of the rows; 'we are' above 1x: better than the best rival."""
    answers = (json.loads(path.read_text()) for path in sorted(results.glob("*.json")) if path.stem not in NO_ROWS)
    return "\n".join([HEAD, *(line for answer in answers for line in lines(answer))])


def lines(answer: dict[str, Any]) -> Iterator[str]:
    letter = answer["question"].partition(".")[0]
    for case in answer["cases"]:
        figure = case["headline"]
        medians = {
            one["name"] if one["kind"] == "ours" else f"{one['name']} ({one['kind']})": one["figures"][figure]["median"]
            for one in case["contestants"]
            if one["error"] is None
        }
        rival, times = case["best_rival"], case["ours_to_best_rival"]
        best = f"{medians[rival]:.3g} {rival}" if rival else "-"
        ratio = f"{times:.2f}x" if times else "-"
        met = {one["met"] for one in case.get("goal", ()) if one["met"] is not None}
        goal = "-" if not met else "met" if all(met) else "missed in part" if any(met) else "missed"
        yield f"| {letter} | {case['case']} | `{figure}` | {medians[OURS]:.3g} | {best} | {ratio} | {goal} |"


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
