"""The interpreter of a worker is the parent's: its flags, seed of hashing, filters, limits, arguments, site, key."""

from __future__ import annotations

import sys
import textwrap

import pytest
from programs import METHODS, tell

# What of an interpreter a task can see, as a program text.
SEEN = """
import warnings
def seen(task):
    import builtins
    flags = {name: getattr(sys.flags, name) for name in (
        "debug", "optimize", "dont_write_bytecode", "bytes_warning", "dev_mode", "utf8_mode", "verbose", "quiet",
        "no_user_site", "safe_path")}
    return [
        flags,
        list(sys.warnoptions),
        [[one[0], getattr(one[1], "pattern", one[1]), one[2].__name__, getattr(one[3], "pattern", one[3]), one[4]]
         for one in warnings.filters],
        sorted(sys._xoptions),
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        sys.argv,
        sys.dont_write_bytecode,
        os.environ.get("PYTHONHASHSEED"),
        os.environ.get("PYTHONWARNINGS"),
        [hasattr(builtins, name) for name in ("exit", "quit", "help", "copyright", "credits", "license")],
    ]
"""


@pytest.mark.each_value
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        ([], {}),
        (["-O", "-W", "ignore::UserWarning", "-X", "dev", "-B"], {"PYTHONHASHSEED": "0"}),
        (["-OO", "-b", "-X", "utf8", "-X", "own=1"], {"PYTHONWARNINGS": "error::ImportWarning"}),
        (["-q", "-s", "-P", "-X", "int_max_str_digits=5000"], {"PYTHONOPTIMIZE": "1", "PYTHONDONTWRITEBYTECODE": "1"}),
        (["-S"], {}),
    ],
)
def test_flags_filters_limits_and_arguments_reach_workers(flags, environment, method, tmp_path):
    if "-S" in flags:  # then the packages are found by the path alone
        environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    more = """
sys.setrecursionlimit(1717)
sys.set_int_max_str_digits(4400)
class Mine(UserWarning): pass
warnings.filterwarnings("error", "so and .*so", RuntimeWarning, "a[.]b", 3)
warnings.filterwarnings("ignore", category=Mine)
"""
    ask = f"tell([seen(0), *run(seen, 1, {method!r}), *run(seen, 1, {method!r}, worker=dict(number=2))])"
    told = tell(tmp_path, SEEN + more + ask, "-v", "two words", flags=flags, environment=environment)
    assert told[1] == told[0]
    assert told[2] == told[0]
    assert told[0][4:7] == [1717, 4400, [str(tmp_path / "program.py"), "-v", "two words"]]


@pytest.mark.parametrize("seed", ["0", "12345", "random", None])
@pytest.mark.parametrize("flags", [[], ["-I"]])
def test_all_workers_of_all_runs_have_one_seed_of_hashing(flags, seed, tmp_path):
    code = """
from worker_dispatcher.osproc import forkserver
import signal
def hashes(task): return hash("a"), list(map(str, {str(n) for n in range(9)}))
def nested(task): return run(hashes, 1, worker=dict(start_method=task))
found = []
for method in (None, "spawn", None):
    found += run(hashes, 4, method)
    forkserver.give_up(forkserver._server._pid)  # the next run has another
found += [one for both in run(nested, [None, "spawn"], "spawn") for one in both]
tell([found, hashes(0)])
"""
    environment = {} if seed is None else {"PYTHONHASHSEED": seed}
    found, own = tell(tmp_path, code, flags=flags, environment=environment)
    assert len(found) == 14
    assert all(one == found[0] for one in found)
    if seed in ("0", "12345") and not flags:
        assert found[0] == own


def test_a_filter_for_a_warning_that_a_worker_does_not_know_yet_works_once_it_does(tmp_path):
    (tmp_path / "later.py").write_text("class Odd(Warning): pass\nclass Odder(Odd): pass\n")
    code = """
import warnings, later
warnings.simplefilter("ignore")
warnings.simplefilter("error", later.Odd)
def warn(task):
    import later, warnings
    assert issubclass(later.Odder, later.Odd)
    warnings.warn("odd", later.Odder)
results = [run(warn, 1, method)[0] for method in (None, "spawn", "fork")]
tell([one.error["type"] for one in results])
"""
    assert tell(tmp_path, code) == ["Odder"] * 3


@pytest.mark.parametrize("method", METHODS)
def test_filters_for_several_classes_and_such_as_nobody_can_use_keep_no_worker_from_starting(method, tmp_path):
    code = f"""
import warnings
warnings.filters[:] = [
    ("ignore", None, UserWarning, None, 0), ("error", None, (FutureWarning, ImportWarning), None, 0),
    ("ignore", 5, Warning, None, 0), ("ignore", None)]
def warn(task):
    import warnings
    warnings.warn("odd", FutureWarning)
tell(run(warn, 1, {method!r})[0].error["type"])
"""
    assert tell(tmp_path, code) == "FutureWarning"


