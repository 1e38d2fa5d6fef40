"""Workers have the identity, place and priority that their parent has at the moment of the call."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

import pytest
from programs import METHODS, tell

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
NOBODY = 65534

WHO = """
import time
def who(task):
    with open("/proc/thread-self/status") as file:
        told = dict(line.split(":", 1) for line in file)
    return [told[name].split() for name in ("Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs")]
def kept(ids, may_all):
    '''What a new program can have of its parent's real, effective, saved and file system's ids.'''
    real, effective, saved, of_files = ids
    return ids if may_all or saved in (real, effective) else [real, effective, effective, of_files]
def same(method, new_program=False):
    '''What of who the workers are, in two runs, is not as it is here.'''
    own = who(0)
    if new_program:
        own[:2] = [kept(ids, int(own[3][0], 16)) for ids in own[:2]]
    return [one for _ in range(2) for one in run(who, 2, method) if one != own] or own[:2]
def warm():
    '''All that a run loads, which another user may not be able to read.'''
    for method in (None, "fork", "spawn"):
        run(who, 2, method)
    import linecache, tokenize, traceback, warnings
"""


def is_readable_for_all() -> bool:
    """True if another user may run this interpreter."""
    folders = [Path(sys.executable).resolve(), *Path(sys.executable).resolve().parents]
    return all(folder.stat().st_mode & 1 for folder in folders)


@pytest.mark.each_value
@AS_ROOT
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "steps",
    [
        ["os.setgroups([7])", "os.setgroups([])"],
        ["os.setgroups([7, 8])", "os.setgid(65534)"],
        ["os.setgroups([])", f"os.setgid({NOBODY})", f"os.setuid({NOBODY})"],
        [f"os.setresgid({NOBODY}, {NOBODY}, 0)", f"os.setresuid({NOBODY}, {NOBODY}, 0)"],
        [f"os.seteuid({NOBODY})", "os.seteuid(0)"],
    ],
)
def test_workers_are_who_the_program_has_become(steps, method, tmp_path):
    if method == "spawn" and any("uid" in step for step in steps) and not is_readable_for_all():
        pytest.skip("another user may not run this interpreter")
    tmp_path.chmod(0o755)
    # A fork server that another user may not start anew becomes that user.
    new_program = method == "spawn" or (method is None and is_readable_for_all())
    code = f"""
warm()
found = [same({method!r}, {new_program})]
for step in {steps!r}:
    exec(step)
    found.append(same({method!r}, {new_program}))
tell(found)
"""
    found = tell(tmp_path, WHO + code)
    assert all(len(one) == 2 for one in found), found


@AS_ROOT
def test_a_server_that_has_yet_to_hear_that_a_run_is_over_becomes_who_the_program_is(tmp_path):
    code = """
import signal, subprocess
from worker_dispatcher.osproc import forkserver
warm()
go = os.path.abspath("go")
def wait(task, config):
    open(f"begun{task}", "w").close()
    while not os.path.exists(config): time.sleep(0.01)
first = worker_dispatcher.launch({"task": {"list": [1, 2], "function": wait, "config": go}, "verbose": False,
                                  "worker": {"use_processing": True, "number": 2}})
while not (os.path.exists("begun1") and os.path.exists("begun2")): time.sleep(0.01)
server = forkserver._server._pid
other = subprocess.Popen(["sh", "-c", f"read line; kill -CONT {server}"], stdin=subprocess.PIPE)  # who may do that
os.kill(server, signal.SIGSTOP)
open(go, "w").close()
first.wait()
os.setgroups([]); os.setresgid(65534, 65534, 0); os.setresuid(65534, 65534, 0)
ask = forkserver._server._ask
def ask_and_go_on(kind, *told):
    done = ask(kind, *told)
    if kind == 1:
        other.communicate(b"go\\n")
    return done
forkserver._server._ask = ask_and_go_on
tell(run(lambda task: os.getuid(), 2))
"""
    assert tell(tmp_path, WHO + code) == [NOBODY, NOBODY]


@AS_ROOT
@pytest.mark.parametrize("ran_before", [True, False])
def test_a_timeout_ends_a_task_after_privileges_were_given_up(ran_before, tmp_path):
    if not ran_before and not is_readable_for_all():
        pytest.skip("another user may not run this interpreter")
    code = f"""
import warnings
warnings.simplefilter("ignore")
{ran_before} and warm()
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
before = time.monotonic()
results = run(lambda task: time.sleep(60 * task), [1, 0], timeout=1)
tell([results[0].status, results[1], time.monotonic() - before, run(lambda task: os.getuid(), 1)])
"""
    status, other, seconds, users = tell(tmp_path, WHO + code)
    assert (status, other, users) == ("timeout", None, [NOBODY])
    assert seconds < 20


@AS_ROOT
def test_a_run_that_goes_on_keeps_its_workers_while_a_later_one_has_others(tmp_path):
    code = """
