"""Modules that are imported where workers are forked from: under what they are, and what becomes of who is killed,
stopped or hurried meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import SLOW, begin, left_of, tell

LOOKS = """
import os, resource, sys
FOUND = [os.environ.get("SAYS"), os.getcwd(), "/told" in sys.path, resource.getrlimit(resource.RLIMIT_NOFILE)[0],
         os.umask(0o022), sys.argv[1:], __import__("__main__").__file__, sys.getrecursionlimit()]
os.umask(FOUND[4])

def found(id):
    import resource
    now = [os.environ.get("SAYS"), os.getcwd(), "/told" in sys.path, resource.getrlimit(resource.RLIMIT_NOFILE)[0],
           os.umask(0o022), sys.argv[1:], __import__("__main__").__file__, sys.getrecursionlimit()]
    os.umask(now[4])
    return [FOUND == now, FOUND]
"""
CHANGES = """
import resource, looks
seen = [run(looks.found, 2, number=2)]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
os.mkdir("other")
for change in (
    lambda: os.environ.update(SAYS="2"),
    lambda: os.chdir("other"),
    lambda: sys.path.append("/told"),
    lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard)),
    lambda: os.umask(0o077),
    lambda: sys.argv.append("more"),
    lambda: sys.setrecursionlimit(1234),
):
    change()
    seen.append(run(looks.found, 2, number=2))
tell([all(same for call in seen for same, _ in call), [call[0][1] for call in seen]])
"""


def test_modules_are_imported_anew_in_each_place_that_a_call_is_made_in(tmp_path: Path):
    (tmp_path / "looks.py").write_text(LOOKS)
    same, seen = tell(tmp_path, CHANGES)
    assert same
    assert len({str(one) for one in seen}) == 8


def test_a_variable_a_folder_and_a_path_that_an_import_sets_stay_set(tmp_path: Path):
    (tmp_path / "sets.py").write_text(
        "import os, sys\nos.environ['SAYS'] = 'set'\nsys.path.append('/told')\n"
        "def found(id): return [os.environ['SAYS'], '/told' in sys.path, os.getcwd()]\n"
    )
    told = tell(
        tmp_path, "import sets\ndel os.environ['SAYS']\nsys.path.pop()\ntell(run(sets.found, 1) + run(sets.found, 1))"
    )
    assert told == [["set", True, str(tmp_path)]] * 2


def test_what_a_worker_imports_in_a_place_that_it_has_made_is_left_to_it(tmp_path: Path):
    (tmp_path / "reads.py").write_text("import os\nSAYS = os.environ.get('SAYS')\n")
    code = """
def work(id):
    os.environ["SAYS"] = "task"
    import reads
    return reads.SAYS

tell([run(work, 1), run(work, 1)])
"""
    assert tell(tmp_path, code) == [["task"], ["task"]]


WAITS = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["PARENT"] = str(os.getpid())
import slow
try:
    print(run(slow.work, 4, number=2 ROOM))
except KeyboardInterrupt:
    print("interrupted")
    while not os.path.exists("seen"):
        time.sleep(0.01)
os.remove("loading")
open("go", "w").close()
print(run(slow.work, 4, number=2))
"""


@pytest.fixture
def loading(tmp_path: Path, wait_until: Callable[..., None]):
    """A program that waits for an import."""

    def start(code: str = WAITS.replace("ROOM", "")):
        (tmp_path / "slow.py").write_text(SLOW)
        process = begin(tmp_path, code)
        wait_until((tmp_path / "loading").exists, within=60)
        return process

    return start


def test_ctrl_c_while_a_module_is_imported_ends_the_import(loading, tmp_path: Path, wait_until):
    process = loading()
    assert len(left_of(tmp_path)) >= 3  # it, its fork server, what imports
    process.send_signal(signal.SIGINT)
    wait_until(lambda: len(left_of(tmp_path)) == 2)
    (tmp_path / "seen").touch()
    out, err = process.communicate(timeout=60)
    assert out.splitlines() == ["interrupted", "[1, 2, 3, 4]"]
    assert not err
    wait_until(lambda: not left_of(tmp_path))


