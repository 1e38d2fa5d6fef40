"""The config as types says what the declared options say, and a type checker sees it."""

from __future__ import annotations

import collections.abc
import os
import re
import subprocess
import sys
import types
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import worker_dispatcher
from worker_dispatcher.config.declare import Section, walk
from worker_dispatcher.config.describe import Refused
from worker_dispatcher.config.dicts import ConfigDict, TaskDict
from worker_dispatcher.config.options import Config

ROOT = Path(__file__).resolve().parents[2]


def declared_keys(of: type, prefix: str = "") -> dict[str, Any]:
    """The type of each key by dotted path, sections included, in order."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(of).items():
        found[prefix + name] = hint
        if typing.is_typeddict(hint):
            found |= declared_keys(hint, f"{prefix}{name}.")
    return found


KEYS = declared_keys(ConfigDict)
WALKED = dict(walk(Config))
OPTIONS = {path: member for path, member in WALKED.items() if not isinstance(member, Section)}

# Values of each kind. A type that allows a kind must stand for an option that takes one of them at least, and the other
# way round. A new option with a text or list of a form of its own adds one here.
PROBES: dict[str, list[Any]] = {
    "None": [None],
    "False": [False],
    "True": [True],
    "int": [1],
    "float": [0.5, 1.5],
    "text": ["90/min", "error_rate>50% for 10s", "even", "no such word", "5min", "fork", "drop", "record", "2GB"],
    "path": [Path("somewhere")],
    "bytes": [b"x"],
    "numbers": [[0.0, 1.0], (0.0, 1.0)],
    "texts": [["error_rate>50% for 10s"]],
    "stages": [[(10, 50), ("10s", "90/min")], [{"duration": 10, "rate": 50, "step": True}]],
    "array": [np.array([0.0, 1.0])],
    "generator": [iter("ab")],
    "dict": [{"a": 1}],
    "function": [lambda task: task],
    "exception class": [ValueError],
    "exception classes": [[ValueError], (ValueError, OSError)],
    "other object": [object()],
}


def fits(value: Any, hint: Any) -> bool:
    """True if the value is of that type, as a type checker sees it (but True is no number, and a text no list)."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin in (typing.NotRequired, typing.Required):
        return fits(value, inner[0])
    if origin is typing.Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if hint is None or hint is type(None):
        return value is None
    if hint in (int, float):
        return type(value) in (int, hint)
    if origin is type:
        return isinstance(value, type) and issubclass(value, inner[0])
    if origin is collections.abc.Callable:
        return callable(value)
    if typing.is_typeddict(hint):
        keys = typing.get_type_hints(hint)
        return isinstance(value, dict) and all(key in keys and fits(value[key], keys[key]) for key in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(fits, value, inner))
    if isinstance(hint, type) and getattr(hint, "_is_protocol", False):
        names = [name for name in vars(hint) if name == "__call__" or not name.startswith("_")]
        return all(hasattr(value, name) for name in names)
    if isinstance(value, str | bytes):
        return hint is type(value)
    if origin in (collections.abc.Iterable, collections.abc.Sequence):
        return isinstance(value, origin) and (inner[0] is Any or all(fits(one, inner[0]) for one in value))
    return isinstance(value, origin or hint)


def test_the_types_have_the_keys_of_the_options_in_their_order() -> None:
    assert list(KEYS) == list(WALKED)
    for path, member in WALKED.items():
        assert typing.is_typeddict(KEYS[path]) == isinstance(member, Section), path


def test_no_key_is_required() -> None:
    for path, hint in {"": ConfigDict, **KEYS}.items():
        if typing.is_typeddict(hint):
            assert not hint.__required_keys__, path
            assert hint.__doc__.startswith(f"`{path}`") or not path


def takes(path: str, value: Any) -> bool:
    try:
        OPTIONS[path].rule.accept(value)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("path", OPTIONS)
def test_each_type_allows_the_kinds_of_values_that_its_option_takes(path: str) -> None:
    assert fits(OPTIONS[path].fresh_default(), KEYS[path])
    allowed = {kind for kind, values in PROBES.items() if any(fits(value, KEYS[path]) for value in values)}
    taken = {kind for kind, values in PROBES.items() if any(takes(path, value) for value in values)}
    assert allowed == taken


@pytest.mark.parametrize("path", [path for path, hint in KEYS.items() if "Literal" in str(hint)])
def test_the_words_of_a_type_are_those_of_its_option(path: str) -> None:
    words = [word for word in literals(KEYS[path]) if isinstance(word, str)]
    assert all(takes(path, word) for word in words)
    assert re.findall(r"'(\w+)'", OPTIONS[path].rule.kind) == words


def literals(hint: Any) -> tuple[Any, ...]:
    inner = typing.get_args(hint)
    return inner if typing.get_origin(hint) is typing.Literal else sum((literals(one) for one in inner), ())


def test_every_type_is_exported() -> None:
    for hint in (ConfigDict, *KEYS.values()):
        if typing.is_typeddict(hint):
            assert getattr(worker_dispatcher, hint.__name__) is hint
            assert hint.__name__ in worker_dispatcher.__all__


def test_the_comparison_sees_a_type_that_is_wrong() -> None:
    hints = typing.get_type_hints(TaskDict)
    assert not fits("3", hints["retries"])
    assert not fits(True, hints["retries"])
    assert not fits(None, hints["retries"])
    assert fits(None, hints["timeout"])
    assert not fits(1, hints["retry_on"])
    assert not fits("never", hints["on_error"])
    assert not fits([1], hints["callback"])


