"""What counts as a success is one thing in report, check, compare, find_max_rate, abort_on and files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

import worker_dispatcher as wd
from worker_dispatcher import report

SHAPES: dict[str, dict[str, Any]] = {
    "threads": {"number": 2},
    "processes": {"number": 2, "use_processing": True},
    "grid": {"number": 2, "parallel_processing": {"enabled": True, "processes": 1}},
}


def response(status: int) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    return made


def save(task: object) -> None:
    """What most tasks are: they return nothing."""


async def save_soon(task: object) -> None:
    """The same on an event loop."""


def answer(task: int) -> Any:
    """A service that answers each fifth request well."""
    return [response(201), response(503), False, response(404), response(503)][task % 5]


def run(function: Callable[..., Any], tasks: Any = 10, shape: str = "threads", **worker: Any) -> wd.Run:
    config = {"task": {"list": tasks, "function": function}, "worker": SHAPES[shape] | worker, "verbose": False}
    return wd.launch(config).wait()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("function", [save, save_soon])
def test_a_task_that_returns_nothing_is_a_success_everywhere(
    function: Callable[..., Any], shape: str, tmp_path: Path
) -> None:
    made = report(run(function, shape=shape))
    assert wd.check(made, ["error_rate==0", "failed==0", "success==10", "tps>0"])
    assert "failures" not in made.text()
    assert "succeeded                 10   100.0 %" in made.text()
    assert wd.compare(made, made)["error_rate"].a == 0
    assert report(made.to_jsonl(tmp_path / "run.jsonl")).tps == made.tps
    with made.to_csv(tmp_path / "run.csv").open(newline="") as lines:
        assert {row["success"] for row in csv.DictReader(lines)} == {"True"}
    assert wd.get_tps(made.run.logs)["count"]["success"] == 0  # as in 1.x


@pytest.mark.parametrize("shape", SHAPES)
def test_failure_lines_say_what_came_instead_one_for_each_cause(shape: str, tmp_path: Path) -> None:
    made = report(run(answer, range(10), shape))
    kinds = [(group.count, group.type) for group in made.run.failures]
    assert kinds == [(4, "HTTP 503"), (2, "returned False"), (2, "HTTP 404")]
    text = made.text()
    assert "succeeded                  2    20.0 %\nno success                 8    80.0 %\n" in text
    assert [line.split()[:3] for line in text.splitlines() if "HTTP" in line] == [
        ["4", "HTTP", "503"],
        ["2", "HTTP", "404"],
    ]
    assert made.check("failed==8")
    assert made.check("error_rate==80%")


def test_a_file_that_is_read_again_says_the_same(tmp_path: Path) -> None:
    made = report(run(answer, range(10)))
    again = report(made.to_jsonl(tmp_path / "run.jsonl"))
    assert again.text() == made.text()
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()][:10]
    assert report(lines).text() == made.text()
    assert [line["success"] for line in lines] == [True, False, False, False, False] * 2
    second = report(again.to_jsonl(tmp_path / "second.jsonl"))
    assert second.text() == made.text()
    with second.to_csv(tmp_path / "run.csv").open(newline="") as table:
        found = [(row["success"], row["error_type"]) for row in csv.DictReader(table)]
    assert found[:4] == [("True", ""), ("False", "HTTP 503"), ("False", "returned False"), ("False", "HTTP 404")]


def test_failed_is_the_same_number_in_cards_checks_outcomes_and_data() -> None:
    def mixed(task: int) -> bool:
        if task < 3:
            raise ValueError("no")
        return task >= 8

    with pytest.warns(wd.TaskFailuresWarning):
        made = report(run(mixed, range(20)))
    cards = {name: (value, note) for name, value, note in made._data.headline}
    assert cards["Succeeded"] == ("12", "60.0 %")
    assert cards["Failed"] == ("8", "40.0 %")
    assert made.check("failed==8")
    assert made.as_data()["outcomes"] == {"succeeded": 12, "no success": 5, "error": 3}


def test_the_highest_rate_is_found_for_tasks_that_return_nothing() -> None:
    mode = {"frequency_mode": {"max_workers": 4}}
    config = {"task": {"list": None, "function": save}, "worker": mode, "verbose": False}
    found = wd.find_max_rate(config, "error_rate<1%", start=20, most=20, duration=0.3)
    assert (found.rate, found.limited_by) == (20, "most")


def test_a_service_that_refuses_holds_no_rate() -> None:
    mode = {"frequency_mode": {"max_workers": 4}}
    config = {"task": {"list": None, "function": lambda id: response(503)}, "worker": mode, "verbose": False}
    found = wd.find_max_rate(config, "error_rate<1%", start=20, most=20, duration=0.2)
    assert (found.rate, found.limited_by) == (0, "objectives")


@pytest.mark.parametrize(("function", "stopped"), [(save, False), (lambda task: False, True)])
def test_a_load_is_stopped_by_what_is_no_success_and_by_nothing_else(
    function: Callable[..., Any], stopped: bool
) -> None:
    mode = {"enabled": True, "rate": 50, "duration": 1.2, "max_workers": 4, "abort_on": ["error_rate>50%"]}
    task = {"list": None, "function": function}
    assert (
        bool(wd.launch({"task": task, "worker": {"frequency_mode": mode}, "verbose": False}).wait().info["stopped"])
        is stopped
    )
