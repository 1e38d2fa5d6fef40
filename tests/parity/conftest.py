"""What the parity tests share: the shapes a run can have, and a witness that counts executions across processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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


@dataclass(frozen=True)
class Witness:
    """Notes that survive processes: one line per note, in a file, each written at once."""

    path: Path

    def note(self, text: object) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, f"{text}\n".encode())
        finally:
            os.close(descriptor)

    def notes(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def wait_for(self, texts: set[str], within: float = 20.0) -> bool:
        """True as soon as all these were noted; False if that takes longer."""
        deadline = time.monotonic() + within
        while not texts <= set(self.notes()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path / "witness")
