"""The shape of the package, read from its source: floors, who may do dangerous things, sizes, what import costs.

The rules are the tables below. A new room is a line in FLOORS; a rule that is in the way is changed here, with its
reason, and nowhere else.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = "worker_dispatcher"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

# Rooms (modules or folders directly in the package) by floor. Imports go down only; floor mates do not know each other.
FLOORS: dict[str, int] = {
    **dict.fromkeys(
        [
            "call_style",
            "clock",
            "contexts",
            "errors",
            "garbage",
            "loaded",
            "marks",
            "named_tuple",
            "pool_full",
            "script",
            "signals",
            "units",
            "tracebacks",
            "version",
            "worker_died",
            "zipped",
        ],
        0,
    ),
    **dict.fromkeys(["awaiting", "config", "limiter", "records", "retry", "task_span", "wire"], 1),
    **dict.fromkeys(["call", "done_log", "osproc", "execute", "reports", "journal"], 2),
    **dict.fromkeys(["pools"], 3),
    **dict.fromkeys(["core"], 4),
    **dict.fromkeys(["dispatch", "workpool"], 5),
    **dict.fromkeys(["engine", "last_run", "max_rate", "reporting", "cli", "worker_dispatcher"], 6),
    **dict.fromkeys(["__init__", "__main__"], 7),
}
# (importing room, imported room) on the same floor, each with its reason.
FLOOR_MATES_THAT_MAY_MEET: dict[tuple[str, str], str] = {
    ("config", "retry"): "the config holds a Backoff as it is used, and its defaults stand only there",
    ("call", "done_log"): "the log that on_done is given stands apart from how it is called",
    ("execute", "call"): "what is called for a task stands apart from the guard that calls it",
    ("call_style", "named_tuple"): "what travels is a named tuple",
    ("clock", "named_tuple"): "as above",
    ("script", "named_tuple"): "as above",
    (
        "script",
        "tracebacks",
    ): "what a handler of signals raises while the script's own are packed is no error of theirs",
    ("script", "signals"): "a handler waits while it is looked for a file",
    ("script", "loaded"): "a script's objects are told apart by the library they are of, if that is there",
    ("pool_full", "errors"): "as below",
    ("task_span", "records"): "a failure stands in both",
    ("worker_died", "errors"): "one tree of errors, in two files because one base class is slow to import",
    ("tracebacks", "errors"): "an error that is told to the user shows no frames of ours, a fault of ours all",
    ("workpool", "dispatch"): "a map or a group shows its progress where, and as, a run does",
    ("cli", "__init__"): "the command's version is the package's",
    ("cli", "engine"): "the command shows the file in which an engine keeps its jobs",
    ("cli", "reporting"): "the command calls what a script would call",
    ("reporting", "last_run"): "a report without a source is one of the last run",
    ("worker_dispatcher", "last_run"): "the submodule of 1.x is a second name for what is there, and nothing else",
}

# Names of the standard library that start, end or reap processes; "module.*" is the whole module.
PROCESS_CALLS = {
    *(f"os.{name}" for name in ("fork", "forkpty", "kill", "killpg", "posix_spawn", "posix_spawnp", "system", "popen")),
    *(f"os.{name}" for name in ("wait", "wait3", "wait4", "waitpid", "waitid")),
    *(f"os.{kind}{tail}" for kind in ("exec", "spawn") for tail in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
    "signal.pidfd_send_signal",
    "subprocess.*",
    "_posixsubprocess.*",
    *(f"multiprocessing.{name}" for name in ("Process", "Pool", "Manager", "get_context", "set_start_method")),
    "multiprocessing.process.*",
    "multiprocessing.pool.*",
    "multiprocessing.forkserver.*",
    "concurrent.futures.ProcessPoolExecutor",
    "pty.*",
}
ROOMS_THAT_HANDLE_PROCESSES = {"osproc"}

# Modules (paths inside the package) that write to standard output.
MODULES_THAT_PRINT = {"dispatch/banner.py"}

MOST_LINES_OF_A_FILE = 420
MOST_LINES_OF_A_FUNCTION = 70

# Loaded only by who needs them: `import worker_dispatcher` stays cheap.
NOT_LOADED_BY_IMPORT = [
    "numpy",
    "psutil",
    "cloudpickle",
    "multiprocessing",
    "asyncio",
    "plotly",
    "matplotlib",
    "xlsxwriter",
]

# What a first call waits for, 2 to 10 ms each, unless its config or its function asks for it.
NOT_LOADED_BY_A_FIRST_CALL = [
    *NOT_LOADED_BY_IMPORT,
    "argparse",
    "concurrent",
    "dataclasses",
    "datetime",
    "inspect",
    "logging",
    "random",
    "sqlite3",
    "subprocess",
    "tempfile",
    "textwrap",
    *(
        f"{PACKAGE}.{name}"
        for name in (
            "cli",
            "config.legacy",
            "config.spelling",
            "dispatch.abort",
            "dispatch.banner",
            "dispatch.journal_recorder",
            "dispatch.record_stream",
            "dispatch.load",
            "dispatch.progress_display",
            "dispatch.resume",
            "dispatch.summary",
            "journal",
            "reporting",
            "reports",
        )
    ),
]


@dataclass(frozen=True)
class Module:
    """One source file. path: inside the package, with slashes; name: dotted; room: its entry in FLOORS."""

    path: str
    tree: ast.Module
    lines: int

    @property
    def room(self) -> str:
        return self.path.split("/")[0].removesuffix(".py")

    @property
    def name(self) -> str:
        parts = [PACKAGE, *self.path.removesuffix(".py").split("/")]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def folder(self) -> str:
        """The dotted name that a relative import with one dot starts from."""
        return self.name if self.path.endswith("__init__.py") else self.name.rpartition(".")[0]


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, str(path))
        found.append(Module(path.relative_to(ROOT).as_posix(), tree, len(text.splitlines())))
    return tuple(found)


def in_every_module(rule: Callable[[Module], None]) -> Callable[..., None]:
    """A test that each module keeps a rule, which raises AssertionError for one that breaks it. All in one go: to take
    one after the other as a test of its own costs far more than to look at it."""

    def test(*only: Module) -> None:
        broken = []
        for module in only or modules():
            try:
                rule(module)
            except AssertionError as error:
                broken.append(str(error).partition("\nassert ")[0])
        assert not broken, "\n".join(broken)

    return test


def imported_names(module: Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all imports, also those inside functions and under TYPE_CHECKING."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                start = module.folder.split(".")
                base = ".".join([*start[: len(start) - node.level + 1], *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def room_of(dotted: str) -> str | None:
    """The room that an imported name lies in; None if it is not ours."""
    head, _, rest = dotted.partition(".")
    if head != PACKAGE:
        return None
    room = rest.partition(".")[0]
    return room if (ROOT / room).is_dir() or (ROOT / f"{room}.py").is_file() else "__init__"


def used_names(module: Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every use of an attribute of an imported module, aliases resolved, and of each import."""
    aliases: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
    yield from imported_names(module)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield node.lineno, f"{aliases[node.value.id]}.{node.attr}"


