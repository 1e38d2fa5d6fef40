"""What a config may not hold is refused with what to do."""

from __future__ import annotations

import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from parsed import nested, problem, problems

from worker_dispatcher.config.parse import parse
from worker_dispatcher.errors import ConfigError

# ---- values that are refused


@pytest.mark.parametrize(("value", "shown"), [(1, "int 1"), ("yes", "str 'yes'"), (0.1, "float 0.1")])
def test_progress_is_no_number_and_no_word(value: object, shown: str) -> None:
    expected = "True, False or None (None shows it where the run is verbose)"
    assert problem("progress", value) == f"must be {expected}, got {shown}"


@pytest.mark.parametrize(
    "path",
    [
        "debug",
        "verbose",
        "worker.use_processing",
        "worker.parallel_processing.enabled",
        "worker.parallel_processing.use_queue",
        "worker.frequency_mode.enabled",
    ],
)
@pytest.mark.parametrize(("value", "shown"), [(1, "int 1"), (0, "int 0"), ("yes", "str 'yes'"), (None, "None")])
def test_a_flag_is_a_bool_and_nothing_else(path: str, value: object, shown: str) -> None:
    assert problem(path, value) == f"must be True or False, got {shown}"


POSITIVE_INTS = [
    "worker.number",
    "worker.blas_threads",
    "worker.frequency_mode.max_workers",
    "worker.parallel_processing.processes",
    "task.max_failures",
]


@pytest.mark.parametrize("path", [*POSITIVE_INTS, "task.retries", "task.list", "worker.memory_limit"])
def test_a_number_that_python_would_not_print_is_refused(path: str) -> None:
    assert problem(path, 1 << 15_000).startswith("must be < 2**1024, got ")
    assert str(1 << 1000) in repr(parse(nested("task.retries", 1 << 1000)))


@pytest.mark.parametrize("path", POSITIVE_INTS)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "must be a whole number >= 1 or None, got bool True"),
        ("3", "must be a whole number >= 1 or None, got str '3'"),
        (3.0, "must be a whole number >= 1 or None, got float 3.0"),
        (float("nan"), "got float nan"),
        ([3], "got list"),
        (np.array(3), "got ndarray"),
        (0, "must be >= 1, got 0"),
        (-2, "must be >= 1, got -2"),
        (np.int64(0), "must be >= 1, got 0"),
    ],
)
def test_a_count_of_workers_is_a_whole_number_from_one(path: str, value: object, said: str) -> None:
    text = problem(path, value)
    assert said in text
    assert "; give " in text
    assert "None" in text


@pytest.mark.parametrize(("value", "said"), [(-1, "must be >= 0, got -1"), (None, "got None"), (True, "got bool True")])
def test_retries_are_a_whole_number_from_zero(value: object, said: str) -> None:
    text = problem("task.retries", value)
    assert said in text
    assert "0 means" in text


@pytest.mark.parametrize("path", ["runtime", "task.timeout", "worker.frequency_mode.interval", "task.backoff.maximum"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "must be > 0, got 0"),
        (-0.5, "must be > 0, got -0.5"),
        (np.float64(0), "must be > 0, got 0.0"),
        (float("nan"), "must be a finite number, got nan"),
        (float("inf"), "must be a finite number, got inf"),
        (-float("inf"), "must be a finite number, got -inf"),
        (np.float32("nan"), "must be a finite number, got nan"),
        (Fraction(10**400), "must be a finite number, got inf"),
        (10**400, "must be <= 1e9 (31 years), got int of 1329 bits"),
        (2e9, "must be <= 1e9 (31 years), got 2000000000.0"),
        (True, "must be a number of seconds > 0"),
        ("x" * 999, "got str 'xxxxxxxx"),
        (b"3", "got bytes b'3'"),
        ("0s", "must be > 0, got 0.0"),
        ("40 years", "must be a time such as 2.5, '250ms' or '5min', got str '40 years'"),
        ("-5s", "got str '-5s'"),
        ("", "got str ''"),
        ("9" * 400, "must be a finite number, got inf"),
        (Decimal(1), "got Decimal"),
        (np.array(1.5), "got ndarray"),
        ({}, "got dict"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_length_of_time_is_a_finite_number_of_seconds_above_zero(path: str, value: object, said: str) -> None:
    text = problem(path, value)
    assert said in text
    assert "; " in text


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("task.backoff.initial", -1, "must be >= 0, got -1; 0 tries again at once"),
        ("task.backoff.initial", None, "must be a number of seconds >= 0, got None"),
        ("task.backoff.factor", 0.5, "must be >= 1, got 0.5; 2 doubles the wait"),
        ("task.backoff.factor", float("inf"), "must be a finite number, got inf"),
        ("task.backoff.jitter", 1.1, "must be <= 1, got 1.1; 0.1 spreads each wait by 10 %"),
        ("task.backoff.jitter", -0.1, "must be >= 0, got -0.1"),
        ("worker.frequency_mode.accumulated_workers", float("nan"), "must be a finite number, got nan"),
        ("worker.frequency_mode.accumulated_workers", None, "must be a number, got None; 5 releases 5 more"),
        ("task.on_error", "stop", "must be 'record' or 'raise', got str 'stop'"),
        ("task.on_error", None, "must be 'record' or 'raise', got None"),
        ("worker.start_method", "thread", "must be 'fork', 'forkserver', 'spawn' or None, got str 'thread'"),
        ("task.retry_on", (), "must name at least one exception class, got none"),
        ("task.retry_on", int, "must be exception classes, callable or None, got the class int"),
        ("task.retry_on", [ValueError, "OSError"], "got str 'OSError'"),
        ("task.retry_on", "ValueError", "got str 'ValueError'; give an exception class"),
        ("task.retry_on", {ValueError}, "got set"),
        ("task.function", None, "must be callable, got None; give the function itself, or leave it out for the sample"),
        ("task.function", "module:f", "must be callable, got str 'module:f'"),
        ("task.function", lambda: 1, "has no parameter that can take the task"),
        ("task.function", lambda id, x: 1, "parameter 'x' is not one of id, config, task, metadata and has no default"),
        ("task.callback.on_done", True, "must be callable, or False for no callback, got bool True"),
        ("task.callback.on_all_done", 0, "got int 0"),
        ("task.callback.on_done", lambda id, task: 1, "parameter 'task' is not one of id, config, result, log"),
        ("task.callback.on_done", lambda: 1, "has no parameter that can take the result"),
    ],
)
def test_a_wrong_value_is_refused_with_what_to_do(path: str, value: object, said: str) -> None:
    assert said in problem(path, value)