def test_the_end_of_a_program_ends_what_imports(loading, tmp_path: Path, wait_until):
    process = loading()
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: not left_of(tmp_path))


def test_the_runtime_holds_while_a_module_is_imported(loading, tmp_path: Path, wait_until):
    code = """
os.environ["PARENT"] = str(os.getpid())
import slow
import time
began = time.monotonic()
worker_dispatcher.start({"task": {"list": 4, "function": slow.work}, "runtime": 5, "verbose": False,
                         "worker": {"number": 2, "use_processing": True}})
print(time.monotonic() - began)
"""
    out, err = loading(code).communicate(timeout=60)
    assert not err
    assert float(out) < 5 + 3
    wait_until(lambda: not left_of(tmp_path))


def forked(folder: Path) -> list[int]:
    """The children of children of the program in a folder: what has imported, or imports."""
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in left_of(folder)}
    return [pid for pid, parent in parents.items() if parents.get(parent) in parents]


@pytest.mark.parametrize("whom", ["template", "server"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_who_is_killed_while_it_imports_holds_up_nobody(loading, tmp_path: Path, wait_until, whom: str, how: int):
    process = loading()
    (pid,) = forked(tmp_path)
    if whom == "server":
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(pid, how)
    if how == signal.SIGSTOP:  # nobody can tell it from an import that takes long
        os.kill(pid, signal.SIGCONT)
    (tmp_path / "loading").touch()
    (tmp_path / "go").touch()
    out, err = process.communicate(timeout=60)
    assert out.splitlines() == ["[1, 2, 3, 4]"] * 2
    assert not err
    wait_until(lambda: not left_of(tmp_path))


KILLS = """
import signal, time, light

def parent_of(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])

assert run(light.work, 4, number=2) == [1, 2, 3, 4]
template = run(light.parent, 1, number=1)[0]
server = parent_of(template)
assert parent_of(server) == os.getpid()
os.kill({whom}, signal.SIGKILL)
WAIT
tell(run(light.work, 40, number=2) == list(range(1, 41)) and run(light.work, 4, number=2) == [1, 2, 3, 4])
"""


@pytest.mark.parametrize("whom", ["template", "server"])
def test_a_killed_template_or_server_is_replaced(tmp_path: Path, whom: str):
    (tmp_path / "light.py").write_text("import os\ndef work(id): return id\ndef parent(id): return os.getppid()\n")
    assert tell(tmp_path, KILLS.replace("{whom}", whom).replace("WAIT", ""))


def test_a_template_that_is_killed_while_its_workers_run_takes_no_task_along(tmp_path: Path):
    (tmp_path / "light.py").write_text(
        "import os, signal, time\n"
        "def work(id):\n"
        "    if id == 3 and not os.path.exists('killed'):\n"
        "        open('killed', 'w').close()\n"
        "        os.kill(os.getppid(), signal.SIGKILL)\n"
        "        time.sleep(10)\n"
        "    return id\n"
    )
    assert tell(tmp_path, "import light\ntell(run(light.work, 8, number=2, retries=2))") == list(range(1, 9))


def test_a_process_that_workers_leave_behind_ends_with_the_program(tmp_path: Path, wait_until):
    (tmp_path / "light.py").write_text(
        "import os, subprocess, time\n"
        "def work(id):\n"
        "    subprocess.Popen(['sleep', '600'])\n"
        "    open('there', 'w').close()\n"
        "    time.sleep(600)\n"
    )
    process = begin(tmp_path, "import light\nrun(light.work, 2, number=2)")
    wait_until((tmp_path / "there").exists, within=60)
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: not left_of(tmp_path))


def test_many_functions_leave_few_processes(tmp_path: Path):
    for number in range(8):
        (tmp_path / f"light{number}.py").write_text("def work(id): return id\n")
    code = """
import psutil, importlib, time
for _ in range(2):
    for number in range(8):
        run(importlib.import_module(f"light{number}").work, 2, number=2)
time.sleep(0.2)
tell(len(psutil.Process().children(recursive=True)))
"""
    assert tell(tmp_path, code) <= 3