def matches(dotted: str, rules: set[str]) -> bool:
    return dotted in rules or any(dotted == head or dotted.startswith(f"{head}.") for head in whole_modules(rules))


def whole_modules(rules: set[str]) -> set[str]:
    return {rule.removesuffix(".*") for rule in rules if rule.endswith(".*")}


def at(module: Module, line: int, text: str) -> str:
    return f"{PACKAGE}/{module.path}:{line}: {text}"


def test_every_room_with_a_floor_is_there() -> None:
    gone = [room for room in FLOORS if not (ROOT / room).is_dir() and not (ROOT / f"{room}.py").is_file()]
    assert not gone, f"no such rooms: {gone}"


@in_every_module
def test_each_module_is_in_a_room_that_has_a_floor(module: Module) -> None:
    assert module.room in FLOORS, f"{module.path}: give '{module.room}' a floor in FLOORS"


@in_every_module
def test_a_room_that_names_its_floor_names_the_right_one(module: Module) -> None:
    told = re.search(r"\bfloor (\d)", (ast.get_docstring(module.tree) or "").lower())
    assert told is None or int(told[1]) == FLOORS[module.room], f"{module.path} says floor {told[1]}"


@in_every_module
def test_imports_go_only_down_the_floors(module: Module) -> None:
    wrong = []
    for line, dotted in imported_names(module):
        target = room_of(dotted)
        if target is None or target == module.room or (module.room, target) in FLOOR_MATES_THAT_MAY_MEET:
            continue
        if target not in FLOORS or FLOORS[target] >= FLOORS[module.room]:
            floors = f"floor {FLOORS[module.room]} imports floor {FLOORS.get(target, '?')}"
            wrong.append(at(module, line, f"{module.room} imports {dotted}: {floors}"))
    assert not wrong, "\n".join(wrong)


@in_every_module
def test_what_has_an_underscore_is_its_modules_own(module: Module) -> None:
    wrong = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").partition(".")[0] == PACKAGE):
            names = [alias.name for alias in node.names]
            wrong += [at(module, node.lineno, name) for name in names if name.startswith("_") and name != "__version__"]
    assert not wrong, "\n".join(wrong)