warm()
go = os.path.abspath("go")
def wait(task, config):
    open(f"begun{task}", "w").close()
    while not os.path.exists(config): time.sleep(0.01)
    return os.getgroups()
first = worker_dispatcher.launch({"task": {"list": [1, 2], "function": wait, "config": go},
                                  "worker": {"use_processing": True, "number": 2}, "verbose": False})
while not (os.path.exists("begun1") and os.path.exists("begun2")): time.sleep(0.01)
os.setgroups([7])
second = run(lambda task: os.getgroups(), 2)
open(go, "w").close()
first.wait()
tell([first.results, second, first.info["counts"]["ok"]])
"""
    first, second, ok = tell(tmp_path, WHO + code)
    assert second == [[7], [7]]
    assert [7] not in first
    assert ok == 2


def test_a_kill_that_is_not_permitted_is_an_error(tmp_path):
    code = """
import signal, time
from worker_dispatcher.osproc import starter
send = signal.pidfd_send_signal
def refuse(fd, number, *more):
    if number == signal.SIGKILL:
        raise PermissionError(1, "Operation not permitted")
    return send(fd, number, *more)
signal.pidfd_send_signal = refuse
before = time.monotonic()
try:
    run(lambda task: time.sleep(60), 1, timeout=0.5)
    said = "nothing"
except worker_dispatcher.RunError as error:
    said = str(error)
tell([said, time.monotonic() - before])
"""
    said, seconds = tell(tmp_path, code)
    assert "cannot be ended" in said
    assert seconds < 30


PLACE = """
import resource, time
def place(task):
    with open("/proc/thread-self/oom_score_adj") as file:
        sacrifice = file.read().strip()
    umask = os.umask(0); os.umask(umask)
    return [sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0), sacrifice, umask, os.getcwd(),
            time.tzname, time.localtime(0).tm_hour, [list(resource.getrlimit(number)) for number in (
                resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_MEMLOCK)]]
found = []
def same(method):
    own = json.loads(json.dumps(place(0)))
    got = json.loads(json.dumps(run(place, 2, method)))
    if got != [own] * 2:
        found.append([method, own, got])
"""
CHANGES = {
    "affinity": ["os.sched_setaffinity(0, {cpu})", "os.sched_setaffinity(0, all_cpus)"],
    "nice": ["os.nice(3)", "os.nice(2)"],
    "oom": ["open('/proc/self/oom_score_adj', 'w').write('300')", "open('/proc/self/oom_score_adj', 'w').write('400')"],
    "zone": [
        "os.environ['TZ'] = 'Asia/Tokyo-9'; time.tzset()",
        "os.environ['TZ'] = 'EST5'; time.tzset()",
        "del os.environ['TZ']; time.tzset()",
    ],
    "umask": ["os.umask(0o027)", "os.umask(0o002)"],
    "limits": [
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (128, 256)); resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))",
    ],
    "folder": ["os.mkdir('other'); os.chdir('other')", "os.chdir('..')"],
}


@pytest.mark.parametrize("method", METHODS)
def test_workers_have_place_priority_and_limits_of_the_moment_of_the_call(method, tmp_path):
    code = f"""
import warnings; warnings.simplefilter("ignore")
all_cpus = os.sched_getaffinity(0)
cpu = max(all_cpus)
same({method!r})
for name, steps in {CHANGES!r}.items():
    for step in steps:
        exec(step)
        same({method!r})
if os.geteuid() == 0:
    os.setpriority(os.PRIO_PROCESS, 0, 0)
    same({method!r})
tell(found)
"""
    assert tell(tmp_path, PLACE + code) == []


def test_a_server_that_no_longer_fits_is_gone_after_the_next_run(tmp_path):
    code = """
run(len, [[1]])
from worker_dispatcher.osproc import forkserver
first = forkserver._server._pid
os.nice(1)
run(len, [[1]])
run(len, [[1]])
tell([os.path.exists(f"/proc/{first}"), first == forkserver._server._pid])
"""
    assert tell(tmp_path, code) == [False, False]


def test_a_server_that_somebody_has_stopped_ends_with_the_program(tmp_path):
    code = """
import signal
from worker_dispatcher.osproc import forkserver
run(len, [[1]])
first = forkserver._server._pid
os.kill(first, signal.SIGSTOP)
os.nice(1)
run(len, [[1]])  # by another server
os.kill(forkserver._server._pid, signal.SIGSTOP)
tell([first, forkserver._server._pid])
"""
    for pid in tell(tmp_path, code):
        try:
            watch = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with open(watch):
            assert select.select([watch], [], [], 10)[0]
