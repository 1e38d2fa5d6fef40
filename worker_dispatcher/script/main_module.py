"""Where a script's objects live: the `__main__` of this process, and how it takes in what comes by value.

Each process has a `__main__`, and its own is authoritative. What a worker is sent of the script is kept there under the
name it has in the parent's, once: what arrives later under that name is what stands there, whatever tasks have made of
it meanwhile. What goes back is named, so that the parent gets its own. pickler.py writes what is read here.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from worker_dispatcher.loaded import loaded
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.signals import held

if TYPE_CHECKING:
    from contextvars import ContextVar

_FACTS = ("__name__", "__file__", "__package__", "__doc__")  # of `__main__`; and its `__spec__`, of which this is sent:
_SPEC = ("name", "origin")
OF_EACH = frozenset((*_FACTS, "__spec__", "__loader__", "__builtins__", "__cached__"))  # each `__main__` has its own

# What this process has from the one that started it, by its name in the script: there it has the same name. Read while
# results are packed, in any thread; added to while something is loaded.
given: dict[str, Any] = {}
is_fork = False  # of the one that started it: what was there then stands in the same places in both
# The variables of contextvars that came from another process, or went there, and stand in no module.
variables: dict[str, ContextVar[Any]] = {}
_told: tuple[Mapping[str, Any], types.ModuleType] | None = None  # the facts, and what was made of them
_made: dict[str, Any] = {}  # what was made here, by its name in the script
_unfinished: set[str] = set()  # names, and cloudpickle's ids, of what was made and has no contents yet


class Reader(NamedTuple):
    """Who will load it. shared: what it has of this process's script, by name; keeps: it is a worker, which keeps what
    it is sent under the name that this has here."""

    shared: Mapping[str, Any]
    keeps: bool


FRESH = Reader({}, True)  # a worker that has nothing of the script
PARENT = Reader(given, False)


def fork() -> Reader:
    """Forks of this process that are made from now on."""
    return Reader(dict(namespace()), True)


def current() -> types.ModuleType:
    return sys.modules["__main__"]


def namespace() -> dict[str, Any]:
    """What functions of the script have for their globals."""
    return vars(current())


def facts() -> dict[str, Any] | None:
    """In the parent: what a worker's `__main__` is to say of itself; of builtins."""
    main = sys.modules.get("__main__")
    known = {name: getattr(main, name, None) for name in _FACTS}
    spec = getattr(main, "__spec__", None)
    return {
        **{name: str(value) for name, value in known.items() if value is not None},
        "__spec__": None if spec is None else [getattr(spec, name, None) for name in _SPEC],
    }


def set_up(about: Mapping[str, Any] | None) -> None:
    """In a worker, before it loads anything: make its `__main__`. about: the `facts` of the parent; None in a fork of
    it, which has all of it already."""
    global is_fork, _told
    if about is not None and _told is not None and _told[0] == about and sys.modules.get("__main__") is _told[1]:
        return  # it was made where this process was forked from, and what was imported there may hold it
    is_fork = about is None
    for known in (given, _made, _unfinished):  # a fork has what this process was told before
        known.clear()
    if about is None:
        given.update(namespace())
        return
    main = types.ModuleType(about.get("__name__", "__main__"))
    vars(main).update(dict.fromkeys(("__package__", "__doc__")), __builtins__=sys.modules["builtins"], **about)
    if about["__spec__"] is not None:
        name, origin = about["__spec__"]
        main.__spec__ = type(sys.__spec__)(name, None, origin=origin)
    sys.modules["__main__"] = sys.modules[main.__name__] = main
    if "__mp_main__" in sys.modules:  # multiprocessing has called the one before so; its children come back to it
        sys.modules["__mp_main__"] = main
    given.update(vars(main))
    _told = about, main


def take(name: str | None, make: Callable[..., Any], *arguments: Any) -> Any:
    """What this process has under a name of the script, if it came from the parent; else it is made, and kept there."""
    if name is None:
        return make(*arguments)
    if name in _made:
        return _made[name]
    made = make(*arguments)
    _keep(name, made)
    _unfinished.add(name)
    return made


def _keep(name: str, made: Any) -> None:
    _made[name] = made
    if "." not in name:  # what stands in a class is put there with the rest of that class
        _fill(namespace(), (name, made))


