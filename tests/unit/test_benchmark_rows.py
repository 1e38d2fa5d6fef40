"""The rows of the benchmarks can be loaded, which nothing else does until somebody measures, and their table says what
the results say."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import harness, how_fast
from benchmarks.__main__ import ROWS


@pytest.mark.parametrize("row", ROWS)
def test_a_row_can_be_loaded_and_asks_a_question(row: str) -> None:
    found = import_module(f"benchmarks.{row}").ROW
    assert isinstance(found, harness.Row)
    assert "?" in found.question
    assert found.cases


def test_the_table_shows_two_cores_beside_four_where_they_say_something_else(tmp_path: Path) -> None:
    (tmp_path / "2_cores").mkdir()
    write(tmp_path / "a.json", {"same": (2.0, 4.0), "other": (2.0, 4.0), "four": (2.0, 4.0)})
    write(tmp_path / "2_cores" / "a.json", {"same": (1.0, 1.9), "other": (1.0, 1.5), "two": (3.0, 6.0)})

    lines = how_fast.table(tmp_path).splitlines()[2:]
    four, nothing = "2 | 4 rival (default) | 2.00x", "| |"
    assert lines == [
        f"| X | same | `seconds` | {four} | {nothing} | - |",
        f"| X | other | `seconds` | {four} | 1 | 1.5 rival (default) | 1.50x | - |",
        f"| X | four | `seconds` | {four} | {nothing} | - |",
        f"| X | two | `seconds` | {nothing} | 3 | 6 rival (default) | 2.00x | - |",
    ]


def write(path: Path, medians: dict[str, tuple[float, float]]) -> None:
    """A results file with a case of each name; medians: of us and of the rival."""
    cases = []
    for name, (ours, rival) in medians.items():
        figures = {"worker_dispatcher": ("ours", ours), "rival": ("default", rival)}
        contestants = [
            {"name": who, "kind": kind, "error": None, "figures": {"seconds": {"median": median}}}
            for who, (kind, median) in figures.items()
        ]
        case = {
            "case": name,
            "headline": "seconds",
            "best_rival": "rival (default)",
            "ours_to_best_rival": rival / ours,
        }
        cases.append(case | {"contestants": contestants})
    path.write_text(json.dumps({"question": "X. How fast?", "cases": cases}), encoding="utf-8")


def test_a_row_measured_on_fewer_cores_leaves_the_results_of_four_alone() -> None:
    assert harness.results_of_cores(4) == harness.results_of_cores(64) == harness.RESULTS
    assert harness.results_of_cores(2) == harness.RESULTS / "2_cores"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_a_row_about_fewer_cores_is_measured_on_them_alone() -> None:
    before = os.sched_getaffinity(0)
    with harness.on_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
        assert harness.machine()["cores"] == 1
    assert os.sched_getaffinity(0) == before
