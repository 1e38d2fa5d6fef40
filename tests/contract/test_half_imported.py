"""A module that another thread is just importing is not there yet for what looks whether it is."""

from __future__ import annotations

import importlib.machinery
import sys
import threading
import types
from pathlib import Path

import pytest

import worker_dispatcher
from worker_dispatcher.loaded import loaded

LOOKED_FOR = [
    "worker_dispatcher.pools.protocol.loading",
    "cloudpickle.cloudpickle",
    "decimal",
    "enum",
    "linecache",
    "logging",
    "multiprocessing.process",
    "multiprocessing.util",
    "pathlib",
]
SLOW = """
import half_imported
half_imported.begun.set()
assert half_imported.go_on.wait(30)
value = 1
"""


def test_it_is_not_there_until_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    meeting = types.ModuleType("half_imported")
    begun, go_on = threading.Event(), threading.Event()
    vars(meeting).update(begun=begun, go_on=go_on)
    monkeypatch.setitem(sys.modules, "half_imported", meeting)
    assert loaded("slow_to_import") is None
    importing = threading.Thread(target=__import__, args=("slow_to_import",))
    importing.start()
    try:
        assert begun.wait(30)
        assert "slow_to_import" in sys.modules
        assert loaded("slow_to_import") is None
    finally:
        go_on.set()
        importing.join()
    module = loaded("slow_to_import")
    assert module is not None
    assert module.value == 1
    del sys.modules["slow_to_import"]


@pytest.mark.parametrize("name", LOOKED_FOR)
@pytest.mark.parametrize("method", [None, "fork"])
def test_a_run_begins_while_another_thread_imports_it(
    name: str, method: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = {"number": 2, "use_processing": True, "start_method": method}
    config = {"task": {"list": [1, 2], "function": lambda task: task * 2}, "worker": worker, "verbose": False}
    worker_dispatcher.start(config)  # so that all that it imports itself is there
    half = types.ModuleType(name)
    half.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(half.__spec__)["_initializing"] = True
    monkeypatch.setitem(sys.modules, name, half)
    assert worker_dispatcher.start(config) == [2, 4]
