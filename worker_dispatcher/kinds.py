"""Kinds of objects that pickle cannot write alone: what is to be known of each; floor 0."""

from __future__ import annotations

import contextvars
import sys
import types
from collections.abc import Callable
from typing import Any

__all__ = ["CLOUDPICKLES", "NO_VALUE", "OF_TYPING", "cloudpickle", "default_of", "is_by_value", "place_of", "walk"]

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
        except Exception:  # a metaclass of the user's is asked
            return NO_VALUE
    return found


def is_by_value(module: str) -> bool:
    """The user has told cloudpickle to send what is in that module."""
    library = sys.modules.get("cloudpickle.cloudpickle")
    if library is None or not (told := library.list_registry_pickle_by_value()):
        return False
    parts = module.split(".")
    return any(".".join(parts[: at + 1]) in told for at in range(len(parts)))


def place_of(obj: Any, main: types.ModuleType) -> tuple[str, str] | None:
    """The module, and the name there, that a script has it from."""
    for path, module in list(sys.modules.items()):
        if isinstance(module, types.ModuleType) and module is not main and path == module.__name__:
            for name, one in list(vars(module).items()):
                if one is obj:
                    return path, name
    return None


def default_of(variable: contextvars.ContextVar[Any]) -> tuple[Any, ...]:
    try:
        return (contextvars.Context().run(variable.get),)
    except LookupError:
        return ()
