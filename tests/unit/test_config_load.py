"""The options of load: what each may be, and which make no sense together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from worker_dispatcher.config.parse import parse
from worker_dispatcher.errors import ConfigError


def load(**options: Any) -> Any:
    return parse({"worker": {"frequency_mode": {"enabled": True} | options}}).worker.frequency_mode


def refusal(raw: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse(raw)
    (found,) = caught.value.problems
    return found


def refused(**options: Any) -> str:
    (name,) = options
    path, text = refusal({"worker": {"frequency_mode": {"enabled": True} | options}})
    assert path == f"worker.frequency_mode.{name}"
    return text


@pytest.mark.parametrize(
    ("given", "kept"),
    [(250, 250.0), (0.5, 0.5), ("250/s", 250.0), ("90/min", 1.5), (" 3600 / h ", 1.0), ("7", 7.0), (np.int8(3), 3.0)],
)
def test_a_rate_is_kept_as_tasks_a_second(given: object, kept: float) -> None:
    assert load(rate=given).rate == kept


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (0, "must be > 0, got 0; 250 and '250/s' are 250 tasks a second"),
        ("0/s", "must be > 0"),
        (-1, "must be > 0"),
        ("fast", "must be a rate, got str 'fast'; write '250/s', '90/min' or '3600/h'"),
        ("250/day", "write '250/s'"),
        (True, "must be a number"),
        (float("nan"), "finite"),
        (1e7, "must be <= 1e+06"),
        ([1], "must be a number"),
    ],
)
def test_what_is_no_rate_is_refused(given: object, said: str) -> None:
    assert said in refused(rate=given)


def test_a_pacing_is_a_word_or_due_times() -> None:
    assert load(pacing="poisson").pacing == "poisson"
    assert load(pacing=[0, 0.5, 0.5, 2]).pacing == (0.0, 0.5, 0.5, 2.0)
    assert load(pacing=np.array([0.0, 1.5])).pacing == (0.0, 1.5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("evenly", "must be 'burst', 'even', 'random', 'poisson' or None, got str 'evenly'"),
        ([0, 2, 1], "must never decrease, got 1.0 after 2.0 at entry 2; sort the list"),
        ([-1], "entry 0 must be >= 0"),
        ([0, "x"], "entry 1 must be a time such as 2.5, '250ms' or '5min', got str 'x'"),
        (3, "or a list of seconds, got int 3"),
        (iter([1]), "or a list of seconds"),
    ],
)
def test_what_is_no_pacing_is_refused(given: object, said: str) -> None:
    assert said in refused(pacing=given)


def test_stages_are_pairs_or_dicts() -> None:
    given = [(10, 100), {"duration": 5, "rate": "60/min", "step": True}, (5, 0)]
    assert load(stages=given).stages == ((10.0, 100.0, False), (5.0, 1.0, True), (5.0, 0.0, False))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "must have a stage, got none"),
        ("0-500:60s", "must be a list of stages"),
        ([(1,)], "stage 0 must be (seconds, rate) or a dict"),
        ([(1, 5), (-1, 5)], "stage 1: its duration must be >= 0"),
        ([(1, -5)], "stage 0: its rate must be > 0"),
        ([(1, 0)], "must have a stage with a rate above 0"),
        ([{"duration": 1}], "stage 0 must have 'duration' and 'rate'"),
        ([{"duration": 1, "rate": 1, "stepp": True}], "may have 'step'"),
        ([{"duration": 1, "rate": 1, "step": 1}], "must be True or False"),
        ([(1, None)], "must be a number, got None"),
        ([(1e9, 1), (1, 1)], "31 years"),
    ],
)
def test_what_is_no_stage_is_refused(given: object, said: str) -> None:
    assert said in refused(stages=given)


def test_checks_that_abort_are_texts() -> None:
    assert load(abort_on="error_rate>50%").abort_on == ("error_rate>50%",)
    assert load(abort_on=["a>1", "b>2"]).abort_on == ("a>1", "b>2")
    assert "must be a list of texts, got int 3 in it" in refused(abort_on=["a>1", 3])


@pytest.mark.parametrize(
    ("raw", "path", "said"),
    [
        ({"rate": 5, "stages": [(1, 5)]}, "stages", "rate and stages each say how many tasks are due when"),
        ({"rate": 5, "pacing": [0, 1]}, "pacing", "give one of them"),
        ({"rate": 5, "accumulated_workers": 1}, "accumulated_workers", "adds to worker.number, which rate replaces"),
        ({"duration": 10, "warmup": 6, "cooldown": 4}, "warmup", "leave out 10 s of 10 s"),
        ({"stages": [(5, 1)], "cooldown": 5}, "cooldown", "nothing is left to measure"),
    ],
)
def test_options_that_contradict_each_other_are_refused(raw: dict[str, Any], path: str, said: str) -> None:
    where, text = refusal({"worker": {"frequency_mode": {"enabled": True} | raw}})
    assert where == f"worker.frequency_mode.{path}"
    assert said in text


def test_a_rate_replaces_the_number_of_workers() -> None:
    raw = {"worker": {"number": 4, "frequency_mode": {"enabled": True, "rate": 5}}}
    assert refusal(raw)[0] == "worker.frequency_mode.rate"


def test_options_of_load_are_not_ignored_where_there_is_no_load() -> None:
    path, text = refusal({"worker": {"frequency_mode": {"rate": 5}}})
    assert path == "worker.frequency_mode.rate"
    assert text == "does nothing without 'enabled': True in worker.frequency_mode"
    unused = {"interval": 2, "max_workers": 3, "accumulated_workers": 1, "on_saturation": "queue", "warmup": 0}
    parse({"worker": {"frequency_mode": unused}})


def test_tasks_without_end_need_a_schedule_with_an_end() -> None:
    endless = {"task": {"list": None}, "worker": {"frequency_mode": {"enabled": True}}}
    assert refusal(endless)[0] == "task.list"
    endless["worker"]["frequency_mode"] |= {"duration": 5}  # type: ignore[operator]
    assert parse(endless).task.list is None
