"""Which names of its module a function uses, read from its code; floor 0."""

from __future__ import annotations

import importlib
import opcode
import re
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

__all__ = [
    "annotations_of",
    "looks_up",
    "names_annotated",
    "names_annotated_inside",
    "names_used",
    "submodules",
    "texts",
]

_EXTENDED = opcode.EXTENDED_ARG
_LOAD_GLOBAL = opcode.opmap["LOAD_GLOBAL"]
# The body of a class reads the names of the module by LOAD_NAME, an annotation in it by the last two.
_READS = ("STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_CLASSDICT_OR_GLOBAL")
_OTHERS = {opcode.opmap[name] for name in _READS if name in opcode.opmap}
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_LATE = sys.version_info >= (3, 14)  # annotations are evaluated when they are asked for

_BY_NAME = frozenset(("globals", "eval", "exec", "__main__", "pickle"))

_known: WeakKeyDictionary[types.CodeType, tuple[str, ...]] = WeakKeyDictionary()


def names_used(code: types.CodeType) -> tuple[str, ...]:
    """The global names that code reads, sets or deletes, that of functions inside it included."""
    found = _known.get(code)
    if found is None:
        found = _known[code] = tuple(dict.fromkeys(name for one in _all_code(code) for name in _globals_of(one)))
    return found


def _all_code(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _all_code(constant)


def _globals_of(code: types.CodeType) -> Iterator[str]:
    steps, above = code.co_code, 0
    for at in range(0, len(steps), 2):
        operation, argument = steps[at], steps[at + 1] | above
        above = argument << 8 if operation == _EXTENDED else 0
        if operation == _LOAD_GLOBAL:
            yield code.co_names[argument >> 1]  # the last bit is of the call that follows
        elif operation in _OTHERS:
            yield code.co_names[argument]


def looks_up(code: types.CodeType) -> bool:
    """True if it may look up names of the script that it is told: in `globals()`, in `__main__`, in a pickle."""
    return any(not _BY_NAME.isdisjoint(one.co_names) or "__main__" in one.co_consts for one in _all_code(code))


def texts(code: types.CodeType) -> set[str]:
    """The names that stand in code as texts, or as attributes."""
    found: set[str] = set()
    for one in _all_code(code):
        found.update(one.co_names, (text for text in one.co_consts if type(text) is str and text.isidentifier()))
    return found


def annotations_of(obj: Any) -> dict[str, Any]:
    """Of a function or class, its own; texts where they name what is not there yet."""
    if not _LATE:
        return dict(vars(obj).get("__annotations__", {}) if isinstance(obj, type) else obj.__annotations__)
    try:
        return dict(obj.__annotations__)
    except Exception:  # whatever an expression of the user's raises
        library = importlib.import_module("annotationlib")
        return dict(library.get_annotations(obj, format=library.Format.STRING))


def names_annotated(annotations: Iterable[Any]) -> Iterator[str]:
    """The names in annotations that are texts, or have texts in them."""
    for one in annotations:
        if isinstance(one, str):
            yield from _IDENTIFIER.findall(one)
        elif isinstance(text := getattr(one, "__forward_arg__", None), str):
            yield from _IDENTIFIER.findall(text)
        elif isinstance(inner := getattr(one, "__args__", None), tuple):
            yield from names_annotated(inner)


def names_annotated_inside(code: types.CodeType) -> Iterator[str]:
    """The names in annotations, as texts, in the bodies of classes inside a function."""
    for one in _all_code(code):
        if "__annotations__" in one.co_names:
            yield from names_annotated(text for text in one.co_consts if type(text) is str)


def submodules(code: types.CodeType, values: Iterable[Any]) -> list[types.ModuleType]:
    """The modules that code reaches as attributes of packages among values: `import a.b` loads more than `a`."""
    packages = [one.__name__ for one in values if isinstance(one, types.ModuleType) and hasattr(one, "__path__")]
    names = {name for one in _all_code(code) for name in one.co_names} if packages else ()
    found = []
    while packages:
        package = packages.pop()
        for name in names:
            path = f"{package}.{name}"
            if isinstance(module := sys.modules.get(path), types.ModuleType):
                found.append(module)
                packages.append(path)
    return found
