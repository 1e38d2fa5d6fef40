"""A finished run that nobody holds is gone at once: reference counting frees it, and waits for no cycle collector."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import warnings
from collections import Counter

import pytest
from staging import SHAPES

import worker_dispatcher as wd
import worker_dispatcher.journal.form  # what the first journal loads for good
from worker_dispatcher import last_run

ROOMS = ("dispatch", "journal", "pools", "records", "reports", "osproc", "execute")
pytestmark = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


class Made:
    """What tasks return: where one is left, its run is."""

    def __init__(self, id):
        self.id = id


class Awkward:
    """Can be made, and not be sent."""

    def __reduce__(self):
        raise OSError("not over the wire")


class Poison(Made):
    """Can be sent, and not be loaded where it comes to."""

    def __reduce__(self):
        return loaded_in, (os.getpid(),)


def loaded_in(pid):
    if os.getpid() != pid:
        raise OSError("not here")
    return


def ours():
    """How many objects there are, of each kind that belongs to a run."""
    kinds = Counter(type(one) for one in gc.get_objects())
    rooms = tuple(f"worker_dispatcher.{room}" for room in ROOMS)
    # A class may have anything as its module: a slot of that name, for one.
    return Counter({one: n for one, n in kinds.items() if one is Made or str(one.__module__).startswith(rooms)})


def forget():
    """Of what the getters speak."""
    last_run._last = None
    last_run._here.last.clear()


@pytest.fixture
def nothing_stays():
    """Nothing that belongs to a run is there after the test that was not there before it, and nothing has collected."""
    wd.start({"task": {"list": 1, "function": Made}, "verbose": False})  # what the first call loads for good
    forget()
    gc.collect()
    gc.disable()
    before = ours()
    yield
    try:
        forget()
        left = ours() - before
    finally:
        gc.enable()
    assert not left


def fails_second(id):
    if id == 2:
        raise OSError("the second")
    return Made(id)


async def coroutine_fails_second(id):
    return fails_second(id)


def config_of(shape, function, items=4, top=None, worker=None, **task):
    worker = {"number": 2, **SHAPES[shape].options, **(worker or {})}
    return {"task": {"list": items, "function": function, **task}, "worker": worker, "verbose": False, **(top or {})}


def started(shape, function):
    wd.start(config_of(shape, function))


def asked_of(shape, function):
    wd.start(config_of(shape, function))
    str(wd.report())
    assert wd.get_tps()
    assert wd.get_logs()
    assert wd.get_result_info()


def lazy(shape, function):
    wd.start(config_of(shape, function, iter(range(4))))


def failing_list(shape, function):
    def items():
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        wd.start(config_of(shape, function, items()))


def launched(shape, function):
    run = wd.launch(config_of(shape, function))
    assert run.wait().done


def iterated(shape, function):
    assert len(list(wd.launch(config_of(shape, function)))) == 4


def handed_over(shape, function):
    assert len(list(wd.launch(config_of(shape, function), keep_records=False))) == 4


def awaited(shape, function):
    async def wait():
        await wd.launch(config_of(shape, function))

    asyncio.run(wait())


def raising(shape, function):
    with pytest.raises(OSError, match="the second"):
        wd.start(config_of(shape, function, on_error="raise"))


def raising_where_it_is_waited_for(shape, function):
    run = wd.launch(config_of(shape, function, on_error="raise"))
    for _ in range(2):
        with pytest.raises(OSError, match="the second"):
            run.wait()


def raising_unheard(shape, function):
    assert wd.launch(config_of(shape, function, on_error="raise"))._execution.thread.join() is None


def tried_again(shape, function):
    wd.start(config_of(shape, function, retries=1, retry_on=OSError))


def followed_up(shape, function):
    def fails(result):
        raise OSError("at the end")

    wd.start(config_of(shape, function, callback={"on_done": lambda result: result, "on_all_done": fails}))
    with pytest.raises(OSError, match="at the end"):
        wd.start(config_of(shape, Made, callback={"on_all_done": fails}, on_error="raise"))


def under_load(shape, function):
    load = {"enabled": True, "rate": 100, "duration": 0.1, "abort_on": ["error_rate>99%"]}
    wd.start(config_of(shape, function, None, worker={"number": None, "frequency_mode": load}))


def between_hooks(shape, function):
    wd.start(config_of(shape, function, worker={"init": os.getpid, "exit": os.getpid}))

    def fails():
        raise OSError("the hook")

    with pytest.raises(OSError, match="the hook"):
        wd.start(config_of(shape, function, worker={"init": fails}))


def not_sent(shape, function):
    wd.start(config_of(shape, function, [Awkward(), 1]))
    wd.start(config_of(shape, Poison))


def loud(shape, function):
    wd.start(config_of(shape, function, top={"verbose": True}))


WAYS = (
    *(started, asked_of, lazy, failing_list, launched, iterated, handed_over, awaited, raising, raising_unheard),
    *(raising_where_it_is_waited_for, tried_again, followed_up, under_load, between_hooks, not_sent, loud),
)


@pytest.mark.above_the_pools
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("shape", ["threads", "processes", "grid", "coroutine-threads", "coroutine-grid"])
def test_a_run_is_gone_when_nobody_holds_it(shape, way, nothing_stays, capsys):
    way(shape, coroutine_fails_second if SHAPES[shape].coroutine else fails_second)


@pytest.mark.parametrize("shape", ["threads", "processes", "coroutine-threads"])
def test_a_run_with_a_journal_is_gone_when_nobody_holds_it(shape, tmp_path, nothing_stays):
    function = coroutine_fails_second if SHAPES[shape].coroutine else fails_second
    for _ in range(2):
        wd.start(config_of(shape, function, top={"journal": tmp_path / "journal"}))


def join_workers(others):
    """Wait for the workers of this test: a test before it may have left one that is stuck."""
    for thread in threading.enumerate():
        if thread.name.startswith("worker-") and thread not in others:
            thread.join()


@pytest.mark.parametrize("shape", ["threads", "processes", "grid"])
def test_a_run_that_ctrl_c_has_ended_is_gone_when_nobody_holds_it(shape, notes, nothing_stays):
    def meet(id):
        notes.add(id)
        notes.wait("the end")

    def press():
        notes.wait(1)
        os.kill(os.getpid(), signal.SIGINT)
        notes.add("the end")

    others = threading.enumerate()
    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        wd.start(config_of(shape, meet, 2000))
    pressing.join()
    join_workers(others)


def test_a_task_that_is_over_its_time_keeps_no_run(nothing_stays):
    stuck, others = threading.Event(), threading.enumerate()
    with warnings.catch_warnings(action="ignore"):
        results = wd.start(config_of("threads", lambda id: Made(id) if id != 2 else stuck.wait(20), timeout=0.2))
    assert results[1].status == "timeout"
    stuck.set()
    join_workers(others)
