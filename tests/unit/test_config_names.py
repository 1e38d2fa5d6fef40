"""Names of options: unknown ones, those of a later version, and old ones."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from parsed import problem, problems

from worker_dispatcher.config.options import callback_sample, task_function_sample
from worker_dispatcher.config.parse import merged, parse

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
        ({"list": []}, "list", "it lives at 'task.list' (an iterable whose items come as `task`, or a count: "),
        (
            {"worker": {"cooldown": 3}},
            "worker.cooldown",
            "it lives at 'worker.frequency_mode.cooldown' (seconds at the end that the statistics leave out; "
            "needs 'enabled': True there)",
        ),
        (
            {"timeouts": 3},
            "timeouts",
            "did you mean 'task.timeout' (seconds that one attempt may run before it is stopped)?",
        ),
        (
            {"max_workers": 3},
            "max_workers",
            "here; how many tasks run at a time is 'worker.number'; 'worker.frequency_mode.max_workers' is another "
            "thing (the most tasks that may run at the same time; needs 'enabled': True there)",
        ),
        (
            {"worker": {"processes": 3}},
            "worker.processes",
            "here; so many processes are 'worker.number' with 'worker.use_processing'; "
            "'worker.parallel_processing.processes' is another thing (over how many processes the workers are spread; "
            "needs 'enabled': True there)",
        ),
        (
            {"seed": 1},
            "seed",
            "here; random numbers of tasks are seeded in the function, as in random.Random(id); "
            "'worker.frequency_mode.seed' is another thing (makes `'random'` and `'poisson'` the same each time; ",
        ),
        ({"task": {"random_seed": 1}}, "task.random_seed", "here; random numbers of tasks are seeded in the function"),
        ({"duration": 9}, "duration", "here; 'runtime' ends a run after so many seconds; 'worker.frequency_mode.dura"),
        (
            {"task": {"enabled": True}},
            "task.enabled",
            "it lives at 'worker.parallel_processing.enabled' or 'worker.frequency_mode.enabled'",
        ),
        (
            {"task": {"nubmer": 1}},
            "task.nubmer",
            "unknown option; did you mean 'worker.number' (how many workers run tasks",
        ),
        ({"zzz": 1}, "zzz", "unknown option; the options here are debug, verbose, runtime, progress, task, worker"),
        ({"worker.number": 1}, "worker.number", "nested, not dotted: write {'worker': {'number': ...}}"),
        (
            {"worker": {"frequency_mode.enabled": True}},
            "worker.frequency_mode.enabled",
            "write {'worker': {'frequency_mode': {'enabled': ...}}}",
        ),
        ({"jurnal": 1}, "jurnal", "unknown option; did you mean 'journal'?"),
        ({"worker": {"bakend": 1}}, "worker.bakend", "did you mean 'worker.backend'?"),
        ({"backend": 1}, "backend", "it lives at 'worker.backend' (where workers are: "),
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


@pytest.mark.parametrize("path", ["task", "worker", "task.callback", "task.backoff", "worker.frequency_mode"])
@pytest.mark.parametrize(("value", "kind"), [(None, "None"), ([("a", 1)], "list"), ("x", "str"), (3, "int")])
def test_a_section_is_a_dict_or_left_out(path: str, value: object, kind: str) -> None:
    assert f"must be a dict of options, got {kind}; " in problem(path, value)


def test_what_is_no_section_is_told_how_to_be_written() -> None:
    assert problem("task", [1, 2]).endswith("got list; write {'function': fn, 'list': items}")
    assert problem("worker", 3).endswith("got int; write {'number': 4}, or leave it out for the defaults")


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
        ("worker.per_second", "1 tick", "got str '1 tick'"),
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
