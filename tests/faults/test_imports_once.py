"""What workers import is imported once, where they are forked from; and what that must not be used for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from programs import begin, tell

# Each import of the module leaves a line in a file.
COUNTS = """
import os
with open({count!r}, "a") as file:
    print(os.getpid(), file=file)

{top}

def work(id):
    import time
    time.sleep(0.01)
    return {result}

class Works:
    def __call__(self, id):
        return work(id)

    def method(self, id):
        return work(id)

def done(id, config, result, log):
    return result

def init(config):
    pass
"""
TOLD = """
def imports():
    return len(open("count").readlines())

before = imports()
"""
CALLS = """
run(module.work, 8, number=4)
first = imports() - before
run(module.work, 8, number=4)
tell([first, imports() - before - first])
"""


def module(folder: Path, top: str = "", result: str = "id", name: str = "module") -> Path:
    path = folder / f"{name}.py"
    path.write_text(COUNTS.format(count=str(folder / "count"), top=top, result=result))
    return path


@pytest.mark.parametrize(
    "what",
    [
        "module.work",
        "module.Works()",
        "module.Works().method",
        "functools.partial(module.work)",
        "lambda id: module.work(id)",
        "local",
    ],
)
@pytest.mark.parametrize("grid", [False, True])
def test_the_module_of_a_function_is_imported_once_for_all_workers_of_all_calls(tmp_path: Path, what: str, grid: bool):
    module(tmp_path)
    shape = {"parallel_processing": {"enabled": True, "processes": 4}} if grid else {}
    code = f"""
import functools, module
{TOLD}
def local(id):
    return module.work(id)

for _ in range(3):
    assert run({what}, 8, number=8, worker={shape!r}) == list(range(1, 9))
tell(imports() - before)
"""
    assert tell(tmp_path, code) == 1


@pytest.mark.parametrize(
    "task",
    [
        "config={'deep': [module.Works()]}",
        "config={'large': b'x' * (1 << 20), 'array': numpy.ones(1 << 20)}, callback={'on_done': module.done}",
        "callback={'on_done': module.done}",
        "worker={'init': module.init}",
        "config=module.work",
    ],
)
def test_what_the_rest_of_a_setup_names_is_imported_once(tmp_path: Path, task: str):
    module(tmp_path)
    code = f"""
import time, numpy, module
{TOLD}
def work(id):
    time.sleep(0.01)

for _ in range(2):
    run(work, 8, number=4, {task})
tell(imports() - before)
"""
    assert tell(tmp_path, code) == 1


def test_what_workers_were_seen_to_import_is_imported_once_in_the_calls_after(tmp_path: Path):
    module(tmp_path)
    module(tmp_path, name="item")
    code = f"""
import time, item
{TOLD}
def work(id):
    import module
    return module.work(id)

run(work, [item.Works()] * 8, number=4)
first = imports() - before
for _ in range(3):
    run(work, [item.Works()] * 8, number=4)
tell([first, imports() - before - first])
"""
    first, later = tell(tmp_path, code)
    assert first >= 2
    assert later == 2


def test_what_a_function_names_is_not_imported_again_for_what_its_workers_were_seen_to_import(tmp_path: Path):
    module(tmp_path, result="__import__('item').work(id)")
    (tmp_path / "item.py").write_text("def work(id): return id\n")
    code = f"""
import module
{TOLD}
for _ in range(3):
    run(module.work, 8, number=4)
tell(imports() - before)
"""
    assert tell(tmp_path, code) == 1


@pytest.mark.parametrize("kind", ["process", "grid"])
def test_the_module_of_the_first_function_of_a_pool_that_is_kept_is_imported_once(tmp_path: Path, kind: str):
    module(tmp_path)
    code = f"""
import module
{TOLD}
with worker_dispatcher.WorkerPool(4, kind={kind!r}) as pool:
    assert list(pool.map(module.work, range(8))) == list(range(8))
tell(imports() - before)
"""
    assert tell(tmp_path, code) == 1


@pytest.mark.parametrize("grid", [False, True])
def test_the_module_of_a_coroutine_function_and_of_a_launched_one_is_imported_once(tmp_path: Path, grid: bool):
    module(tmp_path, "async def soft(id):\n    return id")
    shape = {"parallel_processing": {"enabled": True, "processes": 4}} if grid else {"use_processing": True}
    code = f"""
import module
{TOLD}
for function in (module.soft, module.soft, module.work):
    worker = {{"number": 8, **{shape!r}}}
    task = {{"list": 8, "function": function}}
    found = worker_dispatcher.launch({{"task": task, "worker": worker, "verbose": False}})
    found.wait()
    assert found.results == list(range(1, 9))
