"""What each worker process is told is packed once for a run, and held no longer than it takes to send it."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import worker_dispatcher

PROCESSES = [{"use_processing": True}, {"parallel_processing": {"enabled": True}}]


class Counting:
    """Counts how often it is packed."""

    packed = 0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        Counting.packed += 1
        return Counting, ()


def name_of_config(task: int, config: Any) -> str:
    return type(config).__name__


def length_of_config(task: int, config: Any) -> int:
    return len(config)


@pytest.mark.parametrize("options", PROCESSES)
@pytest.mark.parametrize("method", [None, "forkserver", "spawn", "fork"])
def test_a_config_is_packed_once_for_all_workers_and_never_for_a_fork(options, method, monkeypatch):
    monkeypatch.setattr(Counting, "packed", 0)
    config = {
        "task": {"list": 4, "function": name_of_config, "config": Counting()},
        "worker": {"number": 2, "start_method": method, **options},
        "verbose": False,
    }
    assert worker_dispatcher.start(config) == ["Counting"] * 4
    assert Counting.packed == (0 if method == "fork" else 1)


def references(method: str, options: dict[str, Any], tasks: int) -> list[int]:
    """How many there are to a config: while tasks are counted as done, and after the run."""
    data, found = b"x" * (1 << 20), []

    def count(result: Any) -> Any:
        found.append(sys.getrefcount(data))
        return result

    config = {
        "task": {"list": tasks, "function": length_of_config, "config": data, "callback": {"on_all_done": count}},
        "worker": {"number": 1, "start_method": method, **options},
        "verbose": False,
    }
    run = worker_dispatcher.launch(config)
    assert run.wait().results == [len(data)] * tasks
    return [*found, sys.getrefcount(data)]


@pytest.mark.parametrize("options", PROCESSES)
@pytest.mark.parametrize("tasks", [0, 2])
def test_what_was_packed_is_let_go_once_it_is_sent(options, tasks):
    """A pickle of a large `bytes` holds the object itself; a fork is sent nothing."""
    assert references("forkserver", options, tasks) == references("fork", options, tasks)


def test_a_retry_on_that_cannot_be_sent_is_named():
    class Refused(Exception):
        file = sys.stdout

    class Fine(Exception):
        pass

    config = {
        "task": {"list": 2, "function": name_of_config, "retries": 1, "retry_on": [Refused]},
        "worker": {"use_processing": True},
    }
    with pytest.raises(worker_dispatcher.ConfigError, match=r"task\.retry_on .*cannot be sent to a process"):
        worker_dispatcher.start(config)
    config["task"]["retry_on"] = [Fine]
    config["verbose"] = False
    assert worker_dispatcher.start(config) == ["dict"] * 2
