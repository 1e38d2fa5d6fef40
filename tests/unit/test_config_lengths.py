"""A length of time in a config may be a text, as on the command line; kept are seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import worker_dispatcher
from worker_dispatcher.cli.commands.options import options
from worker_dispatcher.config.options import Config
from worker_dispatcher.config.parse import parse

LENGTHS = [path for path, option in options(Config).items() if option.rule.kind.startswith("seconds")]


@pytest.mark.parametrize("path", LENGTHS)
@pytest.mark.parametrize(
    ("given", "seconds"),
    [("5s", 5.0), ("250ms", 0.25), (" 1m30s ", 90.0), ("5min", 300.0), ("5", 5.0), (np.str_("2 H"), 7200.0), (3, 3.0)],
)
def test_a_length_of_time_is_a_number_of_seconds_or_a_text_that_says_it(path: str, given: Any, seconds: float) -> None:
    found = options(Config)[path].rule.accept(given)
    assert (found, type(found)) == (seconds, float)


def test_nothing_else_than_lengths_takes_a_text_that_says_one() -> None:
    assert {"task.timeout", "runtime", "worker.frequency_mode.duration", "task.backoff.maximum"} < set(LENGTHS)
    with pytest.raises(worker_dispatcher.ConfigError, match="must be a whole number"):
        parse({"task": {"retries": "3s"}})


def test_stages_and_due_times_may_say_their_lengths_as_texts() -> None:
    stages = [("5min", 200), {"duration": "500ms", "rate": 0}]
    mode = parse({"worker": {"frequency_mode": {"enabled": True, "stages": stages}}}).worker.frequency_mode
    assert mode.stages == ((300.0, 200.0, False), (0.5, 0.0, False))
    mode = parse({"worker": {"frequency_mode": {"enabled": True, "pacing": [0, "500ms", "1s"]}}}).worker.frequency_mode
    assert mode.pacing == (0.0, 0.5, 1.0)


def test_the_last_config_shows_the_seconds_that_a_text_said() -> None:
    worker_dispatcher.start({"task": {"list": [1], "timeout": "5min"}, "runtime": "1h", "verbose": False})
    config = worker_dispatcher.get_last_config()
    assert (config["task"]["timeout"], config["runtime"]) == (300.0, 3600.0)