def _pairs(names: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    return zip(names[::2], names[1::2], strict=False)  # the last is a mark of the end


def _fill(space: dict[str, Any], names: Sequence[Any], *, keeps: bool = True) -> None:
    """Names and values in turn. What has a name is left as tasks have made it, also where they have deleted it."""
    for name, value in _pairs(names):
        if keeps and name in given:
            continue
        if name not in space:
            space[name] = value
            if keeps:
                given[name] = value


def finish(made: Any, state: tuple[Any, ...]) -> None:
    """Give what `take` has made its contents, once."""
    name, contents, _ = state
    if name is None or name in _unfinished:
        vars(made).update(contents)
        _unfinished.discard(name)


# Functions


def function(code: types.CodeType, space: dict[str, Any] | None, name: str, closure: list[Any] | None) -> Any:
    """space: None for that of `__main__`; closure: names and cells in turn."""
    globals_ = namespace() if space is None else space
    globals_.setdefault("__builtins__", sys.modules["builtins"])
    return types.FunctionType(code, globals_, name, None, None if closure is None else tuple(closure[1::2]))


def finish_function(made: types.FunctionType, state: tuple[Any, ...]) -> None:
    name, attributes, slots, names, keeps, lines, _ = state
    if name is not None and name not in _unfinished:
        return
    vars(made).update(_pairs(attributes))
    for slot, value in _pairs(slots):
        setattr(made, slot, value)
    if made.__globals__ is namespace():
        _fill(made.__globals__, names, keeps=keeps)
    else:
        made.__globals__.update(_pairs(names))
    if lines is not None:
        _show(made.__code__.co_filename, lines)
    _unfinished.discard(name)


def code(arguments: tuple[Any, ...], filename: str) -> types.CodeType:
    return types.CodeType(*arguments).replace(co_filename=filename)


def cell() -> types.CellType:
    return types.CellType()


def fill_cell(made: types.CellType, contents: tuple[Any]) -> None:
    made.cell_contents = contents[0]


def lines_of(function: types.FunctionType) -> list[str] | None:
    """The source of the file of a function, where only this process knows it: of `-c`, a prompt, a notebook."""
    filename, linecache = function.__code__.co_filename, loaded("linecache")
    if linecache is None:
        return None
    with held():  # both take what a handler raises for an answer of the system
        if os.path.exists(filename):
            return None
        lines: list[str] = linecache.getlines(filename, function.__globals__)
    return lines or None


def _show(filename: str, lines: list[str]) -> None:
    import linecache

    # Without a time it is not looked for on the disk. From Python 3.13 on the fork server's own -c has left lines here.
    linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)


# Classes


def class_(name: str | None, where: tuple[str, int], make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """A class that this process knows is taken as it is: by its name in the script, else by cloudpickle's id of it."""
    from cloudpickle import cloudpickle

    qualname, address = where
    known: type | None = _made.get(name) if name is not None else None
    if known is None:
        known = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(arguments[-2])
    if known is None and address:
        known = _class_at(address, qualname)
        if known is not None:
            cloudpickle._lookup_class_or_track(arguments[-2], known)
    if known is not None:
        return known
    made = make(*arguments)
    made.__qualname__ = qualname  # cloudpickle leaves out where a class stands in another
    _unfinished.add(arguments[-2])
    if name is not None:
        _keep(name, made)
    return made


def _class_at(address: int, qualname: str) -> type | None:
    """What a fork of this process calls a class of it is the class in the same place."""
    todo: list[type] = [object]
    for one in todo:  # it grows; what has two bases is met twice
        if id(one) == address and one.__qualname__ == qualname:
            return one
        todo += type.__subclasses__(one)
    return None


def enum(
    bases: tuple[Any, ...], name: str, qualname: str, members: Mapping[str, Any], module: str, key: str, _: Any
) -> type:
    """An enum class that has its members and no methods yet. members: what each is made with, and its value."""
    from cloudpickle import cloudpickle

    def new(cls: Any, member: Any) -> Any:
        arguments, value = members[member[0] if type(member) is tuple else member]
        made = cls._member_type_.__new__(cls, *arguments)
        made._value_ = value
        return made

    metaclass: Any = type(bases[-1])
    space = metaclass.__prepare__(name, bases)
    space["__new__"], space["__init__"] = new, lambda self, *_: None
    for one in members:
        space[one] = one
    made = metaclass.__new__(metaclass, name, bases, space)
    for one in ("__init__", "__new_member__"):
        type.__delattr__(made, one)
    made.__module__, made.__qualname__ = module, qualname
    return cast(type, cloudpickle._lookup_class_or_track(key, made))


def _finish_members(made: Any, members: Sequence[Any]) -> None:
    for name, (value, attributes) in _pairs(members):
        member = made._member_map_[name]
        vars(member).update(attributes)
        if value is not member._value_:
            made._value2member_map_.pop(member._value_, None)
            member._value_ = value
            try:
                made._value2member_map_[value] = member
            except TypeError:  # it cannot be hashed: Enum looks for it one by one
                pass


def finish_class(made: type, state: tuple[Any, ...]) -> None:
    key, set_state, contents, members, names, keeps, _ = state
    if key in _unfinished:
        _finish_members(made, members)
        set_state(made, (dict(_pairs(contents)), {}))
        _fill(namespace(), names, keeps=keeps)
        _unfinished.discard(key)


# What functools makes of functions


def cache(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def dispatcher(function: Callable[..., Any]) -> Any:
    return functools.singledispatch(function)


def finish_dispatcher(made: Any, state: tuple[Any, ...]) -> None:
    name, attributes, slots, implementations, _ = state
    if name is None or name in _unfinished:
        vars(made).update(attributes)
        for slot, value in slots:
            setattr(made, slot, value)
        for kind, implementation in implementations[1::2]:
            made.register(kind, implementation)
        _unfinished.discard(name)


# What is one of its kind in a process


def new_context_var(name: str, *default: Any) -> ContextVar[Any]:
    import contextvars

    return contextvars.ContextVar(name, default=default[0]) if default else contextvars.ContextVar(name)


def context_var(name: str, *default: Any) -> ContextVar[Any]:
    """One for each name."""
    if name not in variables:
        variables[name] = new_context_var(name, *default)
    return variables[name]


def of_typing(kind: str, module: str, arguments: tuple[Any, ...], terms: dict[str, Any]) -> Any:
    import typing

    made = getattr(typing, kind)(*arguments, **terms)
    if kind != "TypeAliasType":  # else it says where it was made
        made.__module__ = module
    return made


def attribute(name: str) -> Any:
    """What this process's own script has under a name."""
    return getattr(current(), name)


def module(name: str) -> types.ModuleType:
    return importlib.import_module(name)


def item(name: str, attribute: str) -> Any:
    """What a module has under a name."""
    return getattr(importlib.import_module(name), attribute)