@pytest.mark.parametrize("method", METHODS)
def test_a_warning_option_that_means_nothing_is_not_told_again_by_each_worker(method, tmp_path):
    code = f"""
import warnings  # which says that the option means nothing, where it stands there before
sys.warnoptions.append("error::no.such.Category")
tell([run(lambda task: sys.warnoptions[-1], 2, {method!r})])
"""
    assert tell(tmp_path, code) == [["error::no.such.Category"] * 2]


@pytest.mark.parametrize("method", METHODS)
def test_exit_and_quit_end_a_task_with_systemexit(method, tmp_path):
    code = f"""
import warnings; warnings.simplefilter("ignore")
def leave(task): task == 1 and exit(3); quit(4); help
tell([[one.error["type"], one.error["message"]] for one in run(leave, [1, 2], {method!r})])
"""
    assert tell(tmp_path, code) == [["SystemExit", "3"], ["SystemExit", "4"]]


FINDER = """
import importlib.util, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "an_editable_package":
            return importlib.util.spec_from_file_location(name, {place!r})
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("method", METHODS)
def test_what_a_finder_installed_by_a_pth_file_finds_a_worker_can_import(method, tmp_path):
    """An installation in which a .pth file installs a finder, as editable ones of meson-python do."""
    site, place = tmp_path / "site", tmp_path / "elsewhere" / "built.py"
    site.mkdir()
    place.parent.mkdir()
    place.write_text("def triple(task): return 3 * task\n")
    (site / "_editable_loader.py").write_text(FINDER.format(place=str(place)))
    (site / "editable.pth").write_text("import _editable_loader\n")
    # A site-packages folder of this program alone, seen by `site` as the user's own.
    user = tmp_path / "home"
    packages = user / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.parent.mkdir(parents=True)
    packages.symlink_to(site)
    code = f"""
import an_editable_package
def imported(task):
    import an_editable_package
    return an_editable_package.triple(task)
tell([run(imported, [1, 2], {method!r}), run(an_editable_package.triple, [3], {method!r})])
"""
    environment = {"PYTHONUSERBASE": str(user), "PYTHONPATH": ":".join(path for path in sys.path if path)}
    assert tell(tmp_path, code, environment=environment, python=getattr(sys, "_base_executable", sys.executable)) == [
        [3, 6],
        [9],
    ]


@pytest.mark.parametrize("method", METHODS)
def test_a_folder_on_the_path_that_is_made_after_the_first_run_is_found(method, tmp_path):
    code = f"""
sys.path.insert(0, os.path.abspath("made"))
run(len, [[1]], {method!r})
def import_it(task):
    import late_module
    return late_module.VALUE
def attempt(task):
    try:
        import late_module
    except ImportError:
        return "not there"
first = run(attempt, 2, {method!r})
os.mkdir("made")
with open("made/late_module.py", "w") as file:
    file.write("VALUE = 7")
second = run(import_it, 2, {method!r})
with open("made/later_module.py", "w") as file:
    file.write("VALUE = 8")
def import_later(task):
    import later_module
    return later_module.VALUE
tell([first, second, run(import_later, 2, {method!r})])
"""
    assert tell(tmp_path, code) == [["not there"] * 2, [7, 7], [8, 8]]


MANAGER = """
import multiprocessing
def put(task, config):
    queue, table, lock = config
    with lock:
        table[task] = table.get(task, 0) + 1
    queue.put(task)
    return len(multiprocessing.current_process().authkey)
if __name__ == "__main__":
    run(len, [[1]])
    with multiprocessing.Manager() as manager:
        shared = manager.Queue(), manager.dict(), manager.Lock()
        done = [run(put, [1, 2, 3], method, config=shared) for method in (None, "spawn", "fork", None)]
        tell([done, sorted(shared[0].get() for _ in range(12)), dict(shared[1].items())])
"""


def test_proxies_of_a_multiprocessing_manager_work_in_workers(tmp_path):
    done, queued, table = tell(tmp_path, MANAGER)
    assert done == [[32] * 3] * 4
    assert queued == [1] * 4 + [2] * 4 + [3] * 4
    assert table == {"1": 4, "2": 4, "3": 4}


def test_a_program_without_multiprocessing_has_none_in_its_workers(tmp_path):
    code = textwrap.dedent("""
        def loaded(task): return "multiprocessing" in sys.modules
        tell([loaded(0), run(loaded, 1)])
    """)
    assert tell(tmp_path, code) == [False, [False]]
