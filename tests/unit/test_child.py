"""What a worker is told at its start: the parent as it is at that moment, in a form that can be sent."""

from __future__ import annotations

import collections
import marshal
import os
import resource
import subprocess
import sys
import warnings

import pytest

from worker_dispatcher.osproc.child import import_entry
from worker_dispatcher.osproc.spawn_spec import spawn_spec


def order(**environment: str) -> dict:
    return spawn_spec("collections:OrderedDict", fresh=False, environment=environment)


def test_an_order_can_be_marshalled(monkeypatch):
    class Path(str):
        pass

    monkeypatch.setattr(sys, "path", [*sys.path, Path("/odd")])
    monkeypatch.setattr(sys, "argv", [Path("script"), "-v"])
    made = order()
    assert marshal.loads(marshal.dumps(made)) == made
    assert made["path"] == sys.path
    assert made["argv"] == ["script", "-v"]


def test_an_order_tells_the_filters_of_warnings_as_they_are_now_also_odd_ones():
    before = order()["warnings"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "told.*", UserWarning)
        added = order()["warnings"]
        warnings.filters[:0] = [["ignore", None, UserWarning, None, 7], "no filter"]  # a list cannot be hashed
        odd = order()["warnings"]
    assert added[1:] == before
    assert added[0][0] == "error"
    assert odd == [("ignore", None, ("builtins", "UserWarning"), None, 7), *added]
    assert order()["warnings"] == before


def test_an_order_tells_the_environment_with_what_is_set_on_top(monkeypatch):
    monkeypatch.setenv("LEFT_ALONE", "parent")
    monkeypatch.setenv("CHANGED", "parent")
    made = order(CHANGED="worker", ADDED="worker")["environment"]
    assert (made["LEFT_ALONE"], made["CHANGED"], made["ADDED"]) == ("parent", "worker", "worker")
    assert made == {**os.environ, "CHANGED": "worker", "ADDED": "worker"}
    assert os.environ["CHANGED"] == "parent"
    assert "ADDED" not in os.environ


@pytest.mark.parametrize("umask", [0, 0o022, 0o027, 0o777])
def test_an_order_tells_the_umask_and_leaves_it(umask):
    before = os.umask(umask)
    try:
        assert order()["umask"] == umask
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_the_usual_umask_is_taken_where_the_system_does_not_tell():
    assert spawn_spec("a:b", fresh=False, environment={}, status={"Name": "python"})["umask"] == 0o022


def test_an_order_tells_the_folder_even_if_it_is_gone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert order()["folder"] == str(tmp_path)

    def gone() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", gone)
    assert order()["folder"] == "/"


def test_an_order_tells_the_limits_as_they_are_now():
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    other = 0 if soft else hard
    resource.setrlimit(resource.RLIMIT_CORE, (other, hard))
    try:
        assert order()["limits"]["CORE"] == (other, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    assert order()["limits"]["NOFILE"] == resource.getrlimit(resource.RLIMIT_NOFILE)


@pytest.mark.parametrize("fresh", [False, True])
def test_an_order_names_the_entry_and_the_interpreter(fresh):
    made = spawn_spec("collections:OrderedDict", fresh=fresh, environment={}, imports=["json"])
    assert made["fresh"] is fresh
    assert made["executable"] == (sys.executable if fresh else "")  # the fork server runs already
    assert made["prefix"] == (sys.prefix, sys.exec_prefix)
    assert made["imports"] == ["json"]
    assert import_entry(made) is collections.OrderedDict


@pytest.mark.parametrize(
    ("entry", "error"), [("no_such_module_at_all:f", ImportError), ("collections:f", AttributeError)]
)
def test_an_entry_that_is_not_there_is_an_error(entry, error):
    with pytest.raises(error):
        import_entry({"entry": entry, "imports": []})


def test_what_a_worker_will_need_is_imported_with_its_entry_as_far_as_it_can_be(monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    imports = ["no_such_module_at_all", "this"]
    assert import_entry({"entry": "collections:OrderedDict", "imports": imports}) is collections.OrderedDict
    assert "this" in sys.modules


BORN_TOO_LATE = """
import os, sys, time
from worker_dispatcher.osproc import child

reading, writing = os.pipe()
server = os.fork()
if server == 0:
    us = os.getpid()
    if os.fork():
        os._exit(0)  # it is killed before the worker has told the system with whom it is to end
    while os.getppid() == us:
        time.sleep(0.001)
    child.stay(-1, -1, lambda *_: os.write(writing, b"lives"), us)
os.close(writing)
os.waitpid(server, 0)
print(os.read(reading, 100))
"""


def test_a_worker_whose_server_ends_before_it_has_begun_ends_too():
    done = subprocess.run([sys.executable, "-c", BORN_TOO_LATE], capture_output=True, timeout=20, text=True, check=True)
    assert done.stdout == "b''\n", done.stderr
