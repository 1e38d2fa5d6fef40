"""A worker's `__main__` is what the script's is: its names, its facts, its source, and what looks a name up in it."""

from __future__ import annotations

import pytest


def test_the_main_module_of_a_worker_says_what_the_scripts_does(holds):
    holds("""
'''About this script.'''
__doc__ = "About this script."
import os
def task(id):
    main = sys.modules["__main__"]
    return main.__name__, __name__, main.__file__, __file__, __doc__, __package__, main.__spec__, task.__module__

own = sys.modules["__main__"]
assert run(task, 1) == [("__main__", "__main__", __file__, __file__, __doc__, __package__, None, "__main__")]
""")


def test_names_of_the_script_are_found_there_however_they_are_looked_up(holds):
    holds("""
import pickle
class Item:
    class Part: pass
def helper(x=1): return x
def other(): return "other"
LIMIT = 5
handle = __import__("_io").open(__file__)  # cannot be sent, and need not be

def task(name):
    main = sys.modules["__main__"]
    assert main.helper is helper and vars(main) is globals()
    assert globals()["helper"] is helper and getattr(main, "other")() == "other"
    assert type(pickle.loads(pickle.dumps([Item(), Item.Part()]))[1]) is Item.Part
    assert eval("helper(2)") == 2
    return globals()[name]()

def by_import(id):
    import __main__
    return __main__.LIMIT, __main__.helper(id)

assert run(task, ["helper", "other"]) == [1, "other"]
assert run(by_import, 2) == [(5, 1), (5, 2)]
""")


def test_a_pickle_that_names_a_class_of_the_script_is_loaded_in_a_task(holds):
    holds("""
import pickle
class Item:
    def __init__(self, x): self.x = x
def task(data): return pickle.loads(data).x
assert run(task, [pickle.dumps(Item(3))]) == [3]
""")


def test_annotations_that_are_texts_are_evaluated_in_a_worker(script, tmp_path):
    (tmp_path / "late.py").write_text("""
from __future__ import annotations
import typing
import worker_dispatcher
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Order:
    lines: list[Line]
    where: Path | None = None
@dataclass
class Line:
    name: str

class Broken:
    handle = open(__file__)  # only named in an annotation: it need not go

def task(id, config: Sequence[Order] = (), more: typing.Optional["Line"] = None, bad: Broken | None = None) -> Order:
    hints = typing.get_type_hints(Order)
    return hints["lines"] == list[Line], hints["where"] == Path | None, Order([Line("a")])

def hints(id) -> Order:
    return typing.get_type_hints(hints)["return"]

class Late: pass
def inside(id):
    class Inner:
        late: Late
    return typing.get_type_hints(Inner)["late"]

def run(function):
    return worker_dispatcher.start({"task": {"list": 1, "function": function},
                                    "worker": {"use_processing": True}, "verbose": False})[0]
first, second, order = run(task)
print(first, second, order == Order([Line("a")]), run(hints) is Order, run(inside) is Late)
""")
    done = script("late.py")
    assert (done.stderr, done.stdout) == ("", "True True True True True\n")


def test_a_pool_inside_a_task_has_the_scripts_functions(script, tmp_path):
    """Where it starts new interpreters, multiprocessing loads the script in them, as it does everywhere; we never."""
    (tmp_path / "pools.py").write_text("""
import concurrent.futures, multiprocessing, sys, worker_dispatcher
print("loaded as", __name__, flush=True)
class Box:
    def __init__(self, x): self.x = x
def helper(x): return Box(x + 1)
def task(method):
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool:
        first = pool.map(helper, [1])
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        second = pool.submit(helper, 2).result()
    return first + [second]
if __name__ == "__main__":
    for method in ("forkserver", "spawn", "fork"):
        found = worker_dispatcher.start({"task": {"list": ["fork", "spawn"], "function": task}, "verbose": False,
            "worker": {"number": 1, "use_processing": True, "start_method": method}})
        print([(type(box) is Box, box.x) for boxes in found for box in boxes], flush=True)
""")
    done = script("pools.py")
    lines = done.stdout.splitlines()
    assert (done.stderr, lines.count("loaded as __main__")) == ("", 1)
    assert [line for line in lines if not line.startswith("loaded")] == [
        "[(True, 2), (True, 3)]"[:-1] + ", (True, 2), (True, 3)]"
    ] * 3