tell(imports() - before)
"""
    assert tell(tmp_path, code) <= 2  # a setup for coroutines is another


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_other_start_methods_stay_as_they_are(tmp_path: Path, method: str):
    module(tmp_path)
    code = f"""
import module
{TOLD}
run(module.work, 8, number=2, method={method!r})
tell(imports() - before)
"""
    assert tell(tmp_path, code) == (2 if method == "spawn" else 0)


EDITED = """
import importlib, os, sys, time
import module

def edit(number):
    text = open("module.py").read()
    with open("module.py", "w") as file:
        file.write(text.replace(text[text.index("VALUE"):text.index("VALUE") + 10], f"VALUE = {number:02}"))

found = []
for number in range(10, 20):
    edit(number)
    HOW
    found.append(set(run(module.work, 4, number=2)))
tell([found == [{number} for number in range(10, 20)], list(map(list, found))])
"""


@pytest.mark.parametrize("how", ["importlib.reload(module)", "del sys.modules['module']; import module", "pass"])
@pytest.mark.parametrize("flags", [[], ["-B"]])
def test_a_module_that_is_rewritten_ten_times_in_a_moment_is_never_stale(tmp_path: Path, how: str, flags: list[str]):
    module(tmp_path, "VALUE = 10", "VALUE")
    right, found = tell(tmp_path, EDITED.replace("HOW", how), flags=flags)
    assert right, found


def test_a_module_that_was_edited_with_its_dates_put_back_is_never_stale(tmp_path: Path):
    module(tmp_path, "VALUE = 10", "VALUE")
    for path in tmp_path.iterdir():
        os.utime(path, (1e9, 1e9))
    code = """
import os, module
found = run(module.work, 2, number=1)
text = open("module.py").read()
with open("module.py", "w") as file:
    file.write(text.replace("VALUE = 10", "VALUE = 11"))
os.utime("module.py", (1e9, 1e9))
tell([found, run(module.work, 2, number=1)])
"""
    assert tell(tmp_path, code, flags=["-B"]) == [[10, 10], [11, 11]]


@pytest.mark.parametrize("how", ["importlib.reload(module)", "del sys.modules['module']; import module"])
def test_a_module_that_was_reloaded_is_imported_anew_though_its_file_is_the_same(tmp_path: Path, how: str):
    module(tmp_path, f"VALUE = int(open({str(tmp_path / 'setting')!r}).read())", "VALUE")
    (tmp_path / "setting").write_text("1")
    code = f"""
import importlib, sys, module
first = run(module.work, 2, number=1)
open("setting", "w").write("2")
{how}
tell([first, run(module.work, 2, number=1)])
"""
    assert tell(tmp_path, code) == [[1, 1], [2, 2]]


def test_a_module_whose_attributes_the_parent_has_changed_is_that_of_its_file_in_workers(tmp_path: Path):
    module(tmp_path, "VALUE = 1", "VALUE")
    assert tell(tmp_path, "import module\nmodule.VALUE = 2\ntell(run(module.work, 2, number=1))") == [1, 1]


LEFT = {
    "a thread": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
    "a socket": "import socket\nsock = socket.socket()",
    "a file": "file = open(__file__)",
    "a process": "import subprocess\nchild = subprocess.Popen(['cat'], stdin=subprocess.PIPE)",
    "a shared lock": "import multiprocessing\nlock = multiprocessing.Lock()",
    "a timer": "import signal\nsignal.setitimer(signal.ITIMER_VIRTUAL, 1000)",
    "a folder": "import os\nos.chdir('/')",
    "a stream": "import sys, io\nsys.stdout = io.StringIO()",
    "a temporary folder": "import tempfile\nfolder = tempfile.TemporaryDirectory(dir='.')",
    "a function of atexit": "import atexit\natexit.register(len, ())",
    "a handler": "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "a seed": "import random\nrandom.seed(1)",
    "a seed of numpy": "import numpy\nnumpy.random.seed(1)",
    "a generator": "import random\ndice = random.Random(1)",
    "a generator of numpy": "import numpy\ndice = numpy.random.default_rng(1)",
    "what gives a generator of numpy its numbers": "import numpy\nbits = numpy.random.PCG64()",
    "what gives many generators their seeds": "import numpy\nseeds = numpy.random.SeedSequence()",
    "a method of a generator": "import random\ndraw = random.Random().random",
}
LOGS = """
import logging, module, time
logging.getLogger("worker_dispatcher").setLevel(logging.DEBUG)
class Keeps(logging.Handler):
    def emit(self, record):
        told.append(record.getMessage())
told = []
logging.getLogger("worker_dispatcher").addHandler(Keeps())
"""


@pytest.mark.parametrize("left", LEFT)
def test_a_module_whose_import_leaves_something_is_imported_in_each_worker(tmp_path: Path, left: str):
    module(tmp_path, LEFT[left])
    code = f"""
{LOGS}
os.chdir({str(tmp_path)!r})
{TOLD}
calls = []
for _ in range(3):
    had = imports()
    assert run(module.work, 4, number=2) == [1, 2, 3, 4]
    calls.append(imports() - had)