SNIPPETS = """
from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np

import worker_dispatcher
from worker_dispatcher import ConfigDict, TaskDict

def one(item: int) -> int: return item
def several(id: int, config: dict[str, Any], task: int, metadata: dict[str, Any]) -> int: return task
def some(task: int, metadata: dict[str, Any]) -> int: return task
def by_name(*, id: int, config: Any, task: int, metadata: Any) -> int: return task
def by_name_with_state(*, id: int, config: Any, task: int, metadata: Any, worker_state: str) -> int: return task
def anything(**known: Any) -> int: return 1
async def waits(task: int) -> int: return task
def nothing() -> int: return 1
def judge(error: BaseException) -> bool: return True

class Kept:
    def method(self, task: int) -> int: return task
    def __call__(self, task: int) -> int: return task

# right
full: ConfigDict = {
    "debug": False,
    "verbose": False,
    "runtime": 2.5,
    "progress": None,
    "task": {
        "list": (number for number in range(3)),
        "function": several,
        "config": {"site": "x"},
        "callback": {"on_done": lambda id, config, result, log: result, "on_all_done": False},
        "timeout": 5,
        "retries": 2,
        "backoff": {"initial": 0.1, "jitter": 0},
        "retry_on": (ValueError, OSError),
        "on_error": "raise",
        "max_failures": None,
    },
    "worker": {
        "number": None,
        "use_processing": True,
        "parallel_processing": {"enabled": True, "processes": 2},
        "frequency_mode": {"enabled": True, "rate": "90/min", "abort_on": ["error_rate>50% for 10s"]},
        "start_method": "spawn",
    },
}
worker_dispatcher.start(full)
worker_dispatcher.launch(full).wait()
worker_dispatcher.find_max_rate(full, "p99<1s")
stages: ConfigDict = {"worker": {"frequency_mode": {"stages": [(10, 5), {"duration": 1, "rate": "5/s", "step": True}]}}}
trace: ConfigDict = {"worker": {"frequency_mode": {"pacing": np.array([0.0, 1.0])}}}
named: ConfigDict = {"task": {"retry_on": judge, "function": by_name}}
kept: ConfigDict = {"task": {"function": by_name_with_state}, "worker": {"init": lambda: "x", "exit": None}}
functions: list[TaskDict] = [
    {"function": one}, {"function": some}, {"function": anything}, {"function": waits}, {"function": lambda x: x},
    {"function": len}, {"function": int}, {"function": str.upper}, {"function": Kept().method}, {"function": Kept()},
    {"function": functools.partial(several, config={})}, {"function": print}, {"retry_on": ValueError},
]
worker_dispatcher.start({"task": {"list": 3, "function": one}, "worker": {"number": 2}, "verbose": False})
inferred = {"task": {"list": 3, "function": one}}
worker_dispatcher.start(inferred)
mixed = {"task": {"list": 3, "function": one}, "verbose": False}
worker_dispatcher.start(mixed)
built: dict[str, Any] = {"task": {}}
built["task"]["list"] = 3
worker_dispatcher.start(built)
worker_dispatcher.start({**built, "verbose": False})
worker_dispatcher.launch(dict(built, runtime=3))
worker_dispatcher.start(json.loads("{}"))
worker_dispatcher.start(None)
worker_dispatcher.start()

# wrong
wrong: ConfigDict = {"worker": {"nubmer": 3}}  # nubmer
wrong = {"worker": {"frequency_mode": {"intervall": 3}}}  # intervall
wrong = {"frequency_mode": {"interval": 3}}  # frequency_mode
wrong = {"worker": {"number": "3"}}  # number
wrong = {"task": {"function": nothing}}  # function
wrong = {"task": {"function": lambda: 3}}  # function
wrong = {"task": {"function": [1]}}  # function
wrong = {"task": {"callback": {"on_done": nothing}}}  # on_done
wrong = {"task": {"callback": {"on_all_done": True}}}  # on_all_done
wrong = {"task": {"on_error": "ignore"}}  # on_error
wrong = {"task": {"retries": None}}  # retries
wrong = {"task": {"list": 2.5}}  # list
wrong = {"task": {"retry_on": [3]}}  # 0
wrong = {"worker": {"frequency_mode": {"stages": [(1, 2, 3)]}}}  # 0
wrong = {"worker": True}  # worker
wrong["task"]["timeuot"] = 3  # timeuot
worker_dispatcher.start(ConfigDict(worker={"nubmer": 3}))  # nubmer
worker_dispatcher.start([("worker", 3)])  # start
"""


def test_a_type_checker_finds_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    snippets = tmp_path / "snippets.py"
    snippets.write_text(SNIPPETS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(snippets)],
        cwd=ROOT,  # where the cache of the project's own check is
        env={**os.environ, "MYPYPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    found = {int(line): text for line, text in re.findall(r"snippets\.py:(\d+): error: (.*)", done.stdout)}
    lines = SNIPPETS.splitlines()
    first_wrong = lines.index("# wrong") + 2
    expected = {n: line.rpartition("# ")[2] for n, line in enumerate(lines, 1) if n >= first_wrong}
    assert found.keys() == expected.keys(), done.stdout + done.stderr
    for line, named in expected.items():
        assert f'"{named}"' in found[line] or f"entry {named} " in found[line] or f"item {named} " in found[line], found
