"""A task that failed says which item it was given, in every shape, and text shows it where it is short."""

from __future__ import annotations

import csv
import json
import pickle
import threading
import time
import warnings
import weakref
from pathlib import Path, PureWindowsPath

import pytest

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools

SECRET = "4000-1234-card"


class Row:
    """An item that is no text and no number."""


def fail(task):
    raise ValueError("no such order")


def fail_on(task):
    if task == SECRET:
        raise ValueError("no such order")
    return task


def die(task):
    import os

    os._exit(3)


def hang(task):
    time.sleep(60)


def test_a_failure_and_its_log_hold_the_very_item_in_every_shape(shape, run):
    rows = [Row(), "ORD_KL502", 17, {"a": 1}]
    failures = run(shape, fail, rows)

    assert all(failure.task is row for failure, row in zip(failures, rows, strict=True))
    assert [failure.input for failure in failures] == ["", "'ORD_KL502'", "17", ""]
    logs = wd.get_logs()
    assert all(log["task"] is row for log, row in zip(logs, rows, strict=True))
    assert [log["input"] for log in logs] == ["", "'ORD_KL502'", "17", ""]


def test_the_log_of_a_task_that_is_ok_holds_no_item(shape, run):
    run(shape, fail_on, ["fine", SECRET])
    fine, failed = wd.get_logs()
    assert "task" not in fine
    assert "input" not in fine
    assert failed["task"] == SECRET


@pytest.mark.parametrize(("function", "status"), [(die, "crashed"), (hang, "timeout")])
def test_a_task_that_died_or_was_late_holds_its_item(run, process_shape, function, status):
    if process_shape.coroutine:
        pytest.skip("the deed is a plain function's")
    row = Row()
    (failure,) = run(process_shape, function, [row], timeout=1)
    assert failure.status == status
    assert failure.task is row


def test_a_thread_that_was_late_and_one_that_was_cancelled_hold_their_items():
    late, cancelled = Row(), Row()
    gate = threading.Event()

    def wait(task):
        gate.wait(20)

    base = {"task": {"list": [late], "function": wait, "timeout": 0.1}, "verbose": False}
    with pytest.warns(wd.TaskFailuresWarning):
        assert wd.start(base)[0].task is late
    (found,) = wd.start({"task": {"list": [cancelled], "function": wait}, "runtime": 1, "verbose": False})
    gate.set()
    assert (found.status, found.task) == ("cancelled", cancelled)
    assert wd.get_logs()[0]["task"] is cancelled


def test_a_task_that_was_given_out_and_did_not_run_holds_its_item():
    gate = threading.Event()
    rows = [Row() for _ in range(4)]
    config = {
        "task": {"list": rows, "function": lambda task: gate.wait(20)},
        "worker": {"number": 1},
        "runtime": 0.1,
        "verbose": False,
    }
    left = wd.launch(config).wait()._execution.records.results
    gate.set()
    assert left[1].status == "not_run"
    assert left[1].task is rows[1]


def test_a_task_that_was_dropped_holds_its_item():
    gate = threading.Event()

    def busy(task):
        gate.wait(0.3)

    load = {"enabled": True, "interval": 0.05, "max_workers": 1, "on_saturation": "drop"}
    results = wd.start(
        {
            "task": {"list": ["a", "b", "c", "d", "e", "f", "g", "h"], "function": busy},
            "worker": {"number": 1, "frequency_mode": load},
            "verbose": False,
        }
    )
    gate.set()
    dropped = [one for one in results if isinstance(one, wd.TaskFailure)]
    assert dropped
    assert [one.task for one in dropped] == ["abcdefgh"[one.task_id - 1] for one in dropped]


def test_on_all_done_that_raises_leaves_the_item_of_its_task():
    def complain(result):
        raise KeyError(result)

    items = [Row(), "b"]
    with pytest.warns(wd.TaskFailuresWarning):
        failures = wd.start(
            {"task": {"list": items, "function": id, "callback": {"on_all_done": complain}}, "verbose": False}
        )
    assert [failure.task for failure in failures] == items


@pytest.mark.parametrize("kept", [True, False])
def test_items_are_handed_over_and_let_go_with_the_records(kept):
    run = wd.launch(
        {"task": {"list": (Row() for _ in range(3)), "function": fail}, "worker": {"number": 1}, "verbose": False},
        keep_records=kept,
    )
    rows = [weakref.ref(log["task"]) for log in run]
    with pytest.warns(wd.TaskFailuresWarning):
        run.wait()
    assert [row() is not None for row in rows] == [kept] * 3