os.write(1, json.dumps([calls, told]).encode())
os._exit(0)
"""
    calls, told = tell(tmp_path, code)
    assert calls == [3, 2, 2]  # once more, to see
    assert len(told) == 1
    assert told[0].startswith("module module is imported in each worker")


def test_workers_draw_the_numbers_that_they_would_have_drawn(tmp_path: Path):
    module(tmp_path, "import random, numpy\ndice = numpy.random.default_rng()", "[random.random(), dice.random()]")
    first, second = tell(
        tmp_path, "import module\ntell([run(module.work, 8, number=4), run(module.work, 8, number=4)])"
    )
    assert [len(set(one)) for one in zip(*first, *second, strict=True)] == [16, 16]


DRAWS = """[
    random.random(), numpy.random.random(), numpy.random.default_rng().random(), secrets.token_hex(), uuid.uuid4().hex,
    uuid.uuid1().hex, next(tempfile._get_candidate_names()), random.SystemRandom().random(), dice.random(),
]"""


def test_what_is_drawn_after_a_fork_is_drawn_by_each_worker_for_itself(tmp_path: Path):
    top = """
import random, secrets, tempfile, uuid, numpy
with tempfile.NamedTemporaryFile():
    dice = secrets.SystemRandom()
"""
    module(tmp_path, top, DRAWS)
    code = f"""
import module
{TOLD}
drawn = run(module.work, 8, number=4) + run(module.work, 8, number=4)
tell([imports() - before, [len(set(one)) for one in zip(*drawn)]])
"""
    assert tell(tmp_path, code) == [1, [16] * 9]


def test_what_an_import_prints_comes_once(tmp_path: Path):
    module(tmp_path, "import sys\nprint('hello')\nprint('there', file=sys.stderr)")
    (tmp_path / "program.py").write_text("")
    code = "import module\nfor _ in range(2): run(module.work, 4, number=4)\n"
    process = begin(tmp_path, code)
    out, err = process.communicate(timeout=60)
    assert out.splitlines() == ["hello"] * 2  # the program's own, and that of the workers
    assert err.splitlines() == ["there"] * 2


@pytest.mark.parametrize(
    ("top", "told"),
    [
        (
            "if os.getpid() != int(os.environ['PARENT']): raise ZeroDivisionError('at import')",
            "ZeroDivisionError: at import",
        ),
        ("if os.getpid() != int(os.environ['PARENT']): import no_such_module", "no_such_module"),
        ("if os.getpid() != int(os.environ['PARENT']): os._exit(3)", "exited with code 3"),
        ("if os.getpid() != int(os.environ['PARENT']): os.abort()", "SIGABRT"),
        ("if os.getpid() != int(os.environ['PARENT']): raise SystemExit('no')", "SystemExit"),
    ],
)
def test_an_import_that_fails_fails_in_the_worker_with_its_own_error(tmp_path: Path, top: str, told: str):
    module(tmp_path, top)
    code = """
os.environ["PARENT"] = str(os.getpid())
import module
found = []
for _ in range(2):
    try:
        run(module.work, 4, number=2)
    except Exception as error:
        found.append(str(error))
tell(found)
"""
    found = tell(tmp_path, code)
    assert len(found) == 2
    assert all(told in text for text in found), found
    assert found[0] == found[1]


def test_what_an_import_logs_comes_to_the_handlers_of_the_parent_once(tmp_path: Path):
    module(
        tmp_path, "import logging\nif os.getpid() != int(os.environ['PARENT']): logging.getLogger('app').error('here')"
    )
    code = f"""
os.environ["PARENT"] = str(os.getpid())
{LOGS.replace("worker_dispatcher", "app")}
for _ in range(2):
    run(module.work, 4, number=4, worker={{"forward_logging": True}})
tell(told)
"""
    assert tell(tmp_path, code) == ["here"]


def test_what_a_module_has_made_is_finalized_in_each_worker(tmp_path: Path):
    module(
        tmp_path,
        """
class Ends:
    def __del__(self):
        with open("ended", "a") as file:
            print(os.getpid(), file=file)

if __name__ == "module" and os.getpid() != int(os.environ["PARENT"]):
    ends = Ends()
""",
        "os.getpid()",
    )
    code = """
os.environ["PARENT"] = str(os.getpid())
import module
workers = {pid for _ in range(2) for pid in run(module.work, 8, number=4)}
tell(sorted(map(int, open("ended"))) == sorted(workers) and len(workers))
"""
    assert tell(tmp_path, code) >= 2
