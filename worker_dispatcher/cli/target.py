"""The function that a command names, as module:function or path/to/file.py:function; and where its folder stands among
the places to import from: it hides nothing that the command needs."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from worker_dispatcher.cli.ending import CannotRun

TARGET_HELP = "the function to call: module:function of this folder, or path/to/file.py:function"
_MOST_NAMES = 5  # that are shown where one is wrong


def load_target(text: str) -> Callable[..., Any]:
    """The function, its module imported. The current folder (or the file's) becomes a place to import from, here and
    in worker processes. CannotRun, with the nearest names, for what is not there; with the traceback, if the module
    itself raises."""
    where, _, name = text.rpartition(":")
    if not where or not name:
        module, _, function = text.rpartition(".")
        example = f"{module}:{function}" if module else "orders:fetch"
        example = f"{text}:fetch" if function == "py" else example
        raise CannotRun(f"{text!r} names no function; write module:function, as in {example}")
    home = _of_file(Path(where)) if where.endswith(".py") else _of_name(where)
    return _function(home, where, name)


def _of_name(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise CannotRun(f"{name!r} is no name of a module; write module:function, or path/to/file.py:function")
    _make_importable(Path.cwd())
    if reason := _hidden_by(Path.cwd(), name):
        raise CannotRun(reason)
    return _imported(name, Path.cwd())


def _of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise CannotRun(f"there is no file {path}{_perhaps(path.name, _names_in(path.parent, '.py'))}")
    folder = path.resolve().parent
    _make_importable(folder)
    if reason := _hidden_by(folder, path.stem):
        raise CannotRun(reason)
    module = _imported(path.stem, folder)
    home = getattr(module, "__file__", None)
    if home is None or not os.path.exists(home) or not os.path.samefile(home, path):
        raise CannotRun(
            f"{path} cannot be imported as {path.stem!r}, which is {home or 'built in'}; give it another name"
        )
    return module


def _imported(name: str, folder: Path) -> ModuleType:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _raised(name, error, folder) from None  # it was found; what it imports was not
        near = _perhaps(error.name.rpartition(".")[2], _modules_beside(error.name))
        raise CannotRun(f"there is no module {error.name!r} in {Path.cwd()} or installed{near}") from None
    except (Exception, SystemExit) as error:
        raise _raised(name, error, folder) from None


def _raised(name: str, error: BaseException, folder: Path) -> CannotRun:
    steps = traceback.extract_tb(error.__traceback__)
    own = [step for step in steps if step.filename != __file__ and "importlib" not in step.filename]
    shown = "".join(traceback.format_list(own)) + "".join(traceback.format_exception_only(error))
    hint = _hint(name, error, folder)
    return CannotRun("\n\n".join(filter(None, (f"{name!r} raised this while it was imported:", shown.rstrip(), hint))))


def _hint(name: str, error: BaseException, folder: Path) -> str:
    """What to do about an error of an import, where it is known; '' else."""
    if isinstance(error, ImportError) and "relative import" in str(error) and (package := _package_of(folder)):
        root, dotted = package
        where = "" if root == Path.cwd() else f"in the folder {root} "
        return f"it is part of a package; {where}write {dotted}.{name}:function"
    of = error.name if isinstance(error, ImportError) else getattr(getattr(error, "obj", None), "__name__", None)
    return _hidden_by(folder, of) if isinstance(of, str) else ""


def _package_of(folder: Path) -> tuple[Path, str] | None:
    """(the folder to import from, the package's dotted name) of the package that a folder is; None if it is none."""
    root = folder
    while (root / "__init__.py").is_file() and root != root.parent:
        root = root.parent
    if root == folder and folder.is_relative_to(Path.cwd()):
        root = Path.cwd()  # a package may be without an __init__.py
    parts = folder.relative_to(root).parts
    return (root, ".".join(parts)) if parts and all(part.isidentifier() for part in parts) else None


def _function(module: ModuleType, where: str, name: str) -> Callable[..., Any]:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [one for one, value in vars(found).items() if callable(value)] if hasattr(found, "__dict__") else []
            named = {one: getattr(getattr(found, one, None), "__module__", None) for one in known}
            own = [one for one, home in named.items() if not one.startswith("_") and home == module.__name__]
            raise CannotRun(f"{where} has no function {name!r}{_perhaps(part, known) or _there_is(own)}")
        found = getattr(found, part)
    if not callable(found):
        raise CannotRun(f"{where}:{name} is of type {type(found).__name__}, not a function")
    function: Callable[..., Any] = found
    return function


def _modules_beside(name: str) -> list[str]:
    """What could have been meant in the folder where a module of this name was looked for."""
    package = sys.modules.get(name.rpartition(".")[0])
    folders = [Path(one) for one in getattr(package, "__path__", ())] if package is not None else [Path.cwd()]
    stems = [one.removesuffix(".py") for folder in folders for one in _names_in(folder, ".py")]
    return stems + [one.name for folder in folders for one in folder.iterdir() if (one / "__init__.py").is_file()]


def _names_in(folder: Path, ending: str) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.name.endswith(ending)) if folder.is_dir() else []


def _perhaps(name: str, names: Iterable[str]) -> str:
    import difflib  # only who is wrong needs it

    near = difflib.get_close_matches(name, list(names), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _there_is(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return f"; it has {shown}" if names else ""


# What this package and its extras import: their own names, and of those that they import in turn.
NEEDED = frozenset(
    ("PIL", "_plotly_future_", "_plotly_utils", "cloudpickle", "contourpy", "cycler", "dateutil", "fontTools")
    + ("kiwisolver", "matplotlib", "mpl_toolkits", "narwhals", "numpy", "packaging", "plotly", "psutil", "pylab")
    + ("pyparsing", "six", "tenacity", "threadpoolctl", "tqdm", "tzdata", "worker_dispatcher", "xlsxwriter")
)


def _make_importable(folder: Path) -> None:
    """The folder becomes a place to import from: after the standard library and before what is installed, as long as
    it has no module by the name of an installed package that is needed here; else after that. The same in worker
    processes, which import from the same places in the same order."""
    library = [one for one in sys.path if _is_of_library(one)]
    others = [one for one in _places_but(folder) if one not in library]
    last = any(_is_elsewhere(name, [*library, *others]) for name in NEEDED if _module_in(folder, name))
    sys.path[:] = [*library, *([] if last else [str(folder)]), *others, *([str(folder)] if last else [])]


def _hidden_by(folder: Path, name: str) -> str:
    """Of a module of the folder that cannot be imported since another one has its name, the reason; '' if it can."""
    top = name.partition(".")[0]
    if (own := _module_in(folder, top)) is None:
        return ""
    if top in sys.stdlib_module_names:
        return f"{own} has the name of a module of the standard library, which is imported instead; rename it"
    if sys.path[-1] == str(folder) and _is_elsewhere(top, _places_but(folder)):
        return f"{own} has the name of an installed package, which is imported instead; rename it"
    return ""


def _is_of_library(place: str) -> bool:
    home = os.path.dirname(os.path.realpath(os.__file__))
    where = os.path.realpath(place) if place else ""
    zipped = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return where in (home, os.path.join(home, "lib-dynload")) or os.path.basename(where) == zipped


def _places_but(folder: Path) -> list[str]:
    return [one for one in sys.path if os.path.realpath(one or ".") != os.path.realpath(folder)]


def _module_in(folder: Path, name: str) -> Path | None:
    """The file or folder that would be imported by this name."""
    package, module = folder / name, folder / f"{name}.py"
    if (package / "__init__.py").is_file():
        return package
    return module if module.is_file() else None


def _is_elsewhere(name: str, places: list[str]) -> bool:
    found = PathFinder.find_spec(name, places)
    return found is not None and found.origin is not None
