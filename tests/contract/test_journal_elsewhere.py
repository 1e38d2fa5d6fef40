"""A journal is read where the classes of its results are not to be found: what succeeded is told as in its run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher as wd

MODULE = "answers_of_a_package_that_goes"
CLASSES = """
import collections, enum

class Order:
    def __init__(self, number): self.number = number
    def __bool__(self): return False
    @classmethod
    def first(cls): return cls(1)

class Slotted:
    __slots__ = ("number",)
    def __init__(self, number): self.number = number

class Listed(list): pass
class Mapped(dict): pass
class Text(str): pass
class Failed(ValueError): pass
class Colour(enum.Enum):
    RED = 1
Point = collections.namedtuple("Point", "x y")

class Reduced:
    def __reduce__(self): return made, (1,)

def made(number): return Reduced()

KINDS = [
    lambda: Order(1), lambda: Slotted(1), lambda: Listed([1, 2]), lambda: Mapped(a=1), lambda: Text("a"),
    lambda: Failed("a"), lambda: Point(1, 2), lambda: Reduced(), lambda: Colour.RED, lambda: Order.first,
    lambda: Order,
]
def answer(task):
    if task == "False": return False
    if task == "None": return None
    if isinstance(task, str): raise ValueError(task)
    return KINDS[task]()

def respond(task):
    import requests
    made = requests.Response()
    made.status_code = task
    return made
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / f"{MODULE}.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


def recorded(function: Any, tasks: list[Any], folder: Path) -> Any:
    """The report of a run, whose journal is run.db."""
    task = {"function": function, "list": tasks}
    return wd.report(wd.launch({"task": task, "verbose": False, "journal": folder / "run.db"}).wait())


def gone(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in [one for one in sys.modules if one.partition(".")[0] in names]:
        monkeypatch.delitem(sys.modules, name)
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails from here on


@pytest.mark.filterwarnings("ignore::worker_dispatcher.TaskFailuresWarning")
def test_what_succeeded_is_the_same_where_classes_are_missing(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recorded(module.answer, [*range(len(module.KINDS)), "False", "None", "no such order"], tmp_path)
    gone(monkeypatch, MODULE)
    logs = wd.read_journal(tmp_path / "run.db")
    unknown, (no, nothing, failed) = logs[:-3], logs[-3:]
    assert all(repr(log["result"]).startswith("<cannot be loaded here: ModuleNotFound") for log in unknown[:-2])
    assert all(log["result"] for log in unknown)
    assert (no["result"], nothing["result"]) == (False, None)
    assert failed["error"]["message"] == "no such order"
    again = wd.report(tmp_path / "run.db")
    assert dict(again.run.outcomes) == dict(made.run.outcomes) == {"succeeded": 12, "no success": 1, "error": 1}
    assert [group.type for group in again.run.failures] == [group.type for group in made.run.failures]
    saved = wd.report(again.to_jsonl(tmp_path / "run.jsonl"))
    assert dict(saved.run.outcomes) == dict(made.run.outcomes)


def test_a_response_is_judged_by_its_status_where_its_library_is_missing(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("requests")
    made = recorded(module.respond, [200, 503, 204, 404, 503], tmp_path)
    gone(monkeypatch, "requests", "urllib3")
    again = wd.report(tmp_path / "run.db")
    assert dict(again.run.outcomes) == dict(made.run.outcomes) == {"succeeded": 2, "no success": 3}
    assert [(group.type, group.count) for group in again.run.failures] == [("HTTP 503", 2), ("HTTP 404", 1)]
    assert not again.check("failed==0")


def test_a_class_that_fails_as_it_is_loaded_costs_its_row_and_no_success(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, state: object) -> None:
        raise RuntimeError("of another version")

    recorded(module.answer, [0], tmp_path)
    monkeypatch.setattr(module.Order, "__setstate__", refuse, raising=False)
    (log,) = wd.read_journal(tmp_path / "run.db")
    assert repr(log["result"]) == "<cannot be loaded here: RuntimeError: of another version>"
    assert dict(wd.report(tmp_path / "run.db").run.outcomes) == {"succeeded": 1}


def test_an_item_whose_class_is_missing_costs_nothing_else(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(task: Any) -> None:
        raise ValueError("no such order")

    with pytest.warns(wd.TaskFailuresWarning):
        recorded(refuse, [module.Order(1)], tmp_path)
    gone(monkeypatch, MODULE)
    (log,) = wd.read_journal(tmp_path / "run.db")
    assert repr(log["task"]).startswith("<cannot be loaded here: ModuleNotFound")
    assert log["error"]["message"] == "no such order"
