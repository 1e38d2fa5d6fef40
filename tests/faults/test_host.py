"""What becomes of workers when the host program ends, is interrupted, or has odd settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from living import any_alive

HOST = Path(__file__).with_name("host.py")
SOON = 5.0


@pytest.fixture
def host(tmp_path, wait_until):
    """Start host.py and wait until its long tasks run; the process."""
    started: list[subprocess.Popen[bytes]] = []

    def start(shape: str, kind: str, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(HOST), shape, kind, str(tmp_path), *more]
        process = subprocess.Popen(command, start_new_session=True)
        started.append(process)
        wait_until(lambda: len(list(tmp_path.glob("*.*"))) >= 3, 20)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def all_over(processes: list[psutil.Process]) -> bool:
    return not any_alive(processes)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["C", "python", "asleep"])
@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_no_worker_outlives_the_host(shape, kind, number, host, wait_until):
    process = host(shape, kind)
    workers = family(process)
    assert len(workers) >= 3
    process.send_signal(number)
    assert process.wait(SOON) == -number
    wait_until(lambda: all_over(workers), SOON)


@pytest.mark.parametrize("times", [1, 10])
@pytest.mark.parametrize("to", ["parent", "group"])
@pytest.mark.parametrize("more", [(), ("generator",)], ids=["list", "generator"])
@pytest.mark.parametrize("shape", ["threads", "processes", "grid"])
def test_ctrl_c_leaves_start_soon_and_keeps_what_was_done(shape, more, to, times, host, wait_until, tmp_path):
    process = host(shape, "asleep" if shape == "threads" else "swallows", *more)
    workers = family(process)
    send = process.send_signal if to == "parent" else lambda number: os.killpg(process.pid, number)
    for _ in range(times):
        send(signal.SIGINT)
        time.sleep(0.002)
    if times == 1:
        assert process.wait(SOON) == 0
        told = json.loads((tmp_path / "told").read_text())
        assert told == {"error": "KeyboardInterrupt", "ok": [1, 2], "again": [1, 2, 3, 4, 5]}
    else:  # what the host program's own code makes of the later ones is its own affair
        process.wait(SOON)
    wait_until(lambda: all_over(workers), SOON)


PROLOGUE = """
import os, resource, signal, sys, threading, time, json
import worker_dispatcher
SHAPES = {'processes': {'number': 12, 'use_processing': True},
          'grid': {'number': 24, 'parallel_processing': {'enabled': True, 'processes': 12}}}
def run(count=40):
    task = {'list': count, 'function': lambda id: id}
    results = worker_dispatcher.start({'task': task, 'worker': SHAPES[sys.argv[1]], 'verbose': False})
    assert results == list(range(1, count + 1)), results
"""
SETTINGS = {
    "few descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)); run(); run()",
    "standard descriptors closed": "os.closerange(0, 3); run(); run()",
    "standard output closed": "os.close(1); run(); run()",
    "no stdout": "sys.stdout = sys.stderr = None; run(); run()",
    "SIGCHLD ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN); run(); run()",
    "SIGCHLD blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD}); run(); run()",
    "children reaped": """
def reap():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.001)
threading.Thread(target=reap, daemon=True).start()
run(); run()
""",
    "in a thread": "t = threading.Thread(target=run); t.start(); t.join(); run()",
}


@pytest.mark.each_value
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("shape", ["processes", "grid"])
def test_odd_settings_of_the_host_do_no_harm(shape, setting, tmp_path):
    done = tmp_path / "done"
    code = PROLOGUE + SETTINGS[setting] + f"\nopen({str(done)!r}, 'w').close()\n"
    process = subprocess.run([sys.executable, "-c", code, shape], check=False, timeout=30, stderr=subprocess.PIPE)
    assert done.exists(), process.stderr.decode()


@pytest.mark.parametrize("limit", [8, 12, 16, 20, 25])
def test_too_few_descriptors_are_a_plain_message_or_fewer_workers(limit, tmp_path):
    limited = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))"
    code = PROLOGUE + f"{limited}\ntry:\n    run()\nexcept Exception as error:\n    print(repr(error))\n"
    process = subprocess.run([sys.executable, "-c", code, "processes"], check=False, timeout=30, capture_output=True)
    said = process.stdout.decode()
    assert process.returncode == 0, process.stderr.decode()
    assert not said or "no worker process can be started" in said or "Too many open files" in said, said