def test_a_coroutine_function_cannot_be_a_callback_or_a_predicate() -> None:
    async def later(result: object) -> None: ...

    assert "got a coroutine function" in problem("task.callback.on_done", later)
    assert "got a coroutine function" in problem("task.callback.on_all_done", later)
    assert "got a coroutine function" in problem("task.retry_on", later)
    assert parse({"task": {"list": [], "function": later}}).task.function is later


# ---- the error as a whole


def test_all_problems_are_told_at_once_in_the_order_of_the_config() -> None:
    raw = {
        "worker": {"nubmer": 1, "frequency_mode": {"interval": 0}},
        "frequency_mode": {},
        "journal": 3,
        "task": {"list": "ab"},
    }
    with pytest.raises(ValueError, match="problems in the config") as caught:
        parse(raw)
    assert isinstance(caught.value, ConfigError)
    assert [path for path, _ in caught.value.problems] == [
        "worker.nubmer",
        "worker.frequency_mode.interval",
        "frequency_mode",
        "journal",
        "task.list",
    ]
    lines = str(caught.value).splitlines()
    assert lines[0] == "5 problems in the config"
    assert lines[1].startswith("  worker.nubmer  ")
    assert lines[1].endswith("unknown option; did you mean 'worker.number'?")
    assert lines[2].split(None, 1)[1].startswith("must be > 0, got 0")
    assert lines[-1] == "all options: worker-dispatcher options"
    assert len({line.index(text) for line, (_, text) in zip(lines[1:], caught.value.problems, strict=False)}) == 1


def test_a_config_error_survives_pickling() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"worker": {"number": 0}, 3: 4})  # type: ignore[dict-item]
    copied = pickle.loads(pickle.dumps(caught.value))
    assert type(copied) is ConfigError
    assert copied.problems == caught.value.problems
    assert str(copied) == str(caught.value)


SECRET = "hunter2"


@pytest.mark.parametrize(
    "raw",
    [
        {"task": {"list": SECRET}},
        {"task": {"list": SECRET.encode()}},
        {"task": {"list": lambda: SECRET}},
        {"task": {"confg": {"password": SECRET}}},
        {"task": {"lisst": [SECRET]}},
        {"task": SECRET},
        {"task": [SECRET]},
        {"config": SECRET},
        {"list": [SECRET]},
        {"task": {"callback": SECRET}},
        [SECRET],
        SECRET,
    ],
)
def test_no_payload_is_in_a_message(raw: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(raw)  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)


def test_no_payload_is_in_the_repr_of_a_config() -> None:
    assert SECRET not in repr(parse({"task": {"list": [SECRET], "config": {"password": SECRET}}}))


class Hostile:
    """Raises whatever is done with it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(SECRET)

    def __repr__(self) -> str:
        raise RuntimeError(SECRET)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError(SECRET)

    def __bool__(self) -> bool:
        raise RuntimeError(SECRET)

    __hash__ = object.__hash__


@pytest.mark.parametrize("path", ["debug", "runtime", "worker", "worker.number", "task.list", "task.on_error", "nope"])
def test_an_object_that_breaks_when_looked_at_is_one_more_problem(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({**nested(path, Hostile()), "verbose": 3})
    assert [where for where, _ in caught.value.problems] == [path, "verbose"]
    assert SECRET not in str(caught.value)


def test_a_mapping_that_breaks_is_a_problem_too() -> None:
    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise OSError(SECRET)

    assert problems(Broken()) == (("config", "could not be looked at: that raised OSError"),)
    assert problem("worker", Broken()) == "could not be looked at: that raised OSError"
