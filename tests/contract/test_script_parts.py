"""What a script's functions hold that is no plain value: caches, dispatchers, locks, variables; and what cannot go."""

from __future__ import annotations

import pytest


def test_caches_and_dispatchers_of_a_script_work_in_workers(holds):
    holds("""
import functools
@functools.cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
@functools.lru_cache(maxsize=3, typed=True)
def square(x): return x * x
plain = functools.lru_cache(len)

@functools.singledispatch
def kind(x):
    "What it is."
    return "something"
@kind.register
def _(x: int): return "number"
@kind.register(str)
def _(x): return "text"

class Shape:
    def __init__(self): self.asked = 0
    @functools.cached_property
    def area(self):
        self.asked += 1
        return 3
    @functools.lru_cache
    def scaled(self, by): return by * 2
    @functools.singledispatchmethod
    def add(self, other): return "any"
    @add.register
    def _(self, other: int): return "int"
    @staticmethod
    @functools.cache
    def unit(): return 1

square(9)  # the parent's cache is its own

def task(id):
    shape = Shape()
    if id == 1:
        assert square.cache_info() == (0, 0, 3, 0) or METHOD == "fork"
    assert square.cache_parameters() == {"maxsize": 3, "typed": True}
    square.cache_clear()
    return (
        fib(30), square(id), square.cache_info().misses, plain("abc"), kind(1), kind("a"), kind(None), kind.__doc__,
        fib.__name__, shape.area + shape.area, shape.asked, shape.scaled(4), shape.add(1), shape.add(""), Shape.unit(),
    )

for id, result in enumerate(run(task, 2), 1):
    assert result == (
        832040, id * id, 1, 3, "number", "text", "something", "What it is.", "fib", 6, 1, 8, "int", "any", 1
    ), result
assert run(fib, [10]) == [55]
assert run(square, [4, 5]) == [16, 25]
assert run(kind, [1, "a", None]) == ["number", "text", "something"]
assert square.cache_info().currsize == 1
""")


def test_locks_and_locals_of_a_script_are_new_ones_in_each_worker(holds):
    holds("""
import queue, threading, weakref
lock, again, ready = threading.Lock(), threading.RLock(), threading.Event()
condition, places, meeting = threading.Condition(), threading.BoundedSemaphore(2), threading.Barrier(1)
local, waiting = threading.local(), queue.Queue()
seen, by_name, by_object = weakref.WeakSet(), weakref.WeakValueDictionary(), weakref.WeakKeyDictionary()
ready.set()
waiting.put(3)
class Own(threading.local):
    value = 5
own = Own()
class Store:
    guard = threading.Lock()
    def __init__(self): self.lock = threading.RLock()
store = Store()
def make():
    inside = threading.Lock()
    def guarded(x, default=threading.Lock()):
        with inside, default: return x
    return guarded
guarded = make()
if METHOD != "fork":
    lock.acquire()  # what holds it is here, not there

def task(id):
    with lock, again, condition, places, Store.guard, store.lock:
        assert lock.locked() and lock is globals()["lock"]
        local.x = own.x = id
    seen.add(store); by_name["a"] = store; by_object[store] = 1
    return local.x + own.x, own.value, ready.is_set(), meeting.wait(), waiting.qsize(), guarded(7), len(seen)

assert run(task, 2) == [(id * 2, 5, True, 0, 1, 7, 1) for id in (1, 2)]
""")


def test_a_variable_of_contextvars_is_one_for_each_name_in_a_worker(holds):
    holds("""
import contextvars
depth = contextvars.ContextVar("depth", default=3)
same_name = contextvars.ContextVar("depth")
def make():
    hidden = contextvars.ContextVar("hidden")
    return lambda: hidden.set(1), lambda: hidden.get(0)
put, get = make()

class Item:
    def read(self): return depth.get(), same_name.get(None)

def task(item):
    before = item.read()
    depth.set(before[0] + 1)
    put()
    return before, item.read(), get()

first, second = run(task, [Item(), Item()])
assert first == ((3, None), (4, None), 1)
assert second[1][0] == second[0][0] + 1 and second[1][1] is None
assert depth.get() == 3
""")


def test_a_lock_that_a_script_has_from_a_module_is_the_modules_in_a_worker(holds, tmp_path):
    (tmp_path / "parts.py").write_text(
        "import contextvars, functools, threading\nlock = threading.Lock()\nvariable = contextvars.ContextVar('v')\n"
        "@functools.cache\ndef cached(x): return x\n"
    )
    holds("""
import parts
from parts import cached, lock, variable
def task(id): return lock is parts.lock, variable is parts.variable, cached is parts.cached
assert run(task, 1) == [(True, True, True)]
assert run(cached, [1]) == [1]
""")