@in_every_module
def test_all_names_what_a_room_offers_and_nothing_else(module: Module) -> None:
    listed = listed_in_all(module.tree)
    if listed is None:  # what has no underscore is offered; a room whose names are those of its modules lists them
        return
    assert len(listed) == len(set(listed)), f"{module.path}: __all__ names something twice"
    defined = names_defined(module.tree)
    missing = [name for name in listed if name not in defined]
    if missing and "__getattr__" in defined:  # names that are loaded on first use
        loaded = importlib.import_module(module.name)
        missing = [name for name in missing if not hasattr(loaded, name)]
    assert not missing, f"{module.path}: __all__ names what is not there: {missing}"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = {node.name for node in module.tree.body if isinstance(node, functions) and not node.name.startswith("_")}
    assert public <= set(listed), f"{module.path}: neither private nor in __all__: {sorted(public - set(listed))}"


def listed_in_all(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if is_annotated(node) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            try:
                return [str(name) for name in ast.literal_eval(node.value)]
            except (ValueError, TypeError):
                return None
    return None


def is_annotated(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and node.value is not None


def names_defined(tree: ast.Module) -> set[str]:
    """Names bound at the top of a module, also under `if` and `try`."""
    names: set[str] = set()
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.If | ast.Try | ast.With):
            todo += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
            todo += [child for handler in getattr(node, "handlers", []) for child in handler.body]
        else:
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            names |= {name.id for name in stored}
    return names


@in_every_module
def test_only_the_danger_box_starts_ends_and_reaps_processes(module: Module) -> None:
    if module.room in ROOMS_THAT_HANDLE_PROCESSES:
        return
    wrong = [at(module, line, dotted) for line, dotted in used_names(module) if matches(dotted, PROCESS_CALLS)]
    assert not wrong, "\n".join(wrong)


@in_every_module
def test_only_the_banner_writes_to_standard_output(module: Module) -> None:
    if module.path in MODULES_THAT_PRINT:
        return
    wrong = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in WRITES_TO_STDOUT:
            wrong.append(at(module, node.lineno, ast.unparse(node)))
        elif isinstance(node, ast.keyword) and node.arg == "file" and ast.unparse(node.value) in STDOUTS:
            wrong.append(at(module, node.value.lineno, f"file={ast.unparse(node.value)}"))
    assert not wrong, "\n".join(wrong)


@in_every_module
def test_only_the_clock_knows_the_time(module: Module) -> None:
    wrong = [at(module, line, dotted) for line, dotted in imported_names(module) if matches(dotted, {"time.*"})]
    assert module.path == "clock.py" or not wrong, "\n".join(wrong)  # where no test of a user stops it


@in_every_module
def test_named_tuples_are_those_that_are_made_fast(module: Module) -> None:
    wrong = [at(module, line, dotted) for line, dotted in imported_names(module) if dotted == "typing.NamedTuple"]
    assert module.room == "named_tuple" or not wrong, "\n".join(wrong)


STDOUTS = {"sys.stdout", "sys.__stdout__"}
WRITES_TO_STDOUT = {
    *("print", "builtins.print"),
    *(f"{out}.{verb}" for out in STDOUTS for verb in ("write", "writelines", "buffer.write", "buffer.writelines")),
}


@in_every_module
def test_no_error_is_swallowed_unnamed(module: Module) -> None:
    wrong = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                wrong.append(at(module, node.lineno, "bare except"))
            elif catches_everything(node.type) and all(does_nothing(statement) for statement in node.body):
                wrong.append(at(module, node.lineno, f"except {ast.unparse(node.type)}: pass"))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"contextlib.suppress", "suppress"}:
            suppressed = [argument for argument in node.args if catches_everything(argument)]
            wrong += [at(module, node.lineno, ast.unparse(node)) for _ in suppressed]
    assert not wrong, "\n".join(wrong)


def catches_everything(node: ast.expr) -> bool:
    names = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"} for name in names)


def does_nothing(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass | ast.Continue) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


