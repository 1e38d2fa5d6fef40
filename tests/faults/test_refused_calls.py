"""Where the system has not the calls that processes need, one sentence says so; threads do without them."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from seccomp import NUMBERS

import worker_dispatcher
from worker_dispatcher.errors import RunError
from worker_dispatcher.osproc import system

FILTER = Path(__file__).with_name("seccomp.py")
CALLS = ["pidfd_open", "pidfd_send_signal", "memfd_create", "eventfd"]
CODE = """
import worker_dispatcher
SHAPES = {{"threads": {{"number": 2}},
          "processes": {{"number": 2, "use_processing": True}},
          "grid": {{"number": 4, "parallel_processing": {{"enabled": True, "processes": 2}}}}}}
def run():
    worker = SHAPES[{shape!r}] | {more!r}
    task = {{"list": 20, "function": lambda id: id}}
    return worker_dispatcher.start({{"task": task, "worker": worker, "verbose": False}})
for _ in range(2):
    try:
        print(run() == list(range(1, 21)))
    except worker_dispatcher.RunError as error:
        print(error)
"""


def said_where_refused(call: str, number: int, shape: str, **more: str) -> list[str]:
    """The lines that a program prints, which has tried two runs; it prints no errors."""
    code = CODE.format(shape=shape, more=more)
    command = [sys.executable, str(FILTER), call, str(number), code]
    done = subprocess.run(command, check=False, capture_output=True, timeout=30, text=True)
    if "no filter can be set" in done.stderr:
        pytest.skip("this machine lets nobody set a filter of system calls")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


needs_filter = pytest.mark.skipif(platform.machine() not in NUMBERS, reason="numbers of calls not known")


@needs_filter
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_is_refused_is_named_with_the_way_out(call, number, method):
    shape = "grid" if number == errno.EPERM else "processes"
    for said in said_where_refused(call, number, shape, start_method=method):
        assert said.startswith(f"worker processes need the system call {call}, which is refused here (")
        assert os.strerror(number) in said
        assert "Linux" in said
        assert "seccomp" in said
        assert "use threads" in said


@needs_filter
@pytest.mark.parametrize("call", CALLS)
def test_threads_need_none_of_the_calls(call):
    assert said_where_refused(call, errno.ENOSYS, "threads") == ["True", "True"]


@pytest.mark.parametrize("call", CALLS)
def test_a_python_without_the_call_says_so(call, process_shape, monkeypatch, next_run_works):
    module = signal if call == "pidfd_send_signal" else os
    system.check_watching.cache_clear()
    monkeypatch.delattr(module, call)
    config = {"task": {"list": 5, "function": lambda id: id}, "worker": process_shape, "verbose": False}
    with pytest.raises(RunError, match=f"{call}, which is refused here .this Python was built without it.*threads"):
        worker_dispatcher.start(config)
    monkeypatch.undo()
    next_run_works(process_shape)


def test_a_limit_is_no_refusal():
    def full() -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with pytest.raises(OSError, match="Too many open files"):
        system.given("eventfd", full)


WITHOUT_PROC = """
import builtins, os, signal, sys, warnings
import worker_dispatcher
if sys.argv[1] == "hidden":
    def hiding(call):
        def opened(path, *arguments, **options):
            if str(path).startswith("/proc"):
                raise FileNotFoundError(2, "No such file or directory", path)
            return call(path, *arguments, **options)
        return opened
    builtins.open, os.open = hiding(builtins.open), hiding(os.open)
else:
    assert not os.path.exists("/proc/self")
def work(task):
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task
warnings.simplefilter("ignore")
for shape in ({"use_processing": True}, {"parallel_processing": {"enabled": True, "processes": 2}}):
    worker = shape | {"number": 2, "start_method": sys.argv[2], "capture_output": True}
    worker_dispatcher.start({"task": {"list": [1, 2, 3], "function": work}, "worker": worker, "verbose": False})
    print([log["status"] for log in worker_dispatcher.get_logs()])
"""
MOUNT = 'mount -t tmpfs none /proc && exec "$@"'


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("way", ["hidden", "mounted over"])
def test_processes_work_where_there_is_no_proc(way, method, tmp_path):
    """As in a chroot that somebody has made by hand."""
    (tmp_path / "program.py").write_text(WITHOUT_PROC)
    command = [sys.executable, str(tmp_path / "program.py"), way, method]
    if way == "mounted over":
        within = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
        if shutil.which("unshare") is None or subprocess.run([*within, MOUNT, "sh", "true"], check=False).returncode:
            pytest.skip("this machine lets nobody mount anything")
        command = [*within, MOUNT, "sh", *command]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60, text=True)
    assert (done.stdout.splitlines(), done.stderr) == (["['ok', 'crashed', 'ok']"] * 2, "")