def test_modules_of_a_package_are_imported_relative_to_the_script(script, tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "pkg" / "other.py").write_text("def name(): return __name__\n")
    (tmp_path / "pkg" / "mod.py").write_text("""
import worker_dispatcher
def task(id):
    from . import other
    from .other import name
    return name(), other.__name__, __package__, __spec__.name, __spec__.parent, __name__
print(worker_dispatcher.start({"task": {"list": 1, "function": task}, "worker": {"use_processing": True},
                               "verbose": False})[0])
""")
    done = script("-m", "pkg.mod")
    assert (done.stderr, done.stdout) == ("", "('pkg.other', 'pkg.other', 'pkg', 'pkg.mod', 'pkg', '__main__')\n")


FAILING = """
import inspect, traceback, worker_dispatcher
class Order:
    def check(self):
        return [self.fail() for _ in (1,)]
    def fail(self):
        raise ValueError("no such order")  # the very line
def make():
    def inner(order):
        return order.check()
    return inner
inner = make()
def task(id):
    return inner(Order())
results = worker_dispatcher.start({"task": {"list": 1, "function": task}, "verbose": False,
                                   "worker": {"use_processing": True, "start_method": METHOD}})
print(worker_dispatcher.get_logs()[0]["error"]["traceback"])
"""


def test_a_traceback_of_a_worker_shows_the_scripts_file_and_lines(script, tmp_path, method):
    path = tmp_path / "failing.py"
    path.write_text(FAILING.replace("METHOD", repr(method)))
    said = script("-W", "ignore", "failing.py").stdout

    for line, name in ((14, "task"), (10, "inner"), (5, "check"), (7, "fail")):
        assert f'File "{path}", line {line}, in {name}\n' in said
    assert 'raise ValueError("no such order")  # the very line' in said
    assert "dynamic" not in said


CELLS = '''
import linecache, sys, types
main = sys.modules["__main__"] = types.ModuleType("__main__")
def cell(number, source):
    name = f"<cell {number}>"
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    exec(compile(source, name, "exec"), vars(main))
cell(1, "import inspect, worker_dispatcher")
cell(2, "def fails(x):\\n    raise ValueError(x)  # in a cell\\n")
cell(3, "class Box:\\n    pass\\n")
cell(4, "def task(id):\\n    if id == 2: fails(id)\\n    return Box(), inspect.getsource(fails)\\n")
cell(5, """
results = worker_dispatcher.start({"task": {"list": 2, "function": task}, "verbose": False,
    "worker": {"number": 1, "use_processing": True, "start_method": METHOD}})
print(type(results[0][0]) is Box, results[0][1] == inspect.getsource(fails))
print(worker_dispatcher.get_logs()[1]["error"]["traceback"])
""")
'''


def test_the_source_of_a_notebooks_cells_is_known_in_workers(script, method):
    said = script("-W", "ignore", "-c", CELLS.replace("METHOD", repr(method))).stdout

    assert said.startswith("True True\n")
    assert 'File "<cell 2>", line 2, in fails\n    raise ValueError(x)  # in a cell\n' in said


@pytest.mark.parametrize("how", ["-c", "-"])
def test_what_a_program_without_a_file_defines_keeps_its_place(script, how):
    code = FAILING.replace("METHOD", "None")
    said = (script("-W", "ignore", how, code) if how == "-c" else script("-W", "ignore", how, text=code)).stdout

    assert f'File "<{"string" if how == "-c" else "stdin"}>", line 7, in fail\n' in said
    assert "letter" not in said  # what a worker process was started with, and had in the place of these lines


def test_a_module_that_cloudpickle_is_told_to_send_goes_by_value_and_comes_back_as_the_parents(script, tmp_path):
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "parts.py").write_text(
        "class Part:\n    count = 0\ndef make(id):\n    Part.count += 1\n    return Part()\n"
    )
    code = """
import sys, cloudpickle, worker_dispatcher
sys.path.append("told")
import parts
sys.path.remove("told")
cloudpickle.register_pickle_by_value(parts)
found = worker_dispatcher.start({"task": {"list": 2, "function": parts.make}, "worker": {"use_processing": True},
                                 "verbose": False})
print([type(one) is parts.Part for one in found], parts.Part.count)
"""
    done = script("-c", code)
    assert (done.stderr, done.stdout) == ("", "[True, True] 0\n")
