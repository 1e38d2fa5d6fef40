"""Kinds of objects that pickle cannot write alone: what is to be known of each."""

from __future__ import annotations

import contextvars
import sys
import types
from collections.abc import Callable, Set
from typing import Any

from worker_dispatcher.loaded import loaded
from worker_dispatcher.tracebacks import own

NO_VALUE = object()
# What cloudpickle reduces and pickle does not; the rest of its table is what is found here, or in no script.
CLOUDPICKLES = frozenset(
    (
        *("property", "staticmethod", "classmethod", "abstractproperty", "abstractclassmethod"),
        *("abstractstaticmethod", "memoryview", "mappingproxy", "getset_descriptor", "TextIOWrapper"),
        *("TypeVar", "WeakSet", "dict_keys", "dict_values", "dict_items"),
        *("odict_keys", "odict_values", "odict_items", "_FIELD_BASE"),
    )
)

# How each is made again.
OF_TYPING: dict[str, Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "TypeVar": lambda one: (
        (one.__name__, *one.__constraints__),
        {"bound": one.__bound__, "covariant": one.__covariant__, "contravariant": one.__contravariant__},
    ),
    "ParamSpec": lambda one: ((one.__name__,), {}),
    "TypeVarTuple": lambda one: ((one.__name__,), {}),
    "NewType": lambda one: ((one.__name__, one.__supertype__), {}),
    "TypeAliasType": lambda one: ((one.__name__, one.__value__), {"type_params": one.__type_params__}),
}


def cloudpickle() -> Any:
    """It takes 10 ms to import, most of it for `inspect` and `logging`."""
    from cloudpickle import cloudpickle

    return cloudpickle


def walk(name: str, start: Any) -> Any:
    """What a name with dots stands for."""
    found = start
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except own(Exception):  # a metaclass of the user's is asked
            return NO_VALUE
    return found


def told_by_value() -> Set[str]:
    """The modules of which the user has told cloudpickle to send what is in them."""
    library = loaded("cloudpickle.cloudpickle")
    return library.list_registry_pickle_by_value() if library is not None else frozenset()


def is_by_value(module: str) -> bool:
    """The user has told cloudpickle to send what is in that module, or in a package around it."""
    told, parts = told_by_value(), module.split(".")
    return bool(told) and any(".".join(parts[: at + 1]) in told for at in range(len(parts)))


_FILES = frozenset(("TextIOWrapper", "BufferedReader", "BufferedWriter", "BufferedRandom", "BufferedRWPair", "FileIO"))


def refuse_file(obj: Any) -> None:
    """Raise TypeError for a file: cloudpickle would make a StringIO of what is in it, and nobody be told. Standard
    output and error it takes for those of the reader."""
    kind = type(obj)
    if kind.__module__ == "_io" and kind.__name__ in _FILES and obj is not sys.stdout and obj is not sys.stderr:
        raise TypeError(f"{'a closed' if obj.closed else 'an open'} file cannot be sent or kept: give its path")


def place_of(obj: Any, main: types.ModuleType) -> tuple[str, str] | None:
    """The module that can be imported, and the name there, under which it is found."""
    for path, module in list(sys.modules.items()):
        if isinstance(module, types.ModuleType) and module is not main and path == module.__name__:
            for name, one in list(vars(module).items()):
                if one is obj and not is_by_value(path):
                    return path, name
    return None


def default_of(variable: contextvars.ContextVar[Any]) -> tuple[Any, ...]:
    try:
        return (contextvars.Context().run(variable.get),)
    except LookupError:
        return ()


# Classes with slots


def slots_of(cls: type) -> tuple[str, ...]:
    """The slots that a class itself adds, under the names that they have in it."""
    own = vars(cls)
    return (*filter(lambda name: _is_slot(cls, own[name]), own), *(n for n in ("__dict__", "__weakref__") if n in own))


def without_slots(cls: type, contents: dict[str, Any]) -> dict[str, Any]:
    """What is in a class, without what its slots put there."""
    return {name: value for name, value in contents.items() if not _is_slot(cls, value)}


def _is_slot(cls: type, value: Any) -> bool:
    return type(value) is types.MemberDescriptorType and value.__objclass__ is cls


# Enums. Their members are made before their methods are there, so `__new__` and `__init__` cannot make them again:
# each is made with what its type takes, and given its value and attributes afterwards.

_OF_MEMBERS = frozenset(("_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_"))
_PLAIN_VALUES = frozenset((bool, int, float, str, bytes, type(None)))


def is_enum(cls: type) -> bool:
    library = loaded("enum")
    return library is not None and isinstance(cls, library.EnumType)


def members_of(cls: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """By the names of all members, aliases included: what each is made with, and what it gets afterwards: (its value,
    its attributes). A value that may have the class in it comes afterwards, and a mark of it before."""
    make = getattr(cls._member_type_, "__getnewargs__", None)
    marks = {
        id(one): (() if make is None else make(one), one._value_ if type(one._value_) in _PLAIN_VALUES else object())
        for one in cls._member_map_.values()
    }
    later = {
        name: (one._value_, {key: value for key, value in vars(one).items() if key not in _OF_MEMBERS})
        for name, one in cls._member_map_.items()
        if name == one._name_
    }
    return {name: marks[id(one)] for name, one in cls._member_map_.items()}, later


def contents_of_enum(cls: Any, contents: dict[str, Any]) -> dict[str, Any]:
    """What is in the class beside its members; how it makes more of them included."""
    own = {name: vars(cls)[name] for name in ("_new_member_", "_use_args_") if name in vars(cls)}
    return {name: value for name, value in contents.items() if name not in cls._member_map_} | own