@pytest.mark.parametrize("shown", [True, False])
def test_text_shows_a_short_item_and_none_where_that_is_not_wanted(shown, capsys):
    config = {
        "task": {"list": ["fine", SECRET, "x" * 90], "function": fail_on, "show_input": shown},
        "progress": False,
    }
    failure = wd.start(config)[1]
    printed = capsys.readouterr().out
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wd.start(config | {"verbose": False})
    with pytest.raises(ValueError, match="no such order") as raised:
        wd.start(config | {"verbose": False, "task": {**config["task"], "on_error": "raise"}})
    texts = [printed, str(caught[0].message), "\n".join(raised.value.__notes__), repr(failure)]

    assert failure.task == SECRET
    assert [SECRET in text for text in texts] == [shown] * 4
    assert f"  #2  {SECRET!r}  ValueError: no such order" in printed or not shown
    assert wd.get_logs()[1]["input"] == (repr(SECRET) if shown else "")


def test_a_long_text_is_shown_nowhere(capsys):
    wd.start({"task": {"list": ["x" * 81], "function": fail}, "progress": False})
    assert "xxx" not in capsys.readouterr().out


class Secret(type(Path())):
    """A path whose text is made by code of the user's."""

    def __str__(self):
        raise AssertionError

    __fspath__ = __repr__ = __str__


def test_a_path_is_shown_as_a_text_is_and_one_of_a_class_of_the_users_is_not(shape, run):
    items = [Path("pics/a.png"), PureWindowsPath("C:/b.png"), Path("x" * 81)]
    results = run(shape, fail, items)
    assert [result.input for result in results] == ["'pics/a.png'", r"'C:\\b.png'", ""]
    assert repr(results[0]) == "<TaskFailure #1 'pics/a.png' error: ValueError: no such order>"
    assert wd.start({"task": {"list": [Secret("a")], "function": fail}, "progress": False})[0].input == ""


@pytest.mark.parametrize("item", ["plain", threading.Lock()])
def test_results_with_a_failure_can_be_pickled_whatever_the_item_is(item):
    with pytest.warns(wd.TaskFailuresWarning):
        (failure,) = wd.start({"task": {"list": [item], "function": fail}, "verbose": False})
    again = pickle.loads(pickle.dumps(failure))
    assert again == failure
    assert (again.task, again.input) == (("plain", "'plain'") if item == "plain" else (None, ""))


def test_a_journal_keeps_the_items_of_failed_tasks(tmp_path, shape, run):
    journal = tmp_path / "run.db"
    items = ["fine", SECRET, "also fine"]
    run(shape, fail_on, items, top={"journal": str(journal)})
    logs = wd.read_journal(journal)
    assert [log.get("task") for log in logs] == [None, SECRET, None]
    assert (logs[1]["result"].task, logs[1]["input"]) == (SECRET, repr(SECRET))

    run(shape, fail_on, items, top={"journal": str(journal)})
    assert [log.get("task") for log in wd.get_logs()] == [None, SECRET, None]


def test_a_large_item_is_not_written_into_a_journal(tmp_path):
    journal = tmp_path / "run.db"
    config = {"task": {"list": [b"x" * 1_000_000], "function": fail}, "journal": str(journal), "verbose": False}
    with pytest.warns(wd.TaskFailuresWarning):
        assert wd.start(config)[0].task == b"x" * 1_000_000
    assert wd.read_journal(journal)[0]["task"] is None
    assert journal.stat().st_size < 200_000


def test_the_failures_of_a_run_are_listed_whatever_truth_the_results_have():
    run = wd.launch(
        {"task": {"list": [0, SECRET, "", SECRET], "function": fail_on}, "worker": {"number": 1}, "verbose": False}
    )
    with pytest.warns(wd.TaskFailuresWarning):
        run.wait()
    assert [failure.task_id for failure in run.failures] == [2, 4]
    assert run.failures == [one for one in run.results if isinstance(one, wd.TaskFailure)]


@pytest.mark.parametrize("shown", [True, False])
def test_reports_and_files_show_the_input_and_hold_no_item(tmp_path, shown):
    config = {"task": {"list": ["fine", SECRET], "function": fail_on, "show_input": shown}, "verbose": False}
    with pytest.warns(wd.TaskFailuresWarning):
        wd.start(config)
    made = [wd.report(), wd.report(wd.get_logs())]
    texts = [str(one) for one in made] + [one._repr_html_() for one in made]
    for one in made:
        for write in ("to_csv", "to_jsonl", "to_json", "to_html"):
            getattr(one, write)(tmp_path / write)
            texts.append((tmp_path / write).read_text())
    again = wd.report(tmp_path / "to_jsonl")
    header, _, failed = csv.reader((tmp_path / "to_csv").read_text().splitlines())
    line = json.loads((tmp_path / "to_jsonl").read_text().splitlines()[1])

    assert [SECRET in text for text in texts if "<table" not in text] == [shown] * 8
    assert shown or not any(SECRET in text for text in texts)
    assert f"#2 {SECRET!r}" in str(again) or not shown
    assert failed[header.index("input")] == (repr(SECRET) if shown else "")
    assert line["input"] == (repr(SECRET) if shown else "")
    assert "task" not in line
