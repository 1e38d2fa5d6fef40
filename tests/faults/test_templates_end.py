"""What has imported modules ends when it is not needed any more, whoever was killed, stopped or refused something."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from programs import SLOW, begin, left_of, tell

LIGHT = "import os\ndef work(id): return id\ndef parent(id): return os.getppid()\n"
FINDS = """
import resource, signal, threading, time
from worker_dispatcher.osproc import forkserver

def state_of(pid):
    '''Its letter, and its parent; nothing once it has ended.'''
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[:2]
    except OSError:
        return "Z", "0"

def lives(pid):
    return state_of(pid)[0] != "Z"

def children_of(pid):
    found = {name: state_of(name) for name in os.listdir("/proc") if name.isdigit()}
    return [name for name, (letter, parent) in found.items() if letter != "Z" and parent == str(pid)]

def wait_until(fact):
    until = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.01)

def sockets_of(pid):
    found = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(entry.path).startswith("socket")
        except FileNotFoundError:  # it has just been closed
            pass
    return found

def leave(pid, descriptors):
    '''A limit under which a process gets so many descriptors more.'''
    used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    free = [number for number in range(1000) if number not in used]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[descriptors], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("whom", ["server", "program"])
def test_what_hangs_in_an_import_ends_with_its_server_and_with_its_program(tmp_path: Path, wait_until, whom: str):
    (tmp_path / "slow.py").write_text(SLOW)
    code = "os.environ['PARENT'] = str(os.getpid())\nimport slow\nprint(run(slow.work, 4))"
    process = begin(tmp_path, code)
    wait_until((tmp_path / "loading").exists, within=60)
    there = left_of(tmp_path)
    (template,) = [pid for pid in there if parent_of(pid) in there and parent_of(parent_of(pid)) in there]
    os.kill(parent_of(template) if whom == "server" else process.pid, signal.SIGKILL)
    wait_until(lambda: template not in left_of(tmp_path))
    (tmp_path / "go").touch()
    out, err = process.communicate(timeout=60)
    assert (out, err) == (("[1, 2, 3, 4]\n", "") if whom == "server" else ("", ""))
    wait_until(lambda: not left_of(tmp_path))


def test_a_template_without_room_for_another_connection_is_replaced(tmp_path: Path):
    (tmp_path / "light.py").write_text(LIGHT)
    code = """
import light
(template,) = set(run(light.parent, 1, number=1))
wait_until(lambda: sockets_of(template) == 1)
leave(template, 1)
(other,) = set(run(light.parent, 1, number=1))
wait_until(lambda: not lives(template))
tell(other not in (template, forkserver._server._pid))
"""
    assert tell(tmp_path, FINDS + code)


def test_a_server_without_room_for_a_template_starts_the_workers_itself(tmp_path: Path):
    for number in range(14):
        (tmp_path / f"light{number}.py").write_text(LIGHT)
    code = """
import importlib
found = []
for number in range(14):
    light = importlib.import_module(f"light{number}")
    run(len, [[1]])
    server = forkserver._server._pid
    wait_until(lambda: len(children_of(server)) <= 2)
    leave(server, number)
    try:
        found.append(run(light.work, 2, number=1) == [1, 2])
    except (OSError, worker_dispatcher.RunError) as error:
        found.append(str(error))
    server = forkserver._server._pid  # which may be another one
    leave(server, 100)
wait_until(lambda: len(children_of(server)) <= 2)
tell([found, run(light.work, 4)])
"""
    found, after = tell(tmp_path, FINDS + code)
    assert [one for one in found if one is not True and "open files" not in one] == []
    assert found[-1] is True
    assert after == [1, 2, 3, 4]


def test_a_server_that_is_replaced_while_a_call_waits_for_it_ends_after_that(tmp_path: Path):
    (tmp_path / "light.py").write_text(LIGHT)
    code = """
import light
run(len, [[1]])
server = forkserver._server._pid
os.kill(server, signal.SIGSTOP)
first = worker_dispatcher.launch({"task": {"list": 4, "function": light.work}, "verbose": False,
                                  "worker": {"number": 2, "use_processing": True}})
wait_until(lambda: threading.active_count() > 1 and sent())
os.nice(1)
run(len, [[1]])
os.kill(server, signal.SIGCONT)
first.wait()
wait_until(lambda: not lives(server))
tell(first.results)
"""
    sent = """
from worker_dispatcher.osproc import starter
_start, _sent = starter.ServerStarter.start, []
def start(self, *arguments):
    _sent.append(_start(self, *arguments))
    return _sent[-1]
starter.ServerStarter.start = start
def sent():
    return len(_sent) > 2
"""
    assert tell(tmp_path, FINDS + sent + code) == [1, 2, 3, 4]


def test_a_server_that_was_replaced_is_reaped_when_the_next_pool_ends(tmp_path: Path):
    code = """
run(len, [[1]])
server = forkserver._server._pid
os.nice(1)
with worker_dispatcher.WorkerPool(1, kind="process") as pool:
    pool.submit(len, [1]).result()
    wait_until(lambda: open(f"/proc/{server}/stat").read().rpartition(")")[2].split()[0] == "Z")
tell(os.path.exists(f"/proc/{server}"))
"""
    assert tell(tmp_path, FINDS + code) is False


def test_many_functions_at_a_time_leave_few_processes(tmp_path: Path):
    for number in range(6):
        (tmp_path / f"slow{number}.py").write_text(SLOW.replace("loading", f"loading{number}"))
    code = """
os.environ["PARENT"] = str(os.getpid())
import importlib
runs = [
    worker_dispatcher.launch({"task": {"list": 4, "function": importlib.import_module(f"slow{number}").work},
                              "worker": {"number": 2, "use_processing": True}, "verbose": False})
    for number in range(6)
]
wait_until(lambda: all(os.path.exists(f"loading{number}") for number in range(6)))
server = forkserver._server._pid
most = len(children_of(server))
open("go", "w").close()
for one in runs:
    one.wait()
wait_until(lambda: len(children_of(server)) <= 2)
tell([most, [one.results for one in runs]])
"""
    assert tell(tmp_path, FINDS + code) == [6, [[1, 2, 3, 4]] * 6]


def test_what_a_template_said_last_counts_though_its_end_is_seen_first(tmp_path: Path):
    (tmp_path / "slow.py").write_text(SLOW + "\nopen('count', 'a').write('1')\nfile = open(__file__)\n")
    code = """
import logging
told = []
logging.getLogger("worker_dispatcher").setLevel(logging.DEBUG)
logging.getLogger("worker_dispatcher").addHandler(logging.StreamHandler(type("", (), {"write": told.append})))
os.environ["PARENT"] = str(os.getpid())
import slow
first = worker_dispatcher.launch({"task": {"list": 2, "function": slow.work}, "verbose": False,
                                  "worker": {"number": 1, "use_processing": True}})
wait_until(lambda: os.path.exists("loading"))
server = forkserver._server._pid
(template,) = children_of(server)
os.kill(server, signal.SIGSTOP)
open("go", "w").close()
wait_until(lambda: not lives(template))
os.kill(server, signal.SIGCONT)
first.wait()
run(slow.work, 2, number=1)
tell([os.path.getsize("count"), "".join(told)])
"""
    count, told = tell(tmp_path, FINDS + code)
    assert count == 4  # here, in the template, and in the worker of each call
    assert "module slow is imported in each worker" in told
    assert "the import leaves an open file" in told
