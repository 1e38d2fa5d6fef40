"""After a fork of the user's program: nothing of the other process is closed, waited for or shared by accident."""

from __future__ import annotations

import pytest
from programs import METHODS, tell

IN_CHILD = """
import warnings
warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)  # Python 3.12 on a fork beside threads

def in_child(what):
    '''What a function returns in a forked child of this process, which must end in time.'''
    import select
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        code = 1
        try:
            os.write(write, json.dumps(what()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    told = b""
    while True:
        if not select.select([read], [], [], 60)[0]:
            import signal
            os.kill(child, signal.SIGABRT)
            break
        more = os.read(read, 65536)
        if not more:
            break
        told += more
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(told)
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_daemon_keeps_its_files_and_can_run(method, tmp_path):
    """A run, the double fork of a daemon that closes all it has inherited, files of its own, a run."""
    code = f"""
def as_a_daemon():
    os.setsid()
    if (pid := os.fork()):
        return os.waitpid(pid, 0)[1]
    os.closerange(3, 256)
    files = [open(f"file{{n}}", "w") for n in range(12)]
    before = [os.fstat(file.fileno()).st_ino for file in files]
    results = [run(lambda task: task * 2, [1, 2], {method!r}) for _ in range(2)]
    import gc; gc.collect()
    after = [os.fstat(file.fileno()).st_ino for file in files]
    tell([results, before == after])
    sys.exit(0)
run(len, [[1]], None)
run(len, [[1]], {method!r})
if (pid := os.fork()) == 0:
    status = as_a_daemon()
    os._exit(bool(status))
assert os.waitpid(pid, 0)[1] == 0
"""
    assert tell(tmp_path, code) == [[[2, 4], [2, 4]], True]


@pytest.mark.parametrize("method", METHODS)
def test_a_program_that_closes_all_its_descriptors_between_two_runs_keeps_its_files(method, tmp_path):
    code = f"""
run(len, [[1]])
os.closerange(3, 256)
files = [open(f"file{{n}}", "w") for n in range(12)]
before = [os.fstat(file.fileno()).st_ino for file in files]
results = run(lambda task: task * 2, [1, 2], {method!r})
tell([results, before == [os.fstat(file.fileno()).st_ino for file in files], [file.tell() for file in files]])
for file in files:
    file.close()
assert [os.path.getsize(f"file{{n}}") for n in range(12)] == [0] * 12
"""
    assert tell(tmp_path, code) == [[2, 4], True, [0] * 12]


@pytest.mark.parametrize("outer", [None, "fork", "spawn"])
@pytest.mark.parametrize("inner", METHODS)
@pytest.mark.parametrize("ran_before", [None, "fork"])
def test_a_task_of_a_worker_can_start_a_run(ran_before, inner, outer, tmp_path):
    code = f"""
def inner(task): return task + 1
def outer(task):
    kept = [open(f"kept{{task}}.{{n}}", "w") for n in range(12)]
    before = [os.fstat(file.fileno()).st_ino for file in kept]
    found = [run(inner, [task, task + 10], {inner!r}) for _ in range(2)]
    assert before == [os.fstat(file.fileno()).st_ino for file in kept]
    return found
run(len, [[1]], {ran_before!r})
tell(run(outer, [1, 2], {outer!r}))
"""
    assert tell(tmp_path, code) == [[[2, 12]] * 2, [[3, 13]] * 2]


def test_forked_children_run_while_their_parent_runs_on(tmp_path):
    code = """
def both():
    return [run(lambda task: task * 2, [1, 2], method) for method in (None, "fork", None)]
both()
found = [in_child(both), both(), in_child(lambda: in_child(both)), both()]
tell([one == [[2, 4]] * 3 for one in found])
"""
    assert tell(tmp_path, IN_CHILD + code) == [True] * 4


def test_a_child_that_is_forked_while_another_thread_is_in_start_can_start(tmp_path):
    """The fork is made at the very moment in which the other thread holds our lock, by the thread that holds it not."""
    code = """
import threading
from worker_dispatcher.osproc import forkserver
run(len, [[1]])
inside, go_on = threading.Event(), threading.Event()
launch = forkserver._ForkServer._launch
def slow_launch(self, *arguments):
    if os.getpid() == parent:
        inside.set()
        assert go_on.wait(60)
    return launch(self, *arguments)
parent = os.getpid()
forkserver._ForkServer._launch = slow_launch
forkserver.give_up(forkserver._server._pid)
other = threading.Thread(target=run, args=(len, [[1]]))
other.start()
assert inside.wait(60)
try:
    found = in_child(lambda: [run(lambda task: task, [1, 2]), run(len, [[1]], "fork")])
finally:
    go_on.set()
