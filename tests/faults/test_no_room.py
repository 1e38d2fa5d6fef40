"""Where the system has no room for what workers need, there are fewer of them or one error that names the limit."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

import worker_dispatcher as wd
from worker_dispatcher.osproc import channel, forkserver
from worker_dispatcher.pools.protocol import frames

SHAPES = {
    "processes": {"use_processing": True},
    "spawn": {"use_processing": True, "start_method": "spawn"},
    "fork": {"use_processing": True, "start_method": "fork"},
    "grid": {"parallel_processing": {"enabled": True}},
}
FILLED = """
import os, resource, sys
import worker_dispatcher as wd
wd.start({"task": {"list": 2, "function": abs}, "verbose": False})  # loads most of the library
import worker_dispatcher.pools.processes, worker_dispatcher.dispatch.plan
try:
    task = {"list": 2, "function": abs, "config": (_ for _ in ())}
    wd.start({"task": task, "worker": {"use_processing": True}, "verbose": False})
except wd.ConfigError:
    pass  # and what looks at the config
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
kept = []
try:
    while True:
        kept.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for left in range(1, 12):
    os.close(kept.pop())
    try:
        assert wd.start({"task": {"list": [1, 2], "function": abs}, "worker": WORKER, "verbose": False}) == [1, 2]
        print("ran")
    except wd.RunError as error:
        assert str(error).startswith("no worker process can be started: [Errno 24] Too many open files")
        assert str(error).endswith("(a limit on descriptors: ulimit -n)")
        print("refused")
"""


@pytest.mark.parametrize("shape", SHAPES)
def test_few_descriptors_that_are_left_are_enough_or_an_error_that_names_the_limit(shape, tmp_path):
    (tmp_path / "program.py").write_text(FILLED.replace("WORKER", repr({"number": 2, **SHAPES[shape]})))
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert said == sorted(said, reverse=True)
    assert set(said) == {"refused", "ran"}


@pytest.mark.parametrize("times", [3, sys.maxsize])
def test_a_fork_server_that_the_system_takes_no_descriptors_for_is_asked_again_or_named(times, monkeypatch):
    wd.start({"task": {"list": 2, "function": abs}, "worker": SHAPES["processes"], "verbose": False})
    write, left = channel.Channel._write, [times]

    def crowded(self, data, fds):
        if len(fds) == 2 and left[0]:  # what opens a connection
            left[0] -= 1
            raise channel.Crowded(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))
        return write(self, data, fds)

    monkeypatch.setattr(channel.Channel, "_write", crowded)
    monkeypatch.setattr(forkserver, "FIRST_WORD", 1.0)
    config = {"task": {"list": [1, 2], "function": abs}, "worker": SHAPES["processes"], "verbose": False}
    if times == 3:
        assert wd.start(config) == [1, 2]
    else:
        with pytest.raises(wd.RunError, match=r"no worker process can be started: .* on their way"):
            wd.start(config)


def test_a_worker_that_gets_no_descriptor_for_what_it_logs_says_so(monkeypatch):
    send = channel.Channel.send

    def crowded(self, kind, parts=(), fds=()):
        if kind == frames.SETUP and len(fds) == 1:  # the opening of a connection has two
            raise channel.Crowded(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))
        send(self, kind, parts, fds)

    monkeypatch.setattr(channel.Channel, "send", crowded)
    worker = {**SHAPES["processes"], "number": 2, "forward_logging": True}
    with pytest.warns(wd.WorkerWarning, match="not forwarded: there was no room for one more descriptor"):
        assert wd.start({"task": {"list": [1, 2], "function": abs}, "worker": worker, "verbose": False}) == [1, 2]
