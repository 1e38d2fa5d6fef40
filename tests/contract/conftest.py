"""What the contract tests share: every shape of a run, a stage for races, and short ways to start."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pooled import gate as gate
from pooled import kind as kind
from pooled import new_pool as new_pool
from staging import ON_A_CLUSTER, SHAPES, Notes, Shape

import worker_dispatcher


def _shape(request: pytest.FixtureRequest) -> Shape:
    differs = request.node.get_closest_marker("differs_on_a_cluster")
    if differs is not None and request.param in ON_A_CLUSTER:
        pytest.skip(differs.args[0])
    shape = (SHAPES | ON_A_CLUSTER)[request.param]
    if request.param in ON_A_CLUSTER:
        dict(shape.worker)  # the cluster of the session starts before the time of a test
    return shape


@pytest.fixture(params=[*SHAPES, "dask"])
def shape(request: pytest.FixtureRequest) -> Shape:
    """Every way to run."""
    return _shape(request)


@pytest.fixture(params=[*(name for name, shape in SHAPES.items() if not shape.coroutine), "dask"])
def plain_shape(request: pytest.FixtureRequest) -> Shape:
    """Every way to run plain functions."""
    return _shape(request)


@pytest.fixture(params=[name for name, shape in SHAPES.items() if shape.in_processes])
def process_shape(request: pytest.FixtureRequest) -> Shape:
    """Every way to run in worker processes."""
    return SHAPES[request.param]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


def config_for(
    shape: Shape, function: Any, items: Any, worker: dict[str, Any] | None = None, top: Any = None, **task: Any
) -> dict[str, Any]:
    return {
        "task": {"list": items, "function": shape.function(function), **task},
        "worker": {"number": 4, **shape.worker, **(worker or {})},
        "verbose": False,
        **(top or {}),
    }


@pytest.fixture
def make_config() -> Callable[..., dict[str, Any]]:
    """make_config(shape, function, list, worker options, top-level options, **rest of `task`): a quiet config."""
    return config_for


@pytest.fixture
def run() -> Callable[..., list[Any]]:
    """`start` of make_config's config."""

    def start(*args: Any, **kwargs: Any) -> list[Any]:
        return worker_dispatcher.start(config_for(*args, **kwargs))

    return start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a journal."""
    return tmp_path / "run.db"


@pytest.fixture
def kept(path: Path) -> Callable[[], dict[int, dict[str, Any]]]:
    """What the journal has, by task id."""
    return lambda: {log["task_id"]: log for log in worker_dispatcher.read_journal(path)}


class Keeping(logging.Handler):
    """Keeps the records it gets, while its gate is open. came: there was one."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.came, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def emit(self, record: logging.LogRecord) -> None:
        self.came.set()
        self.gate.wait(60)
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def handler() -> Iterator[Keeping]:
    """A handler of the logger 'app', which is at INFO."""
    kept, logger = Keeping(), logging.getLogger("app")
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield kept
    kept.gate.set()
    logger.removeHandler(kept)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """script(arguments, input=None): Python run in tmp_path as a program of its own."""

    def call(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, input=text, capture_output=True, text=True, timeout=60, check=False
        )

    return call


PREAMBLE = """
import sys
import worker_dispatcher
METHOD = sys.argv[1]

def run(function, items, number=1, **task):
    return worker_dispatcher.start({
        "task": {"list": items, "function": function, **task},
        "worker": {"number": number, "use_processing": True, "start_method": METHOD},
        "verbose": False,
    })
"""


@pytest.fixture(params=["forkserver", "spawn", "fork"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def holds(script: Callable[..., Any], tmp_path: Path, method: str) -> Callable[[str], None]:
    """holds(code): as a script that has `run(function, items)` it comes to its end without a word."""

    def call(code: str) -> None:
        (tmp_path / "holds.py").write_text(f"{PREAMBLE}\n{code}\nprint('at its end')\n")
        done = script("holds.py", method)
        assert (done.stderr, done.stdout) == ("", "at its end\n")

    return call