other.join()
tell(found)
"""
    assert tell(tmp_path, IN_CHILD + code) == [[1, 2], [1]]


@pytest.mark.parametrize("what", ["journal", "capture"])
def test_locks_that_another_thread_holds_at_a_fork_are_fresh_in_the_child(what, tmp_path):
    code = f"""
import threading
from worker_dispatcher.journal import file
from worker_dispatcher.pools.worker import output_capture
lock = {{"journal": file._HELD_LOCK, "capture": output_capture._mutex}}[{what!r}]
held, done = threading.Event(), threading.Event()
def hold():
    with lock:
        held.set()
        done.wait(60)
other = threading.Thread(target=hold)
other.start()
assert held.wait(60)
shape = dict(capture_output=True, use_processing=False)
try:
    found = in_child(lambda: worker_dispatcher.start({{
        "task": {{"list": [1, 2], "function": lambda task: task}}, "worker": shape, "verbose": False,
        **({{"journal": "journal"}} if {what!r} == "journal" else {{}})}}))
finally:
    done.set()
other.join()
tell(found)
"""
    assert tell(tmp_path, IN_CHILD + code) == [1, 2]


@pytest.mark.parametrize("method", METHODS)
def test_workers_draw_different_random_numbers(method, tmp_path):
    code = f"""
import random, threading, time
import numpy
numpy.random.seed(1)
random.seed(1)
numpy.random.rand()
def draw(task):
    time.sleep(0.05)
    return [numpy.random.rand(), random.random()]
found = run(draw, 8, {method!r}, number=8)
tell([len({{numbers[at] for numbers in found}}) for at in (0, 1)])
"""
    assert tell(tmp_path, code) == [8, 8]


def test_a_fork_draws_random_numbers_while_another_thread_holds_numpys_lock(tmp_path):
    code = """
import numpy
with numpy.random.get_bit_generator().lock:
    found = run(lambda task: numpy.random.rand(), 2, "fork")
tell(len(set(found)))
"""
    assert tell(tmp_path, code) == 2


@pytest.mark.parametrize(
    "stdout",
    [
        "type('Bare', (), {'write': lambda self, text: len(text)})()",
        "open(os.devnull, 'w')",
        "type('PoolFailed', (), {'flush': lambda self: 1 / 0, 'write': lambda self, text: len(text)})()",
        "None",
    ],
)
def test_a_stdout_that_cannot_be_flushed_does_not_keep_a_fork_from_starting(stdout, tmp_path):
    code = f"""
sys.stdout = {stdout}
if isinstance(sys.stdout, type(sys.stdin)):
    sys.stdout.close()
results = run(lambda task: task, [1, 2], "fork")
sys.stdout = sys.__stdout__
os._exit(tell(results) or 0)
"""
    assert tell(tmp_path, code) == [1, 2]


SHARED = """
import multiprocessing
context = multiprocessing.get_context("fork")
"""


def test_a_fork_shares_what_multiprocessing_shares_through_inheritance(tmp_path):
    code = """
lock, queue, array, event, value = (
    context.Lock(), context.Queue(), context.Array("i", 4), context.Event(), context.Value("d", 1.5))
queue.put("first")  # its feeding thread is there before the fork
def work(task, config):
    lock, queue, array, event, value = config
    with lock:
        array[task] += task
        value.value += 1
    event.set()
    queue.put(task)
    queue.close()
    queue.join_thread()
    return os.getpid()
pids = run(work, [1, 2, 3], "fork", number=3, config=(lock, queue, array, event, value))
found = sorted(str(queue.get(timeout=30)) for _ in range(4))
tell([os.getpid() in pids, list(array), found, event.is_set(), value.value])
"""
    assert tell(tmp_path, SHARED + code) == [False, [0, 1, 2, 3], ["1", "2", "3", "first"], True, 4.5]


@pytest.mark.parametrize("where", ["config", "task"])
@pytest.mark.parametrize("what", ["Lock()", "Queue()", "Array('i', 3)", "Value('d')", "Event()", "RLock()"])
def test_what_only_inheritance_shares_is_refused_with_the_ways_out(what, where, tmp_path):
    code = f"""
import warnings; warnings.simplefilter("ignore")
shared = multiprocessing.{what}
try:
    if {where!r} == "config":
        run(lambda task, config: 1, 1, config={{"the": shared}})
    found = run(lambda task: 1, [shared])[0].error["message"]
except worker_dispatcher.ConfigError as error:
    found = str(error)
tell(found)
"""
    said = tell(tmp_path, SHARED + code)
    for way in ("Manager()", "worker.init", "start_method: 'fork'"):
        assert way in said
    assert "task.config['the']" in said or where == "task"
