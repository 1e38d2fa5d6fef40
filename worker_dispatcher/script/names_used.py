"""Which names of its module a function uses, read from its code."""

from __future__ import annotations

import importlib
import opcode
import re
import sys
import types
from collections.abc import Iterable, Iterator, Set
from typing import Any
from weakref import WeakKeyDictionary

from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.tracebacks import own

_EXTENDED = opcode.EXTENDED_ARG
_LOAD_GLOBAL = opcode.opmap["LOAD_GLOBAL"]
# The body of a class reads the names of the module by LOAD_NAME, an annotation in it by the last two.
_READS = ("STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_CLASSDICT_OR_GLOBAL")
_OTHERS = {opcode.opmap[name] for name in _READS if name in opcode.opmap}
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_LATE = sys.version_info >= (3, 14)  # annotations are evaluated when they are asked for


class Uses(NamedTuple):
    """What code uses, that of functions inside it included.

    names: the global names that it reads, sets or deletes, in order; attributes: all names in it, these included.
    annotated: the names in annotations, as texts, in the bodies of classes inside it.
    looked_up: the names that stand in it as texts, or as attributes, if it may look up names of the script that it is
    told (in `globals()`, in `__main__`, in a pickle); None if it does not.
    """

    names: tuple[str, ...]
    attributes: Set[str]
    annotated: frozenset[str]
    looked_up: Set[str] | None


_BY_NAME = frozenset(("globals", "eval", "exec", "__main__", "pickle"))

_known: WeakKeyDictionary[types.CodeType, Uses] = WeakKeyDictionary()


def uses_of(code: types.CodeType) -> Uses:
    """What code uses: read once."""
    found = _known.get(code)
    if found is None:
        found = _known[code] = _read(code)
    return found


def _read(code: types.CodeType) -> Uses:
    names: dict[str, None] = {}  # in order
    attributes, texts, annotated = set[str](), set[str](), set[str]()
    looks_up = False
    for one in _all_code(code):
        words = [text for text in one.co_consts if type(text) is str]
        names |= dict.fromkeys(_globals_of(one))
        attributes.update(one.co_names)
        texts.update(word for word in words if word.isidentifier())
        looks_up = looks_up or not _BY_NAME.isdisjoint(one.co_names) or "__main__" in words
        if "__annotations__" in one.co_names:
            annotated.update(names_annotated(words))
    return Uses(tuple(names), frozenset(attributes), frozenset(annotated), attributes | texts if looks_up else None)


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


def annotations_of(obj: Any) -> dict[str, Any]:
    """Of a function or class, its own; texts where they name what is not there yet."""
    if not _LATE:
        return dict(vars(obj).get("__annotations__", {}) if isinstance(obj, type) else obj.__annotations__)
    try:
        return dict(obj.__annotations__)
    except own(Exception):  # whatever an expression of the user's raises
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


def submodules(code: types.CodeType, values: Iterable[Any]) -> list[types.ModuleType]:
    """The modules that code reaches as attributes of packages among values: `import a.b` loads more than `a`."""
    packages = [one.__name__ for one in values if isinstance(one, types.ModuleType) and hasattr(one, "__path__")]
    names, found = uses_of(code).attributes if packages else (), []
    while packages:
        package = packages.pop()
        for name in names:
            path = f"{package}.{name}"
            if isinstance(module := sys.modules.get(path), types.ModuleType):
                found.append(module)
                packages.append(path)
    return found
