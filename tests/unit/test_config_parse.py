"""parse and merged: what a config may say, and what is answered where it may not."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum, StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from worker_dispatcher.config import callback_sample, merged, parse, task_function_sample
from worker_dispatcher.config.options import NOT_YET
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.retry import Backoff


def nested(path: str, value: object) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def problems(raw: object) -> tuple[tuple[str, str], ...]:
    with pytest.raises(ConfigError) as caught:
        parse(raw)  # type: ignore[arg-type]
    return caught.value.problems


def problem(path: str, value: object) -> str:
    """The text of the only problem of a config that sets one option."""
    (found,) = problems(nested(path, value))
    assert found[0] == path
    return found[1]


def kept(path: str, value: object) -> Any:
    found: Any = parse(nested(path, value))
    for name in path.split("."):
        found = getattr(found, name)
    return found


# ---- defaults


@pytest.mark.parametrize("raw", [None, {}, {"task": {}, "worker": {"frequency_mode": {}}}])
def test_an_empty_config_means_the_defaults(raw: dict[str, Any] | None) -> None:
    config = parse(raw)
    assert config.task.function is task_function_sample
    assert (config.debug, config.verbose, config.runtime) == (False, True, None)
    assert (config.task.list, config.task.config, config.task.backoff) == ([], {}, Backoff())
    assert config.task.callback.on_done is config.task.callback.on_all_done is None
    assert (config.task.retries, config.task.on_error, config.task.retry_on) == (0, "record", None)
    assert config.worker.number is None
    assert (config.worker.frequency_mode.interval, config.worker.frequency_mode.accumulated_workers) == (1.0, 0)


def test_the_seed_documents_full_example_is_accepted() -> None:
    parse(
        {
            "debug": False,
            "task": {
                "list": [],
                "function": task_function_sample,
                "config": {},
                "callback": {"on_done": False, "on_all_done": False},
            },
            "worker": {
                "number": 8,
                "frequency_mode": {"enabled": False, "interval": 1, "accumulated_workers": 0, "max_workers": None},
                "use_processing": False,
                "parallel_processing": {"enabled": False, "use_queue": False},
            },
            "runtime": None,
            "verbose": True,
        }
    )


def test_the_default_containers_are_new_each_time() -> None:
    assert parse().task.config is not parse().task.config
    assert merged()["task"]["list"] is not merged()["task"]["list"]


def test_the_samples_do_nothing_but_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert task_function_sample(id=1, config={}, task=None, metadata={}) == {"taskId": 1}
    assert callback_sample(id=1, config={}, result="r", log={}) == "r"
    assert capsys.readouterr() == ("", "")


# ---- values that are accepted


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("runtime", 3, 3.0),
        ("runtime", 0.001, 0.001),
        ("runtime", np.float32(0.5), 0.5),
        ("runtime", np.int64(2), 2.0),
        ("runtime", Fraction(1, 2), 0.5),
        ("runtime", None, None),
        ("task.timeout", 2.5, 2.5),
        ("task.retries", 0, 0),
        ("task.retries", np.uint8(3), 3),
        ("task.max_failures", 1, 1),
        ("task.on_error", "raise", "raise"),
        ("task.callback.on_done", False, None),
        ("task.callback.on_all_done", None, None),
        ("task.retry_on", ValueError, (ValueError,)),
        ("task.retry_on", [ValueError, OSError], (ValueError, OSError)),
        ("task.retry_on", (SystemExit,), (SystemExit,)),
        ("worker.number", 1, 1),
        ("worker.number", None, None),
        ("worker.parallel_processing.processes", 4, 4),
        ("worker.frequency_mode.interval", 0.3, 0.3),
        ("worker.frequency_mode.accumulated_workers", -2, -2),
        ("worker.frequency_mode.accumulated_workers", 0.5, 0.5),
        ("worker.frequency_mode.max_workers", 9, 9),
        ("worker.start_method", "spawn", "spawn"),
        ("worker.start_method", None, None),
        ("worker.blas_threads", 2, 2),
        ("task.backoff.initial", 0, 0.0),
        ("task.backoff.factor", 1, 1),
        ("task.backoff.maximum", 5, 5.0),
        ("task.backoff.jitter", 1, 1),
    ],
)
def test_a_good_value_is_kept(path: str, value: object, expected: object) -> None:
    assert kept(path, value) == expected


def test_numbers_are_kept_as_pythons_own() -> None:
    assert type(kept("worker.number", np.int32(4))) is int
    assert type(kept("task.timeout", np.float64(4))) is float


def test_backoff_is_parsed_into_the_value_that_retries_use() -> None:
    assert kept("task.backoff", {"initial": 1, "factor": 3}) == Backoff(1.0, 3, 60.0, 0.1)


def test_any_mapping_is_a_config_and_any_string_subclass_a_name() -> None:
    class Name(StrEnum):
        NUMBER = "number"

    class OldName(str, Enum):  # noqa: UP042 -- its str() is not its value, unlike that of a StrEnum
        WORKER = "worker"

    raw: Any = MappingProxyType({OldName.WORKER: OrderedDict({Name.NUMBER: 3})})
    assert parse(raw).worker.number == 3
    assert merged(raw)["worker"]["number"] == 3


def test_a_predicate_may_decide_about_retries() -> None:
    def worth_it(error: BaseException) -> bool:
        return True

    assert kept("task.retry_on", worth_it) is worth_it


def test_the_users_config_is_passed_on_as_the_same_object() -> None:
    class Settings(dict[str, int]):
        pass

    settings = Settings(a=1)
    assert kept("task.config", settings) is settings
    assert merged({"task": {"config": settings}})["task"]["config"] is settings
    assert kept("task.config", None) is None


# ---- task.list


def generator() -> Iterator[int]:
    raise AssertionError("drawn from")
    yield 1


class OldSequence:
    def __getitem__(self, index: int) -> int:
        raise AssertionError("drawn from")


class NeverIterated:
    def __iter__(self) -> Iterator[int]:
        raise AssertionError("drawn from")

    def __len__(self) -> int:
        raise AssertionError("counted")

    def __bool__(self) -> bool:
        raise AssertionError("asked")


@pytest.mark.parametrize(
    "tasks",
    [
        [1],
        (),
        range(10**9),
        {1, 2},
        frozenset([1]),
        {"a": 1},
        generator(),
        map(str, [1]),
        np.arange(3),
        np.zeros((2, 2)),
        memoryview(b"ab"),
        OldSequence(),
        NeverIterated(),
    ],
    ids=lambda tasks: type(tasks).__name__,
)
def test_any_iterable_is_a_task_list_kept_as_it_is_and_not_drawn_from(tasks: object) -> None:
    assert kept("task.list", tasks) is tasks


def test_parsing_leaves_a_generator_where_it_was() -> None:
    tasks = iter([1, 2])
    parse({"task": {"list": tasks}})
    merged({"task": {"list": tasks}})
    assert list(tasks) == [1, 2]


@pytest.mark.parametrize("count", [0, 3, np.int64(3), np.uint16(0), 10**30])
def test_a_count_is_a_task_list(count: int) -> None:
    assert kept("task.list", count) == count
    assert type(kept("task.list", count)) is int


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ("abc", "must be an iterable of tasks, got str; write [value] to make it one task"),
        (b"abc", "got bytes; write [value]"),
        (bytearray(b"abc"), "got bytearray; write [value]"),
        (True, "must be an iterable or a whole count, got bool True; give an iterable of tasks, or how many"),
        (False, "got bool False"),
        (-1, "must be >= 0, got -1; give an iterable of tasks, or how many tasks to make"),
        (np.int8(-3), "must be >= 0, got -3"),
        (3.0, "must be an iterable or a whole count, got float 3.0"),
        (np.float64(3), "got float64 3.0"),
        (float("nan"), "got float nan"),
        (None, "None makes tasks without end, and needs frequency_mode with duration or stages; give an iterable"),
        (object(), "got object; give an iterable of tasks"),
        (len, "call it, if it makes the tasks"),
        (generator, "call it, if it makes the tasks"),
        (int, "got the class int; call it"),
        (np.array(3), "got ndarray; write [value] to make it one task"),
        (np.bool_(True), "must be an iterable or a count, got bool"),
        (1j, "got complex"),
    ],
    ids=lambda value: re.sub(" at 0x.*", "", repr(value))[:30],  # an address would be another in each process
)
def test_a_task_list_of_another_type_is_refused_with_what_to_do(tasks: object, said: str) -> None:
    assert said in problem("task.list", tasks)


def test_an_asynchronous_iterable_is_refused_with_what_to_do() -> None:
    class Stream:
        def __aiter__(self) -> Any: ...

    assert "collect it into a list first" in problem("task.list", Stream())


@pytest.mark.parametrize("value", [None, True, False])
def test_progress_may_be_left_to_verbose(value: bool | None) -> None:
    assert parse({"progress": value}).progress is value
    assert parse().progress is None


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
        ("3", "got str '3'"),
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
    assert parse({"task": {"list": 0, "function": later}}).task.function is later


# ---- names


@pytest.mark.parametrize(
    ("raw", "path", "said"),
    [
        ({"worker": {"nubmer": 1}}, "worker.nubmer", "unknown option; did you mean 'worker.number'?"),
        ({"verbos": 1}, "verbos", "unknown option; did you mean 'verbose'?"),
        ({"Verbose": 1}, "Verbose", "unknown option; did you mean 'verbose'?"),
        ({"worker": {"use-processing": 1}}, "worker.use-processing", "did you mean 'worker.use_processing'?"),
        ({"frequency_mode": {}}, "frequency_mode", "unknown option here; it lives at 'worker.frequency_mode'"),
        ({"worker": {"runtime": 1}}, "worker.runtime", "it lives at 'runtime', at the top level"),
        ({"max_workers": 3}, "max_workers", "it lives at 'worker.frequency_mode.max_workers'"),
        ({"processes": 3}, "processes", "it lives at 'worker.parallel_processing.processes'"),
        (
            {"task": {"enabled": True}},
            "task.enabled",
            "it lives at 'worker.parallel_processing.enabled' or 'worker.frequency_mode.enabled'",
        ),
        ({"task": {"nubmer": 1}}, "task.nubmer", "unknown option; did you mean 'worker.number'?"),
        ({"zzz": 1}, "zzz", "unknown option; the options here are debug, verbose, runtime, progress, task, worker"),
        ({"worker.number": 1}, "worker.number", "nested, not dotted: write {'worker': {'number': ...}}"),
        (
            {"worker": {"frequency_mode.enabled": True}},
            "worker.frequency_mode.enabled",
            "write {'worker': {'frequency_mode': {'enabled': ...}}}",
        ),
        ({"jurnal": 1}, "jurnal", "unknown option; did you mean 'journal'?"),
        ({"worker": {"bakend": 1}}, "worker.bakend", "'worker.backend' (not available yet in this version)"),
        ({"backend": 1}, "backend", "it lives at 'worker.backend' (not available yet in this version)"),
        ({"": 1}, "''", "unknown option"),
        ({"a\nb": 1}, "'a\\nb'", "unknown option"),
        ({"x" * 10**6: 1}, "x" * 57 + "...", "unknown option"),
        ({1: 2}, "config[1]", "option names are strings, got int 1"),
        ({"worker": {None: 2}}, "worker[None]", "option names are strings, got None"),
        ({"task": {(1, "secret"): 2}}, "task[tuple]", "option names are strings, got tuple"),
    ],
)
def test_an_unknown_name_is_answered_with_the_likeliest_right_one(raw: dict[Any, Any], path: str, said: str) -> None:
    ((found_path, text),) = problems(raw)
    assert found_path == path
    assert said in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2_000_000, 2_000_000),
        (np.int64(5), 5),
        ("2GB", 2_000_000_000),
        (" 500 mb ", 500_000_000),
        ("1.5GiB", 3 * 2**29),
        ("64KiB", 65536),
        ("7B", 7),
        (None, None),
    ],
)
def test_a_size_is_bytes_or_a_text_with_a_unit(value: object, expected: int | None) -> None:
    config = parse({"worker": {"use_processing": True, "memory_limit": value}})
    assert config.worker.memory_limit == expected


@pytest.mark.parametrize(
    "value", [0, -1, True, 1.5, 2e9, "", "2", "2G", "GB", "-2GB", "1e3MB", "2 GB!", "0.5B", "٣GB", []]
)
def test_what_is_no_size_is_told_what_to_write(value: object) -> None:
    assert problem("worker.memory_limit", value).endswith(
        "; give bytes, or a text such as '500MB' or '1.5GiB', or None for no limit"
    )


@pytest.mark.parametrize("path", ["worker.max_tasks_per_worker", "worker.memory_limit"])
def test_what_only_processes_can_do_is_refused_with_threads(path: str) -> None:
    assert problem(path, 5).startswith("needs worker processes; set worker.use_processing or worker.parallel_proc")
    assert kept_with(path, None) is None
    for processes in ({"use_processing": True}, {"parallel_processing": {"enabled": True}}):
        assert kept_with(path, 5, **processes) == 5


def kept_with(path: str, value: object, **worker: object) -> object:
    name = path.removeprefix("worker.")
    return getattr(parse({"worker": {name: value, **worker}}).worker, name)


@pytest.mark.parametrize("path", sorted(NOT_YET))
@pytest.mark.parametrize("value", [None, 1, "x"])
def test_an_option_of_a_later_version_is_refused_as_such_and_not_called_a_typo(path: str, value: object) -> None:
    assert problem(path, value) == "not available yet in this version; leave it out"


@pytest.mark.parametrize("path", ["task", "worker", "task.callback", "task.backoff", "worker.frequency_mode"])
@pytest.mark.parametrize(("value", "kind"), [(None, "None"), ([("a", 1)], "list"), ("x", "str"), (3, "int")])
def test_a_section_is_a_dict_or_left_out(path: str, value: object, kind: str) -> None:
    assert f"must be a dict of options, got {kind}; " in problem(path, value)


def test_a_switched_section_is_told_how_to_be_switched() -> None:
    assert "write {'enabled': True}" in problem("worker.frequency_mode", True)
    assert "write {'enabled': False}" in problem("worker.parallel_processing", False)


def test_a_function_given_as_the_callback_section_is_told_its_place() -> None:
    assert "'task.function'" in problem("task.callback", task_function_sample)


@pytest.mark.parametrize(("raw", "kind"), [([], "list"), ("debug", "str"), (0, "int"), (print, "builtin_function")])
def test_a_config_that_is_no_mapping_is_refused(raw: object, kind: str) -> None:
    ((path, text),) = problems(raw)
    assert path == "config"
    assert f"must be a dict of options, got {kind}" in text


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


# ---- the input, and merged


def test_the_input_is_not_changed_or_kept() -> None:
    raw = {"task": {"list": [1], "backoff": {"initial": 1}}, "worker": {"number": 2, "per_second": 1}}
    before = copy.deepcopy(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parse(raw)
    whole = merged(raw)
    whole["task"]["backoff"]["initial"] = 9
    whole["worker"]["number"] = 9
    assert raw == before


def test_merged_is_the_whole_config_with_the_users_own_values() -> None:
    tasks = np.int64(4)
    whole = merged({"task": {"list": tasks, "retry_on": OSError}, "worker": {"frequency_mode": {"enabled": True}}})
    assert whole["task"]["list"] is tasks
    assert whole["task"]["retry_on"] is OSError
    assert whole["worker"]["frequency_mode"] == {
        "enabled": True,
        "interval": 1,
        "accumulated_workers": 0,
        "max_workers": None,
        "pacing": None,
        "rate": None,
        "stages": None,
        "duration": None,
        "seed": None,
        "on_saturation": "queue",
        "warmup": 0.0,
        "cooldown": 0.0,
        "abort_on": (),
    }
    assert whole["task"]["callback"] == {"on_done": False, "on_all_done": False}
    assert whole["task"]["backoff"] == {"initial": 0, "factor": 2, "maximum": 60, "jitter": 0.1}
    assert set(whole) == {"debug", "verbose", "runtime", "progress", "task", "worker", "journal"}


def test_merged_refuses_what_parse_refuses() -> None:
    with pytest.raises(ConfigError):
        merged({"worker": {"number": 0}})


# ---- old names


@pytest.mark.parametrize(
    ("raw", "replacement", "path", "expected"),
    [
        ({"worker": {"per_second": 2}}, "worker.frequency_mode", "worker.frequency_mode.enabled", True),
        ({"worker": {"per_second": 2}}, "worker.frequency_mode", "worker.frequency_mode.interval", 2.0),
        ({"worker": {"per_second": 0}}, "worker.frequency_mode", "worker.frequency_mode.enabled", False),
        ({"worker": {"per_second": False}}, "worker.frequency_mode", "worker.frequency_mode.enabled", False),
        ({"worker": {"multiprocessing": True}}, "worker.use_processing", "worker.use_processing", True),
        ({"worker": {"multiprocessing": False}}, "worker.use_processing", "worker.use_processing", False),
        (
            {"task": {"result_callback": callback_sample}},
            "task.callback.on_all_done",
            "task.callback.on_all_done",
            callback_sample,
        ),
        ({"task": {"result_callback": False}}, "task.callback.on_all_done", "task.callback.on_all_done", None),
        # an explicit new name goes before the old one
        (
            {"worker": {"multiprocessing": True, "use_processing": False}},
            "worker.use_processing",
            "worker.use_processing",
            False,
        ),
        (
            {"worker": {"per_second": 2, "frequency_mode": {"interval": 5}}},
            "worker.frequency_mode",
            "worker.frequency_mode.interval",
            5.0,
        ),
        (
            {"worker": {"per_second": 2, "frequency_mode": {"enabled": False}}},
            "worker.frequency_mode",
            "worker.frequency_mode.enabled",
            False,
        ),
        (
            {"task": {"result_callback": callback_sample, "callback": {"on_all_done": False}}},
            "task.callback.on_all_done",
            "task.callback.on_all_done",
            None,
        ),
    ],
)
def test_an_old_name_means_its_replacement_and_says_so(
    raw: dict[str, Any], replacement: str, path: str, expected: object
) -> None:
    with pytest.warns(DeprecationWarning, match=replacement) as caught:
        found: Any = parse(raw)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == expected
    assert caught[0].filename == __file__  # the line of the user's code, or nobody would ever see it


def test_the_warning_of_an_old_name_skips_the_frames_of_the_package() -> None:
    inner: dict[str, Any] = {"__name__": "worker_dispatcher.last_run", "parse": parse}
    exec(compile("def start(raw):\n    return parse(raw)", "last_run.py", "exec"), inner)
    with pytest.warns(DeprecationWarning, match="use_processing") as caught:
        inner["start"]({"worker": {"multiprocessing": False}})
    assert [warning.filename for warning in caught] == [__file__]


def test_old_names_survive_in_merged_beside_what_they_mean() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = merged({"worker": {"per_second": 2, "multiprocessing": True}})
    assert (whole["worker"]["per_second"], whole["worker"]["multiprocessing"]) == (2, True)
    assert whole["worker"]["use_processing"] is True
    assert whole["worker"]["frequency_mode"]["enabled"] is True
    assert whole["worker"]["frequency_mode"]["interval"] == 2


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("worker.per_second", -1, "must be >= 0, got -1"),
        ("worker.per_second", "1", "got str '1'"),
        ("worker.per_second", True, "got bool True"),
        ("worker.multiprocessing", 1, "must be True or False, got int 1"),
        ("task.result_callback", 3, "must be callable, or False"),
    ],
)
def test_the_values_of_old_names_are_checked_too(path: str, value: object, said: str) -> None:
    assert said in problem(path, value)


def test_a_refused_config_does_not_warn_of_old_names_as_well() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert problems({"worker": {"multiprocessing": True, "number": 0}})[0][0] == "worker.number"


def test_parsing_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    parse({"debug": True, "verbose": True})
    assert capfd.readouterr() == ("", "")
