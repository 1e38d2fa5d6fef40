"""How a loop over a run ends, and a wait for it: with what the run raises, and on Ctrl-C as `start` does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from staging import LONGEST_WAIT, Notes

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools

KEPT = "and all logs are kept: worker_dispatcher.get_results(), get_logs()"


def in_for(run):
    seen = []
    try:
        for log in run:
            seen.append(log["task_id"])
    except BaseException as error:
        return seen, error
    return seen, None


def in_async_for(run):
    async def main():
        seen = []
        try:
            async for log in run:
                seen.append(log["task_id"])
        except BaseException as error:
            return seen, error
        return seen, None

    return asyncio.run(main())


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "handed over"])
@pytest.mark.parametrize("loop", [in_for, in_async_for])
def test_a_loop_raises_after_its_last_log_what_start_would_have_raised(shape, loop, kept, make_config):
    def fails_at_two(id):
        if id == 2:
            raise ZeroDivisionError("two")
        return id

    config = make_config(shape, fails_at_two, 3, {"number": 1}, on_error="raise")
    with pytest.raises(ZeroDivisionError) as started:
        wd.start(config)
    run = wd.launch(config, keep_records=kept)
    seen, error = loop(run)
    assert seen[:2] == [1, 2]
    assert run.done
    assert type(error) is ZeroDivisionError
    assert error.args == started.value.args
    assert error.__notes__[0].startswith("  task #2 of 3, attempt 1")


@pytest.mark.parametrize("loop", [in_for, in_async_for])
def test_a_loop_raises_what_the_list_raised_and_what_on_all_done_raised(loop):
    def items():
        yield 1
        raise OSError("no rows")

    seen, error = loop(wd.launch({"task": {"list": items(), "function": str}, "verbose": False}))
    assert (seen, type(error), str(error)) == ([1], OSError, "no rows")
    task = {"list": [1], "function": str, "on_error": "raise", "callback": {"on_all_done": lambda result: 1 / 0}}
    seen, error = loop(wd.launch({"task": task, "verbose": False}))
    assert (seen, type(error)) == ([1], ZeroDivisionError)


@pytest.mark.parametrize("loop", [in_for, in_async_for])
def test_a_loop_over_a_run_that_records_its_failures_raises_nothing(loop):
    seen, error = loop(wd.launch({"task": {"list": [1, 0], "function": lambda n: 1 / n}, "verbose": False}))
    assert (sorted(seen), error) == ([1, 2], None)


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "handed over"])
@pytest.mark.leaves_threads(2)
def test_a_run_is_over_and_says_so_once_its_await_has_timed_out(shape, kept, make_config, notes, wait_until):
    def stays(id):
        notes.add(id)
        yield notes.has("the end")

    run = wd.launch(make_config(shape, stays, 4, {"number": 2}), keep_records=kept)
    wait_until(notes.count(2))

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run, 0.01)
        return run.done, run.info["stopped"], run.info["counts"]["cancelled"]

    assert asyncio.run(main()) == (True, "cancel", 2)
    notes.add("the end")


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "handed over"])
@pytest.mark.leaves_threads(2)
def test_a_run_is_over_once_an_async_for_that_waits_for_its_next_log_is_cancelled(kept, make_config, notes):
    async def follow(run):
        async for _ in run:
            raise AssertionError("nothing ends")

    async def main():
        run = wd.launch({"task": {"list": 2, "function": lambda id: notes.wait("the end")}, "verbose": False})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(follow(run), 0.1)
        return run.done, run.info["stopped"]

    assert asyncio.run(main()) == (True, "cancel")
    notes.add("the end")


def test_a_second_cancel_does_not_wait_until_the_run_is_over(notes):
    def hold(result):
        notes.add("in on_all_done")
        notes.wait("the end")

    async def wait(run):
        await run

    async def main():
        task = {"list": 1, "function": abs_of, "callback": {"on_all_done": hold}}
        run = wd.launch({"task": task, "verbose": False})
        waiting = asyncio.create_task(wait(run))
        await asyncio.to_thread(notes.wait, "in on_all_done")
        for _ in range(2):
            waiting.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not run.done
        notes.add("the end")
        await asyncio.to_thread(run.wait, LONGEST_WAIT)

    asyncio.run(main())


def abs_of(id):
    return abs(id)


def test_a_run_that_was_told_to_stop_says_why_at_once(notes):
    run = wd.launch({"task": {"list": 1, "function": lambda id: notes.wait("the end")}, "verbose": False})
    assert run.info["stopped"] is None
    run.cancel()
    assert run.info["stopped"] == "cancel"
    notes.add("the end")
    run.wait(LONGEST_WAIT)


def in_the_loop(run, notes):
    for log in run:
        if log["task_id"] == 1:
            notes.add("one has ended")
    raise AssertionError("the loop came to its end")


def in_its_body(run, notes):
    for log in run:
        if log["task_id"] == 1:
            notes.add("one has ended")
            notes.wait("never")
    raise AssertionError("the loop came to its end")


def in_the_body_of_another(run, notes):
    for _ in wd.launch({"task": {"list": 2, "function": abs_of}, "verbose": False}):
        in_the_loop(run, notes)


def in_a_wait(run, notes):
    def follow():
        for log in run:
            if log["task_id"] == 1:
                notes.add("one has ended")
                return

    following = threading.Thread(target=follow)
    following.start()
    try:
        run.wait()
    finally:
        following.join()


def in_a_start_in_its_body(run, notes):
    def work(id):
        notes.add("one has ended")
        notes.wait("the end")

    for _ in run:
        wd.start({"task": {"list": 1, "function": work}, "verbose": False})


@pytest.mark.leaves_threads
@pytest.mark.parametrize(
    "place",
    [in_the_loop, in_its_body, in_the_body_of_another, in_a_wait, in_a_start_in_its_body],
    ids=lambda f: f.__name__,
)
def test_ctrl_c_in_a_loop_stops_the_run_and_leaves_the_loop(shape, place, make_config, notes, wait_until):
    def first_ends(id):
        if id > 1:
            yield notes.has("the end")
        return id

    def press():
        notes.wait("one has ended")
        wait_until(lambda: signal.getsignal(signal.SIGINT) is not signal.default_int_handler)  # in_a_wait: it waits
        os.kill(os.getpid(), signal.SIGINT)

    run = wd.launch(make_config(shape, first_ends, 9, {"number": 2}))
    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        place(run, notes)
    pressing.join()
    assert KEPT in caught.value.__notes__[0]
    run.wait(LONGEST_WAIT)  # one press raises once
    notes.add("the end")
    assert run.info["stopped"] == "interrupt"
    assert run.results[0] == 1
    assert sum(run.info["counts"].values()) == 9
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("way", ["break", "exception", "close"])
def test_a_loop_that_is_left_early_leaves_the_run_and_the_handler_of_ctrl_c_alone(way):
    run = wd.launch({"task": {"list": 50, "function": abs_of}, "verbose": False})
    if way == "break":
        for _ in run:
            break
    elif way == "close":
        logs = iter(run)
        next(logs)
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        logs.close()
    else:
        with suppress(LookupError):
            for _ in run:
                raise LookupError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert run.wait(LONGEST_WAIT).info["counts"]["ok"] == 50


def test_loops_that_end_in_another_order_than_they_began_put_the_handler_back():
    runs = [wd.launch({"task": {"list": 3, "function": abs_of}, "verbose": False}) for _ in range(2)]
    first, second = map(iter, runs)
    next(first), next(second)
    first.close()
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    second.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    for run in runs:
        run.wait(LONGEST_WAIT)


def test_a_handler_of_the_program_stays_while_a_run_is_iterated():
    def mine(number, frame):
        """The program's own."""

    before = signal.signal(signal.SIGINT, mine)
    try:
        for _ in wd.launch({"task": {"list": 3, "function": abs_of}, "verbose": False}):
            assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


PROGRAM = """
import pathlib
import sys
import worker_dispatcher
from notes import Notes

notes = Notes(pathlib.Path("notes"))

def work(task):
    if task > 1:
        notes.add("running")
        notes.wait("the end")
    return task

def body(log):
    if "body" in sys.argv:
        notes.wait("the end")

config = {"task": {"list": [1, 2, 3], "function": work}, "worker": {"number": 1}, "journal": "run.db", "verbose": False}
if "start" in sys.argv:
    worker_dispatcher.start(config)
for log in worker_dispatcher.launch(config):
    body(log)
print("the loop came to its end")
"""


@pytest.mark.parametrize("way", ["start", "loop", "body"])
def test_a_program_that_is_interrupted_says_that_its_journal_goes_on(way, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    path = os.pathsep.join(filter(None, sys.path))
    program = subprocess.Popen(
        [sys.executable, "program.py", way],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    Notes(tmp_path / "notes").wait("running")
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert out == ""
    assert program.returncode == -signal.SIGINT
    assert err.rstrip().endswith(
        f"KeyboardInterrupt\n  1 result {KEPT}\n  run.db has what was done: run it again to go on"
    )
