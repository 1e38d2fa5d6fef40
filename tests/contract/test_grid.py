"""What is special to worker processes: how many there are, who shares what, and that nobody idles."""

from __future__ import annotations

import os
import threading
import time

import pytest
from staging import SHAPES

import worker_dispatcher as wd

GRIDS = [name for name, shape in SHAPES.items() if shape.is_grid]


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(("number", "processes"), [(5, 2), (3, 3), (7, 3), (4, 1), (2, 8)])
def test_a_grid_runs_exactly_number_tasks_at_once_spread_evenly(run, notes, name, number, processes):
    def meet(id):
        notes.add(id)
        yield notes.count(number)
        return os.getpid()

    options = {"number": number, "parallel_processing": {"enabled": True, "processes": processes}}
    pids = run(SHAPES[name], meet, number, options)

    each = sorted(pids.count(pid) for pid in set(pids))
    assert len(each) == min(number, processes)
    assert each[-1] - each[0] <= 1


MIXED_CREWS = {  # the worker's options, and which tasks sleep: each so many-th
    "grid": ({"number": 40, "parallel_processing": {"enabled": True, "processes": 2}}, 1),
    "threads": ({"number": 40}, 1),
    "few threads": ({"number": 3}, 40),
}


@pytest.mark.parametrize("kept", ["records", "journal", "passed on"])
@pytest.mark.parametrize("notes_of_task", [False, True])
@pytest.mark.parametrize("crew", MIXED_CREWS)
def test_tasks_that_end_in_any_order_are_booked_each_as_its_own(tmp_path, kept, notes_of_task, crew):
    options, sleeps = MIXED_CREWS[crew]

    def nap(id):
        return id * 7 % 5 / 1000 if id % sleeps == 0 else 0

    def odd(id, metadata):
        if nap(id):
            time.sleep(nap(id))
        if notes_of_task and id % 3 == 0:
            metadata["id"] = id
        if id % 100 == 0:
            raise ValueError(id)
        return (id, os.getpid()) if notes_of_task else id

    config = {
        "task": {"list": 900, "function": odd},
        "worker": options,
        **({"journal": str(tmp_path / "journal")} if kept == "journal" else {}),
        "verbose": False,
    }
    logs = {log["task_id"]: log for log in wd.launch(config, keep_records=kept != "passed on")}
    assert sorted(logs) == list(range(1, 901))
    for id, log in logs.items():
        assert log["metadata"] == ({"id": id} if notes_of_task and id % 3 == 0 else {})
        assert log["status"] == ("ok" if id % 100 else "error")
        assert nap(id) <= log["duration"]
        assert 1 <= log["worker"] <= options["number"]
        if id % 100 and notes_of_task:
            assert log["result"] == (id, log["pid"])
        elif id % 100:
            assert log["result"] == id


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_never_runs_more_than_number_tasks_at_once(run, notes, name):
    def count(id):
        notes.add(f"+{id}")
        yield notes.has("go") if id <= 3 else notes.count(0)
        notes.add(f"-{id}")

    def let_go():
        notes.wait("+1", "+2", "+3")
        threading.Event().wait(0.1)  # time in which a fourth could begin wrongly
        notes.add("go")

    helper = threading.Thread(target=let_go)
    helper.start()
    run(SHAPES[name], count, 12, {"number": 3})
    helper.join()

    running = most = 0
    for note in notes.all():
        running += {"+": 1, "-": -1}.get(note[0], 0)
        most = max(most, running)
    assert most == 3


def test_a_slow_task_never_idles_the_others(process_shape, run, notes):
    """The first task ends only once all others have: it would wait in vain if one stood behind it."""

    def first_waits_for_all(id):
        if id == 1:
            yield notes.count(199)
        notes.add(id)
        return id

    assert run(process_shape, first_waits_for_all, 200, {"number": 4}) == list(range(1, 201))
    assert notes.all()[-1] == "1"


@pytest.mark.parametrize("name", GRIDS)
def test_slow_tasks_leave_all_others_to_the_one_thread_that_is_free(run, notes, name):
    """Wherever it is: what waits behind the slow tasks of one process goes to another that is busy, but not wholly."""

    def three_wait_for_all(id):
        if 500 <= id < 503:
            yield notes.count(597)
        notes.add(id)
        return id

    options = {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}}
    assert run(SHAPES[name], three_wait_for_all, 600, options) == list(range(1, 601))


def test_a_slow_task_in_the_midst_of_small_ones_holds_up_nobody(process_shape, run, notes):
    """Its batch was cut when tasks were tiny: what stands behind it must go to others."""

    def one_waits(id):
        if id == 500:
            yield notes.has("last")
        if id == 1000:
            yield notes.count(0)
        if id > 999:
            notes.add("last")
        return id

    assert run(process_shape, one_waits, 1000, {"number": 3}) == list(range(1, 1001))


def test_processes_are_as_many_as_number(notes, run):
    def meet(id):
        notes.add(id)
        yield notes.count(3)
        return os.getpid()

    assert len(set(run(SHAPES["processes"], meet, 3, {"number": 3}))) == 3


def test_what_cannot_be_sent_is_refused_by_name_before_anything_runs(process_shape, run):
    with pytest.raises(wd.ConfigError, match=r"task\.config\['lock'\]") as caught:
        run(process_shape, lambda id: id, 3, config={"fine": 1, "lock": threading.Lock()})

    assert "cannot be sent to a process" in str(caught.value)


@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")
def test_an_item_or_result_that_cannot_be_sent_is_that_tasks_error_only(process_shape, run):
    items = [1, threading.Lock(), 3]

    def gives_a_lock(id):
        return threading.Lock() if id == 3 else id

    results = run(process_shape, gives_a_lock, items)

    assert results[0] == 1
    assert "cannot be sent" in results[1].error["message"]
    assert "cannot be sent" in results[2].error["message"]
