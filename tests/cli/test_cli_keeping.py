"""What a command keeps of results: as much as its outputs need."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher
from worker_dispatcher.cli import driving

Call = Callable[..., Any]
ANSWERS = """
class Response:
    __module__ = "requests.models"

    def __init__(self, status):
        self.status_code, self.content = status, bytes(300_000)

    def __repr__(self):
        return f"<Response [{self.status_code}]>"

def body(id): return "x" * 300_000
def raw(id): return bytes(300_000)
def many(id): return ["x" * 1000] * 300
def answer(id): return Response(503 if id == 2 else 200)
def no(id): return id != 2
"""
SHAPES = {"threads": [], "processes": ["--processes"], "grid": ["--grid", "2x2"]}
LOAD = ["--rate", "100", "--duration", "0.05"]


@pytest.fixture
def runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The runs of the commands that were called."""
    (folder / "answers.py").write_text(ANSWERS)
    made, kept = driving._made, []
    monkeypatch.setattr(driving, "_made", lambda *given: kept.append(made(*given)) or kept[-1])
    return kept


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("function", ["body", "raw", "many", "answer"])
def test_a_load_keeps_no_answer_whole(call: Call, runs: list[Any], function: str, shape: list[str]) -> None:
    call("load", f"answers:{function}", *LOAD, *shape)
    kept = runs[0].results
    assert len(kept) == 5
    assert max(len(repr(one)) + sys.getsizeof(one) for one in kept) < 3_000


@pytest.mark.parametrize("command", [["load", "answers:answer", *LOAD], ["run", "answers:answer", "--list", "5"]])
@pytest.mark.parametrize("log", [[], ["--log", "run.jsonl"]])
def test_what_was_no_success_is_known_as_before(
    call: Call, runs: list[Any], logs: Call, command: list[str], log: list[str]
) -> None:
    said = call(*command, *log)
    assert said.code == (1 if command[0] == "load" else said.code)
    assert [repr(one) for one in runs[0].results] == [f"<Response [{503 if n == 2 else 200}]>" for n in range(1, 6)]
    if log:
        assert [line.get("no_success") for line in logs("run.jsonl")] == [None, "HTTP 503", None, None, None]
        assert [line["result"] for line in logs("run.jsonl")][2] == "<Response [200]>"


def test_a_log_has_results_whole(call: Call, runs: list[Any], logs: Call) -> None:
    call("load", "answers:many", *LOAD, "--log", "run.jsonl")
    assert logs("run.jsonl")[0]["result"] == ["x" * 1000] * 300


def test_a_journal_has_them_too(call: Call, runs: list[Any], folder: Path) -> None:
    assert call("run", "answers:body", "--list", "2", "--quiet", "--journal", "run.db").code == 0
    assert [log["result"] for log in worker_dispatcher.read_journal("run.db")] == ["x" * 300_000] * 2


def test_false_is_no_success_and_none_is(call: Call, runs: list[Any]) -> None:
    assert call("load", "answers:no", *LOAD).code == 1
    assert runs[0].results == [True, False, True, True, True]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("function", ["body", "many"])
@pytest.mark.parametrize("journal", [[], ["--journal", "run.db"]], ids=["", "journal"])
def test_what_a_log_needs_waits_on_disk(
    call: Call, runs: list[Any], logs: Call, function: str, shape: list[str], journal: list[str]
) -> None:
    asked = ["run", f"answers:{function}", "--list", "5", "--quiet", "--log", "run.jsonl"]
    assert call(*asked, *shape, *journal) == (0, "", "")
    assert all(callable(kept.json) and len(kept.text) <= 1_000 for kept in runs[0].results)
    whole = "x" * 300_000 if function == "body" else ["x" * 1000] * 300
    assert [log["result"] for log in logs("run.jsonl")] == [whole] * 5


def test_where_the_disk_takes_no_more_results_stay_in_memory(
    call: Call, runs: list[Any], logs: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: written(fd, data[:10], at))  # as a disk that is full
    assert call("run", "answers:body", "--list", "3", "--quiet", "--log", "run.jsonl") == (0, "", "")
    assert all(isinstance(kept.json, str) for kept in runs[0].results)
    assert [log["result"] for log in logs("run.jsonl")] == ["x" * 300_000] * 3
