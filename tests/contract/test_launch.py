"""launch(): a handle at once."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings

import pytest

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools

quiet_failures = pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")


def test_iterating_gives_each_log_once_as_its_task_ends(shape, make_config, notes):
    def first_waits(id):
        if id == 1:
            yield notes.has("go")
        return id

    handle = wd.launch(make_config(shape, first_waits, 6, {"number": 2}))
    seen = []
    for log in handle:
        seen.append(log["task_id"])
        assert log["result"] == log["task_id"]
        assert log["pid"]
        if len(seen) == 5:
            assert not handle.done
            notes.add("go")

    assert sorted(seen) == [1, 2, 3, 4, 5, 6]
    assert seen[-1] == 1
    assert handle.done
    assert handle.results == [1, 2, 3, 4, 5, 6]


@pytest.mark.leaves_threads(2)
def test_cancel_stops_what_runs_and_what_waits(shape, make_config, notes, wait_until):
    def stays(id):
        notes.add(id)
        yield notes.has("the end")

    handle = wd.launch(make_config(shape, stays, 10, {"number": 2}))
    wait_until(notes.count(2))
    handle.cancel()
    handle.cancel()
    handle.wait(5)
    notes.add("the end")

    counts = handle.info["counts"]
    assert counts["cancelled"] == 2
    assert counts["not_run"] == 8
    assert [log["status"] for log in handle.logs] == ["cancelled"] * 2


def load_slowly(notes):
    notes.add("loads")
    notes.wait("the end")


class SlowToLoad:
    def __init__(self, notes):
        self.notes = notes

    def __reduce__(self):
        return load_slowly, (self.notes,)


def test_a_task_that_is_being_loaded_when_the_run_is_cancelled_was_not_run(process_shape, make_config, notes):
    handle = wd.launch(make_config(process_shape, lambda task: task, [SlowToLoad(notes)], {"number": 1}))
    notes.wait("loads")
    handle.cancel()
    handle.wait(5)
    notes.add("the end")

    assert handle.logs == []
    assert handle.info["not_run"] == [1]


def test_cancel_before_and_after_the_run_is_harmless(shape, make_config):
    handle = wd.launch(make_config(shape, lambda id: id, 3))
    handle.wait(10)
    handle.cancel()

    assert handle.results == [1, 2, 3]
    assert handle.info["counts"]["ok"] == 3


def test_cancel_at_once_ends_with_everything_accounted_for(shape, make_config):
    for _ in range(5):
        handle = wd.launch(make_config(shape, lambda id: id, 1000))
        handle.cancel()
        handle.wait(5)
        assert sum(handle.info["counts"].values()) == 1000


def test_wait_gives_up_after_its_timeout_and_the_run_goes_on(shape, make_config, notes):
    def stays(id):
        yield notes.has("go")
        return id

    handle = wd.launch(make_config(shape, stays, 1))
    with pytest.raises(TimeoutError, match="not done"):
        handle.wait(0.05)
    notes.add("go")

    assert handle.wait(10) is handle
    assert handle.results == [1]


def test_a_run_can_be_awaited_while_the_loop_goes_on(shape, make_config, notes):
    def after_the_loop_went_on(id):
        yield notes.has("the loop went on")
        return id

    async def go_on():
        await asyncio.sleep(0.05)
        notes.add("the loop went on")

    async def main():
        handle = wd.launch(make_config(shape, after_the_loop_went_on, 4))
        going = asyncio.create_task(go_on())
        done = await handle
        await going
        assert await handle is handle  # also when it is done
        return done is handle, done.results

    assert asyncio.run(main()) == (True, [1, 2, 3, 4])


def test_two_launched_runs_do_not_mix(shape, make_config, notes):
    def meet(id, config):
        notes.add(config)
        yield notes.has("a", "b")
        return config, id

    handles = {name: wd.launch(make_config(shape, meet, 5, config=name)) for name in "ab"}

    for name, handle in handles.items():
        assert handle.wait(20).results == [(name, n) for n in range(1, 6)]


def test_a_launched_run_is_the_last_run_once_it_is_done(shape, make_config):
    handle = wd.launch(make_config(shape, lambda id: id, 3)).wait(10)

    assert wd.get_results() is handle.results
    assert wd.get_logs() is handle.logs


def test_wait_raises_what_the_run_raises_every_time(shape, make_config):
    def fails(id):
        raise ZeroDivisionError("launched")

    handle = wd.launch(make_config(shape, fails, 3, on_error="raise"))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="launched"):
            handle.wait(10)

    assert handle.done
    assert handle.info["counts"]["error"] >= 1


def test_wait_warns_of_failures_once_at_the_users_line(shape, make_config):
    def fails(id):
        raise ValueError(id)

    handle = wd.launch(make_config(shape, fails, 2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        handle.wait(10)
        handle.wait(10)

    assert [w.filename for w in caught if w.category is wd.TaskFailuresWarning] == [__file__]


def test_a_broken_config_is_refused_at_once():
    with pytest.raises(wd.ConfigError):
        wd.launch({"task": {"lst": []}})


def test_the_handles_lists_stay_the_same_objects(shape, make_config):
    handle = wd.launch(make_config(shape, lambda id: id, 3)).wait(10)

    assert handle.results is handle.results
    assert handle.logs is handle.logs
    assert "3 ok" in repr(handle)


def test_the_runtime_of_a_launched_run_does_not_wait_for_a_list_that_blocks():
    go = threading.Event()

    def tasks():
        yield 1
        go.wait(20)
        yield 2

    began = time.monotonic()
    config = {"task": {"list": tasks(), "function": str}, "worker": {"number": 2}, "runtime": 0.5, "verbose": False}
    assert wd.launch(config).wait().results == ["1"]
    assert time.monotonic() - began < 5
    go.set()


def test_a_launched_run_has_printed_all_it_says_when_it_is_done(capsys):
    for _ in range(20):
        wd.launch({"task": {"list": [1], "function": str}, "worker": {"number": 1}}).wait()
        assert "Completed Tasks Count: 1" in capsys.readouterr().out


def test_waiting_for_a_run_can_be_given_up_in_a_loop():
    release = threading.Event()

    async def main(run):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(run), 0.1)
        release.set()
        return (await run).results

    run = wd.launch({"task": {"list": [1], "function": lambda task: release.wait(20)}, "verbose": False})
    began = time.monotonic()
    assert asyncio.run(main(run)) == [True]
    assert time.monotonic() - began < 5


def test_a_count_beyond_memory_can_be_cut_short():
    config = {"task": {"list": 10**12, "function": str}, "worker": {"number": 2}, "runtime": 0.2, "verbose": False}
    run = wd.launch(config).wait()
    counts = run.info_without_ids()["counts"]
    assert sum(counts.values()) == 10**12
