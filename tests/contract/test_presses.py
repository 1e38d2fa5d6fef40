"""Ctrl-C, and what other handlers of signals raise, leaves a call at whatever moment it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
from notes import wait_for
from staging import LONGEST_WAIT

import worker_dispatcher as wd
from worker_dispatcher.pools import base

PROGRAM = Path(__file__).with_name("pressed.py")
SHAPES = {"threads": {}, "processes": {"use_processing": True}, "grid": {"parallel_processing": {"enabled": True}}}
MOMENTS = {
    ("threads", "SIGINT"): 35,
    ("lazy", "SIGINT"): 25,
    ("processes", "SIGINT"): 40,
    ("threads", "SIGALRM"): 20,
    ("processes", "SIGALRM"): 20,
    ("journal", "SIGALRM"): 20,
    ("command", "SIGINT"): 15,
}


@pytest.fixture(params=SHAPES)
def worker(request):
    return {"number": 2, **SHAPES[request.param]}


class Watch(Exception):
    """What the alarm raises."""


@pytest.fixture
def alarm():
    """alarm(fact, error): raise it out of a signal's handler; that is sent once the fact is true, or by others."""
    number = signal.SIGUSR2  # pytest-timeout has its own use for the alarm
    before = signal.getsignal(number)

    def at(fact, error, sends=True):
        def ring(number, frame):
            raise error

        def send():
            fact()
            os.kill(os.getpid(), number)

        signal.signal(number, ring)
        ringing = threading.Thread(target=send)
        if sends:
            ringing.start()
        return ringing

    yield at
    signal.signal(number, before)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("share", [0.25, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("shape", "name"), MOMENTS, ids=map("-".join, MOMENTS))
def test_a_first_call_is_left_wherever_it_is_pressed(shape, name, share, tmp_path):
    command = [sys.executable, str(PROGRAM), shape, name, str(int(share * MOMENTS[shape, name])), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.stdout == "tried\n", done.stdout + done.stderr


# Functions of ours with a guard: around them, or of their own.
GUARDED = {
    "processes": "fill_standard_descriptors,_warning_filters,status_of_this_thread,identity_of,start_with,as_file,_have"
    ",_text,shared,_write,_read,_understand,hang_up,close_all",
    "journal": "locate,look,_about,_take,check,_beside,connect,config_of,record_run,commit,release",
}


@pytest.mark.parametrize("shape", GUARDED)
def test_no_guard_takes_what_an_alarm_raises_for_an_error_of_its_own(shape, tmp_path):
    """Most that set an alarm have it raise a TimeoutError, which is an OSError."""
    command = [sys.executable, str(PROGRAM), shape, "SIGALRM", GUARDED[shape], str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "tried\n", done.stdout + done.stderr


class Pressing:
    """Presses, or rings, while it is packed."""

    number = signal.SIGINT

    def __reduce__(self):
        os.kill(os.getpid(), self.number)
        time.sleep(0.01)
        return int, ()


def search(config):
    wd.find_max_rate(config, "error_rate<1%", start=20, most=20, duration=0.1)


@pytest.mark.parametrize("call", [wd.start, wd.launch, search])
def test_a_press_while_the_config_is_packed_is_no_config_error(call):
    task = {"list": 2, "function": abs, "config": Pressing()}
    with pytest.raises(KeyboardInterrupt):
        call({"task": task, "worker": {"use_processing": True}, "verbose": False})


@pytest.mark.parametrize("call", [wd.start, wd.launch, search])
def test_what_a_handler_raises_while_the_config_is_packed_is_no_config_error(call, monkeypatch, alarm):
    alarm(lambda: None, Watch("over"), sends=False)
    monkeypatch.setattr(Pressing, "number", signal.SIGUSR2)
    task = {"list": 2, "function": abs, "config": Pressing()}
    with pytest.raises(Watch):
        call({"task": task, "worker": {"use_processing": True}, "verbose": False})


def test_a_press_that_the_module_of_a_command_swallows_interrupts_the_command(script, tmp_path):
    swallowing = (
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\n"
    )
    (tmp_path / "shop.py").write_text(swallowing + "def visit(task): print('visited')\n")
    done = script("-m", "worker_dispatcher", "run", "shop:visit", "--list", "3", "--quiet")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("worker-dispatcher run: interrupted")


def test_a_press_while_workers_end_leaves_the_call_and_keeps_the_results(worker, notes):
    def leave():
        notes.add("leaving")
        notes.wait("pressed")

    def press():
        notes.wait("leaving")
        os.kill(os.getpid(), signal.SIGINT)
        notes.add("pressed")

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        wd.start({"task": {"list": [1, 2], "function": abs}, "worker": {**worker, "exit": leave}, "verbose": False})
    pressing.join()
    assert wd.get_results() == [1, 2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.leaves_threads
@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_press_cuts_short_what_worker_exit_takes_and_another_ends_it_at_once(
    shape, lazy, presses, make_config, notes, monkeypatch
):
    monkeypatch.setattr(base.Setup, "exit_grace", 60.0)
    if presses == 2:
        monkeypatch.setattr(base, "_HURRIED", 60.0)
    heard, lose = threading.Semaphore(0), base.Patience.lose
    monkeypatch.setattr(base.Patience, "lose", lambda patience: (lose(patience), heard.release()))

    def leave():
        notes.add("leaving")
        notes.wait("the end")

    def press():
        notes.wait("leaving")
        for _ in range(presses):
            os.kill(os.getpid(), signal.SIGINT)
            heard.acquire(timeout=LONGEST_WAIT)  # two that come before the first is heard are one

    pressing = threading.Thread(target=press)
    pressing.start()
    began = time.monotonic()
    tasks = iter([1, 2]) if lazy else [1, 2]
    with pytest.raises(KeyboardInterrupt):
        wd.start(make_config(shape, abs, tasks, {"number": 2, "exit": leave}))
    assert time.monotonic() - began < LONGEST_WAIT
    notes.add("the end")
    pressing.join()
    assert wd.get_results() == [1, 2]


def press_unfelt():
    """Ctrl-C that the system gives to a thread that is not the main one: it cuts none of that one's waits short."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


@pytest.mark.leaves_threads
def test_a_press_that_ends_no_wait_is_heard_while_workers_end(shape, make_config, notes, monkeypatch):
    monkeypatch.setattr(base.Setup, "exit_grace", 60.0)

    def leave():
        notes.add("leaving")
        try:
            notes.wait("the end")
        finally:
            notes.add("left")

    def press():
        notes.wait("leaving")
        press_unfelt()

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        wd.start(make_config(shape, abs, [1, 2], {"number": 1, "exit": leave}))
    assert not notes.has("left")()
    notes.add("the end")
    pressing.join()


@pytest.mark.leaves_threads
@pytest.mark.parametrize(
    ("wait", "keep_records"), [(wd.Run.wait, True), (list, True), (list, False)], ids=["wait", "loop", "passing"]
)
def test_a_press_that_ends_no_wait_is_heard_by_who_waits_for_a_run(wait, keep_records, notes):
    def stay(task):
        notes.add("running")
        notes.wait("the end")

    def waits():
        calls = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident])
        return calls[-1].name == "wait" and any("worker_dispatcher/dispatch" in one.filename for one in calls)

    def press():
        notes.wait("running")
        wait_for(waits)
        press_unfelt()

    config = {"task": {"list": 1, "function": stay}, "verbose": False}
    run = wd.launch(config, keep_records=keep_records)
    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        wait(run)
    notes.add("the end")
    pressing.join()
    assert run.wait(LONGEST_WAIT).info["counts"]["cancelled"] == 1


@pytest.mark.filterwarnings("ignore::worker_dispatcher.errors.TaskFailuresWarning")
@pytest.mark.leaves_threads
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("error", [Watch("over"), SystemExit(3)], ids=["exception", "exit"])
def test_what_a_handler_raises_leaves_the_call_and_keeps_what_was_done(worker, error, lazy, alarm, notes):
    def meet(task):
        if task > 1:
            notes.add("running")
            notes.wait("the end")
        return task

    tasks = [1, *range(2, 9)]
    ringing = alarm(lambda: notes.wait("running"), error)
    task = {"list": iter(tasks) if lazy else tasks, "function": meet}
    with pytest.raises(type(error)):
        wd.start({"task": task, "worker": {**worker, "number": 1}, "verbose": False})
    notes.add("the end")
    ringing.join()
    info = wd.get_result_info()
    assert info["stopped"] == "exception"
    assert wd.get_results()[0] == 1
    assert wd.get_logs()[1]["status"] == "cancelled"
    assert wd.get_logs()[1]["error"]["message"] == "the task was running when an exception ended the run"
    assert info["counts"]["ok"] == 1


def test_what_a_handler_raises_while_workers_end_leaves_the_call(worker, alarm, notes):
    def leave():
        notes.add("leaving")
        notes.wait("rung")

    def rung():
        notes.wait("leaving")
        threading.Timer(0.2, notes.add, ["rung"]).start()

    ringing = alarm(rung, Watch("over"))
    with pytest.raises(Watch):
        wd.start({"task": {"list": [1, 2], "function": abs}, "worker": {**worker, "exit": leave}, "verbose": False})
    ringing.join()
    assert wd.get_results() == [1, 2]
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def test_a_handler_that_is_put_there_during_a_run_is_there_after_it():
    def mine(number, frame):
        """The program's own."""

    def install(result):
        signal.signal(signal.SIGINT, mine)
        return result

    try:
        wd.start({"task": {"list": [1], "function": abs, "callback": {"on_all_done": install}}, "verbose": False})
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_worker_init_that_raises_ends_a_run_for_an_exception():
    def fails():
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        wd.start({"task": {"list": [1], "function": abs}, "worker": {"init": fails}, "verbose": False})
    assert wd.get_result_info()["stopped"] == "exception"
