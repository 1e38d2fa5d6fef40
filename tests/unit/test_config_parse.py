"""What a config may hold: defaults, values that are kept, and what is made of the whole."""

from __future__ import annotations

import copy
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum, StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import openpyxl
import pytest
from parsed import nested, problem

from worker_dispatcher.config.options import callback_sample, task_function_sample
from worker_dispatcher.config.parse import merged, parse
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.retry import Backoff


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


@pytest.mark.parametrize(
    ("methods", "fix"),
    [
        (("itertuples",), "give df.itertuples()"),  # pandas, and what is made after it
        (("iter_rows", "get_columns"), "give df.iter_rows()"),  # polars
        (("to_pylist", "itercolumns"), "give table.to_pylist()"),  # pyarrow
    ],
)
def test_a_frame_is_refused_since_its_column_names_would_be_the_tasks(methods: tuple[str, ...], fix: str) -> None:
    def columns(frame: object) -> Iterator[str]:
        return iter(["price", "amount"])

    frame = type("DataFrame", (), {"__iter__": columns, **dict.fromkeys(methods, columns)})
    subclass = type("GeoDataFrame", (frame,), {})
    said = "gives its columns when it is iterated, not its rows; "
    assert problem("task.list", frame()) == f"a DataFrame {said}{fix}"
    assert problem("task.list", subclass()) == f"a GeoDataFrame {said}{fix}"


def test_a_sheet_that_is_iterated_by_rows_is_a_task_list() -> None:
    sheet = openpyxl.Workbook().active
    assert parse({"task": {"list": sheet, "function": str}}).task.list is sheet


@pytest.mark.parametrize("value", [None, True, False])
def test_progress_may_be_left_to_verbose(value: bool | None) -> None:
    assert parse({"progress": value}).progress is value
    assert parse().progress is None


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
