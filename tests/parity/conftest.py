"""What the parity tests share: the shapes a run can have, and notes of what ran."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from notes import Notes

import worker_dispatcher

SHAPES: dict[str, dict[str, Any]] = {
    "threads": {},
    "processes": {"use_processing": True},
    "grid": {"parallel_processing": {"enabled": True}},
    "grid-with-queue": {"parallel_processing": {"enabled": True, "use_queue": True}},
}


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The worker options of each way to run."""
    return SHAPES[request.param]


@pytest.fixture(params=[name for name in SHAPES if name != "threads"])
def process_shape(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The worker options of each way to run in processes."""
    return SHAPES[request.param]


@pytest.fixture(params=[name for name in SHAPES if name.startswith("grid")])
def grid_shape(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The worker options of processes with several threads each."""
    return SHAPES[request.param]


@pytest.fixture
def run() -> Callable[..., list[Any]]:
    """run(function, list, worker options, **rest of `task`): a quiet `start`. Options of the run go in `top`."""

    def start(function: Any, items: Any, worker: dict[str, Any], *, top: Any = None, **task: Any) -> list[Any]:
        config = {"task": {"list": items, "function": function, **task}, "worker": worker, "verbose": False}
        return worker_dispatcher.start(config | (top or {}))

    return start


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")