@in_every_module
def test_files_and_functions_are_short_enough_to_be_read(module: Module) -> None:
    wrong = []
    if module.lines > MOST_LINES_OF_A_FILE:
        wrong.append(at(module, module.lines, f"{module.lines} lines, at most {MOST_LINES_OF_A_FILE}"))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                text = f"{node.name} has {lines} lines, at most {MOST_LINES_OF_A_FUNCTION}"
                wrong.append(at(module, node.lineno, text))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("attic/x.py", "", test_each_module_is_in_a_room_that_has_a_floor),
        ("clock.py", "'''Time; floor 1.'''", test_a_room_that_names_its_floor_names_the_right_one),
        ("clock.py", "from worker_dispatcher import errors", test_imports_go_only_down_the_floors),
        ("clock.py", "from .errors import ConfigError", test_imports_go_only_down_the_floors),
        ("retry.py", "def f():\n    import worker_dispatcher.worker_died", None),
        ("retry.py", "def f():\n    import worker_dispatcher", test_imports_go_only_down_the_floors),
        (
            "retry.py",
            "from worker_dispatcher.clock import _own",
            test_what_has_an_underscore_is_its_modules_own,
        ),
        ("clock.py", "__all__ = ['g']", test_all_names_what_a_room_offers_and_nothing_else),
        ("clock.py", "__all__ = ['f']\ndef f(): pass\ndef _g(): pass\nclass _C: pass", None),
        (
            "pools/x.py",
            "import os as system\nsystem.killpg(1, 9)",
            test_only_the_danger_box_starts_ends_and_reaps_processes,
        ),
        ("pools/x.py", "from os import fork", test_only_the_danger_box_starts_ends_and_reaps_processes),
        ("pools/x.py", "import subprocess", test_only_the_danger_box_starts_ends_and_reaps_processes),
        ("osproc/x.py", "__all__ = []\nimport os\nos.fork()", None),
        ("retry.py", "def f():\n    from time import sleep", test_only_the_clock_knows_the_time),
        ("retry.py", "import time", test_only_the_clock_knows_the_time),
        ("clock.py", "print(1)", test_only_the_banner_writes_to_standard_output),
        ("clock.py", "sys.stdout.write('')", test_only_the_banner_writes_to_standard_output),
        ("clock.py", "try: pass\nexcept: raise", test_no_error_is_swallowed_unnamed),
        ("clock.py", "try: pass\nexcept (OSError, Exception): pass", test_no_error_is_swallowed_unnamed),
        ("clock.py", "with suppress(BaseException): pass", test_no_error_is_swallowed_unnamed),
        ("clock.py", "__all__ = []\ntry: pass\nexcept OSError: pass", None),
        ("clock.py", "\n" * 421, test_files_and_functions_are_short_enough_to_be_read),
        ("clock.py", "def f():\n" + "    pass\n" * 70, test_files_and_functions_are_short_enough_to_be_read),
    ],
)
def test_the_rules_see_what_they_look_for(path: str, source: str, rule: Callable[[Module], None] | None) -> None:
    module = Module(path, ast.parse(source), len(source.splitlines()))
    if rule is not None:
        with pytest.raises(AssertionError):
            rule(module)
        return
    test_imports_go_only_down_the_floors(module)
    test_only_the_danger_box_starts_ends_and_reaps_processes(module)
    test_no_error_is_swallowed_unnamed(module)
    if "__all__" in source:
        test_all_names_what_a_room_offers_and_nothing_else(module)


def test_importing_the_package_loads_nothing_heavy() -> None:
    # Compared with the state before: an environment may load things of its own at start-up.
    script = f"""
import json, sys
before = set(sys.modules)
import {PACKAGE}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = json.loads(done.stdout)
    heavy = [name for name in loaded if name.partition(".")[0] in {*NOT_LOADED_BY_IMPORT, "typing"}]
    assert not heavy, f"import {PACKAGE} loads {heavy}"


@pytest.mark.parametrize(
    "worker", ["{}", "{'use_processing': True}", "{'use_processing': True, 'start_method': 'fork'}"]
)
def test_a_first_call_loads_nothing_that_it_does_not_need(worker: str, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("import sys\ndef loaded(task): return sorted(sys.modules)\n")
    script = f"""
import json, sys
sys.path.insert(0, {str(tmp_path)!r})
import job
import ctypes, pickle, socket, traceback  # needed; what they load differs from one Python to the next
before = set(sys.modules)
import {PACKAGE}
in_worker = {PACKAGE}.start({{"task": {{"list": 1, "function": job.loaded}}, "worker": {worker}, "verbose": False}})[0]
print(json.dumps([sorted((set(found) - before)) for found in (sys.modules, in_worker)]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    for loaded, whose in zip(json.loads(done.stdout), ("the caller", "the worker"), strict=True):
        heavy = [name for name in loaded if matches(name, {f"{one}.*" for one in NOT_LOADED_BY_A_FIRST_CALL})]
        assert not heavy, f"{whose} loads {heavy}"


def test_every_listed_public_name_can_be_had() -> None:
    package = importlib.import_module(PACKAGE)
    missing = [name for name in package.__all__ if not hasattr(package, name)]
    assert not missing
