"""Where the folder of a target stands among the places to import from: it hides nothing that the command needs."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

# What this package and its extras import: their own names, and of those that they import in turn.
NEEDED = frozenset(
    ("PIL", "_plotly_utils", "cloudpickle", "contourpy", "cycler", "dateutil", "fontTools", "kiwisolver", "matplotlib")
    + ("mpl_toolkits", "narwhals", "numpy", "packaging", "plotly", "psutil", "pylab", "pyparsing", "six")
    + ("threadpoolctl", "tqdm", "tzdata", "worker_dispatcher", "xlsxwriter")
)


def make_importable(folder: Path) -> None:
    """The folder becomes a place to import from: after the standard library and before what is installed, as long as
    it has no module by the name of an installed package that is needed here; else after that. The same in worker
    processes, which import from the same places in the same order."""
    library = [one for one in sys.path if _is_of_library(one)]
    others = [
        one for one in sys.path if one not in library and os.path.realpath(one or ".") != os.path.realpath(folder)
    ]
    last = any(_is_elsewhere(name, [*library, *others]) for name in NEEDED if _module_in(folder, name))
    sys.path[:] = [*library, *([] if last else [str(folder)]), *others, *([str(folder)] if last else [])]


def hidden_by(folder: Path, name: str) -> str:
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


def _is_ours(folder: Path, name: str) -> bool:
    """True for this very package, where it runs from the folder."""
    return name == __package__.partition(".")[0] and Path(__file__).resolve().is_relative_to(folder / name)


def _module_in(folder: Path, name: str) -> Path | None:
    """The file or folder that would be imported by this name."""
    package, module = folder / name, folder / f"{name}.py"
    if (package / "__init__.py").is_file():
        return package
    return module if module.is_file() else None


def _is_elsewhere(name: str, places: list[str]) -> bool:
    found = PathFinder.find_spec(name, places)
    return found is not None and found.origin is not None