def test_what_a_function_sent_by_value_uses_of_its_module_is_the_modules_in_a_worker(holds, tmp_path):
    (tmp_path / "parts.py").write_text("""
import contextvars, threading
depth, lock, local, missing = contextvars.ContextVar("depth"), threading.Lock(), threading.local(), object()
limits = {"most": 3}
def put(value): depth.set(value); local.x = value
def is_missing(value): return value is missing
def make(step):
    def work(task):
        put(task * step)
        with lock:
            held = lock_is_held()
        return depth.get(), local.x, held, is_missing(missing), limits["most"]
    return work
def lock_is_held(): return lock.locked()
twice = lambda task: (put(2 * task), depth.get())[1]
def decorated(function): return lambda *args: function(*args)
@decorated
def thrice(task):
    put(3 * task)
    return depth.get()
""")
    holds("""
import parts
parts.limits["most"] = 4
assert run(parts.make(5), [1, 2]) == [(5, 5, True, True, 4), (10, 10, True, True, 4)]
assert run(parts.twice, [1, 2]) == [2, 4]
assert run(parts.thrice, [1, 2]) == [3, 6]
def is_the_modules(task, config): return config["variable"] is parts.depth
assert run(is_the_modules, 1, config={"variable": parts.depth}) == [True]
""")


REFUSED = """
import sqlite3, threading, worker_dispatcher as wd
db = sqlite3.connect(":memory:")
def deep(task=None): return [db][0]
def task(task): return deep()
class Store:
    db = db
    def __init__(self, task=None): pass
    def get(self, x=1): return deep()
def make(handle): return lambda task: handle
def default(task, handle=db): return task
try:
    results = wd.start({"task": {"list": [1], "function": WHAT}, "worker": {"use_processing": True}, "verbose": False})
except wd.ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("task", "'db' of deep (sqlite3.Connection)"),
        ("deep", "'db' (sqlite3.Connection)"),
        ("make(db)", "'handle' (sqlite3.Connection)"),
        ("default", "'__defaults__' (tuple)"),
        ("Store", "'db' (sqlite3.Connection)"),
        ("Store().get", "'db' of "),
        ("lambda task: Store()", "'db' of Store (sqlite3.Connection)"),
        ("wd.MaxRate and (lambda task: (db, wd))", "'db' (sqlite3.Connection)"),
    ],
)
def test_what_cannot_go_is_named_however_deep_it_is_used(script, what, said):
    done = script("-c", REFUSED.replace("WHAT", what))

    assert done.stderr == ""
    assert f"task.function  uses {said}" in done.stdout
    assert "cannot be sent to a process; open it in worker.init, or use threads" in done.stdout


def test_what_an_item_of_a_scripts_class_uses_is_named_if_it_cannot_be_sent(script):
    code = """
import sqlite3, worker_dispatcher as wd
db = sqlite3.connect(":memory:")
class Item:
    def get(self): return db
wd.start({"task": {"list": [Item()], "function": str}, "worker": {"use_processing": True}, "verbose": False})
print(wd.get_logs()[0]["error"]["message"])
"""
    assert script("-W", "ignore", "-c", code).stdout == (
        "the task cannot be sent to a worker process: cannot pickle 'sqlite3.Connection' object; "
        "it uses 'db' of Item.get (sqlite3.Connection); open it in worker.init, or use threads\n"
    )


def test_a_fork_uses_what_cannot_be_sent(script):
    code = """
import threading, sys, worker_dispatcher as wd
class Handle:
    def __reduce__(self): raise TypeError("not to be sent")
handle = Handle()
def deep(): return handle
def task(id): return deep() is handle
print(wd.start({"task": {"list": 3, "function": task}, "verbose": False,
                "worker": {"number": 2, "use_processing": True, "start_method": "fork"}}))
"""
    assert script("-c", code).stdout == "[True, True, True]\n"


def test_a_function_that_was_given_another_name_has_it_in_workers(holds):
    holds("""
def made():
    def inner(task): return task * 3
    inner.__qualname__ = "known as"
    return inner
inner = made()

def plain(task): return task
def task(id): return inner(id), inner.__qualname__, inner.__name__, plain.__qualname__, made.__qualname__

assert run(task, 1) == [(3, "known as", "inner", "plain", "made")], run(task, 1)
""")
