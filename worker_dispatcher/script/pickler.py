"""How a script's objects become bytes: what a process that cannot import them is sent of them.

A function goes with the code and file name it has, the globals it uses and a place among those of the other process.
Classes, and kinds of objects that are rare, are cloudpickle's business, which is loaded for them. A lock, a cache or a
`threading.local` that belongs to what is defined in a script is a new one in each process. In data a lock is refused:
one that locks nobody else out is not what its owner has in mind.
"""

from __future__ import annotations

import _thread
import contextvars
import copyreg
import functools
import marshal
import pickle
import sys
import types
from collections.abc import Mapping, Set
from typing import Any

from worker_dispatcher.script import kinds
from worker_dispatcher.script import main_module as main
from worker_dispatcher.script.main_module import Reader
from worker_dispatcher.script.names_used import annotations_of, names_annotated, submodules, uses_of
from worker_dispatcher.tracebacks import own

_LOCKS = (_thread.LockType, _thread.RLock)
_CONSTANTS = frozenset((bool, int, str, type(None)))
_CACHE = type(functools.lru_cache(len))
_KINDS = (contextvars.ContextVar, _thread._local, *_LOCKS)
_ONE_OF_A_KIND = frozenset((object, *_KINDS))
_LOADS = vars(main)  # of the functions by which a reader loads what is written here
_DEFINED = (types.FunctionType, type, _CACHE)


class _Mark:
    """Says which name comes next, to who pickles and to who loads. level: 1 where a list of names begins, 0 in it, -1
    at its end."""

    def __init__(self, name: str, level: int, owner: Any = None, value: Any = None) -> None:
        self.name, self.level, self.owner, self.value = name, level, owner, value


class ScriptPickler(pickle.Pickler):
    """Writes what pickle can write, and what the script of this process has made, for a reader."""

    def __init__(self, file: Any, reader: Reader, buffer_callback: Any = None) -> None:
        super().__init__(file, 5, buffer_callback=buffer_callback)
        self._reader = reader
        self._main = main.current()
        self._names = (self._main.__name__, "__main__")
        self._open: list[_Mark] = []  # where it is: in the definition of what
        self._begun: set[int] = set()  # ids of classes that are written, or being written
        self._trials: dict[int, bool] = {}
        self._spaces: dict[int, dict[str, Any]] = {}  # the globals of functions that are not the script's, by id
        self._by_value = bool(kinds.told_by_value())
        self._singles: dict[int, str] | None = None
        self._plain: set[type] = {types.BuiltinFunctionType}  # what pickle can do alone

    def where(self) -> str | None:
        """After an error: the name that stands for what cannot be sent."""
        if not self._open:
            return None
        mark = self._open[-1]
        value = mark.value.cell_contents if type(mark.value) is types.CellType else mark.value
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        return f"{mark.name!r} of {getattr(mark.owner, '__qualname__', mark.owner)} ({kind})"

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in self._plain:
            return NotImplemented
        if kind is _Mark:
            return self._pass(obj)
        if kind is types.FunctionType and obj.__globals__ is _LOADS:
            return NotImplemented
        if kind is types.FunctionType or kind is _CACHE or issubclass(kind, type):
            known, name = self._known_as(obj)
            if known:
                return NotImplemented
            if kind is types.FunctionType:
                return self._function(obj, name)
            return self._cache(obj, name) if kind is _CACHE else self._class(obj, name)
        if kind is types.CodeType:
            return _code(obj)
        if issubclass(kind, types.ModuleType):
            return self._module(obj)
        if kind is types.CellType:
            return self._cell(obj)
        if kind is types.MethodType:
            return types.MethodType, (obj.__func__, obj.__self__)
        if kind in _ONE_OF_A_KIND or issubclass(kind, _thread._local):
            return self._single(obj, kind)
        return self._rare(obj, kind)

    # Names

    def _pass(self, mark: _Mark) -> Any:
        if mark.level <= 0:
            self._open.pop()
        if mark.level >= 0:
            self._open.append(mark)
        return str, (mark.name,)

    def _named(self, owner: Any, values: Mapping[str, Any]) -> list[Any]:
        """Names and values in turn, so that it is known at any time whose turn it is."""
        found: list[Any] = []
        for name, value in values.items():
            found += _Mark(name, 0 if found else 1, owner, value), value
        return [*found, _Mark("", -1)] if found else found

    def _known_as(self, obj: Any) -> tuple[bool, str | None]:
        """Whether the reader finds it under its own name; and that name, if it stands in the script under it."""
        name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
        module = getattr(obj, "__module__", None)
        if not isinstance(name, str):
            return False, None
        if module in self._names and "<" not in name and kinds.walk(name, self._main) is obj:
            return self._is_shared(name), name
        found = sys.modules.get(module or "")
        if found is None or found is self._main:
            return False, None
        if getattr(found, "__dict__", {}).get(name) is not obj and kinds.walk(name, found) is not obj:
            return False, None
        return not (self._by_value and kinds.is_by_value(obj.__module__)), None

    def _is_shared(self, name: str | None) -> bool:
        """The reader has the same under that name."""
        root = name and name.partition(".")[0]
        shared = self._reader.shared
        return root is not None and root in shared and shared[root] is vars(self._main).get(root, kinds.NO_VALUE)

    def _kept(self, name: str | None) -> str | None:
        return name if self._reader.keeps else None

    # Functions

    def _function(self, function: types.FunctionType, name: str | None) -> Any:
        """name: its own in the script, None elsewhere."""
        if function.__globals__ is vars(functools) and hasattr(function, "registry"):
            return self._dispatcher(function, self._kept(name))
        here = function.__globals__ is vars(self._main)
        cells, closure, annotations = function.__closure__, None, annotations_of(function)
        if cells is not None:
            closure = self._named(function, dict(zip(function.__code__.co_freevars, cells, strict=True)))
        arguments = function.__code__, None if here else self._space(function), function.__name__, closure
        uses, kept = self._uses(function, annotations, here), self._kept(name)
        state = (
            kept,
            self._named(function, vars(function)),
            self._named(function, _slots(function, annotations)),
            self._named(function, uses),
            self._reader.keeps,
            main.lines_of(function),
            [*submodules(function.__code__, uses.values()), *self._around(kept)],
        )
        return main.take, (kept, main.function, *arguments), state, None, None, main.finish_function

    def _space(self, function: types.FunctionType) -> dict[str, Any]:
        """The globals, to begin with, of functions that are not the script's: one for all that share theirs here."""
        about = ("__name__", "__package__", "__path__", "__file__")
        globals_ = function.__globals__
        return self._spaces.setdefault(id(globals_), {name: globals_[name] for name in about if name in globals_})

    def _uses(self, function: types.FunctionType, annotations: Mapping[str, Any], here: bool) -> dict[str, Any]:
        """The globals that a function names; and those that it may look up, as far as they can be sent."""
        globals_, uses = function.__globals__, uses_of(function.__code__)
        found = {name: globals_[name] for name in uses.names if name in globals_ and not (here and self._has(name))}
        if here and self._reader.keeps:
            wanted = uses.annotated.union(names_annotated(annotations.values()))
            if uses.looked_up is not None:
                wanted |= uses.looked_up | self._defined()
            if wanted := wanted.difference(found):
                found |= self._that_can_go(wanted)
        return found

    def _has(self, name: str) -> bool:
        """The reader has something under that name, and what it has there counts."""
        return name in main.OF_EACH or name in self._reader.shared

    def _defined(self) -> set[str]:
        """The functions and classes of the script, for who looks them up by a name that it is told."""
        own = vars(self._main).items()
        return {name for name, one in own if issubclass(type(one), _DEFINED) and one.__module__ in self._names}

    def _that_can_go(self, names: Set[str]) -> dict[str, Any]:
        """Tried apart: what is perhaps looked up must not keep the rest from being sent."""
        own = vars(self._main)
        found = {name: own[name] for name in sorted(names) if name in own and not self._has(name)}
        untried = [one for one in found.values() if id(one) not in self._trials and id(one) not in self._begun]
        if untried and not self._goes(untried):
            for one in untried:
                self._goes([one])
        return {name: one for name, one in found.items() if self._trials.get(id(one), True)}

    def _goes(self, values: list[Any]) -> bool:
        self._trials |= {id(one): True for one in values}  # while it is tried: it may use itself
        trial = ScriptPickler(_Nowhere(), self._reader)
        trial._trials, trial._begun, trial._open = self._trials, set(self._begun), [_Mark("", 1)]
        try:
            trial.dump(values)
        except own(Exception):  # whatever its classes raise
            self._trials |= {id(one): False for one in values}
            return False
        return True

    def _around(self, name: str | None) -> list[Any]:
        """The class that holds what is kept under a name, since a name with dots is found through it."""
        if name is None or "." not in name:
            return []
        outer = kinds.walk(name.rpartition(".")[0], self._main)
        return [outer] if id(outer) in self._begun or self._trials.get(id(outer)) or self._goes([outer]) else []

    def _cell(self, cell: types.CellType) -> Any:
        try:
            contents = cell.cell_contents
        except own(ValueError):  # empty
            return main.cell, ()
        return main.cell, (), (contents,), None, None, main.fill_cell

    # What functools makes of functions

    def _cache(self, cache: Any, name: str | None) -> Any:
        terms = cache.cache_parameters()
        left = {key: value for key, value in vars(cache).items() if key not in ("cache_parameters", "__annotate__")}
        arguments = cache.__wrapped__, terms["maxsize"], terms["typed"]
        state = self._kept(name), left, self._around(self._kept(name))
        return main.take, (self._kept(name), main.cache, *arguments), state, None, None, main.finish

    def _dispatcher(self, function: Any, name: str | None) -> Any:
        own = ("register", "dispatch", "registry", "_clear_cache", "__wrapped__")
        default = function.__wrapped__
        implementations = {
            f"its function for {kind.__qualname__}": (kind, one)
            for kind, one in function.registry.items()
            if one is not default
        }
        state = (
            name,
            {key: value for key, value in vars(function).items() if key not in own},
            [(slot, getattr(function, slot)) for slot in ("__name__", "__qualname__", "__module__", "__doc__")],
            self._named(function, implementations),
            self._around(name),
        )
        return main.take, (name, main.dispatcher, default), state, None, None, main.finish_dispatcher

    # Classes and modules

    def _class(self, cls: type, name: str | None) -> Any:
        library = kinds.cloudpickle()
        reduced = library._class_reduce(cls) if name is None else library._dynamic_class_reduce(cls)
        if reduced is NotImplemented or len(reduced) < 6:
            return reduced
        make, arguments, (contents, _), _, _, set_contents = reduced
        self._begun.add(id(cls))
        members: dict[str, Any] = {}
        if kinds.is_enum(cls):
            make, marks, members = main.enum, *kinds.members_of(cls)
            arguments = (*arguments[:3], marks, *arguments[4:])
            contents = {**kinds.contents_of_enum(cls, contents)}
        else:
            contents = {**_repeated(cls, contents), **kinds.without_slots(cls, contents)}
            # Cloudpickle leaves them out: instances had a dict. `NamedTuple`, which is a function, sets its own.
            if "__slots__" in vars(cls) and types.FunctionType not in map(type, arguments[2]):
                arguments[3]["__slots__"] = kinds.slots_of(cls)
        where = cls.__qualname__, 0 if self._reader.keeps or not main.is_fork else id(cls)
        written = set(names_annotated(annotations_of(cls).values())) if self._reader.keeps else set()
        state = (
            arguments[-2],
            set_contents,
            self._named(cls, contents),
            self._named(cls, members),
            self._named(cls, self._that_can_go(written) if cls.__module__ in self._names else {}),
            self._reader.keeps,
            self._around(self._kept(name)),
        )
        return main.class_, (self._kept(name), where, make, arguments), state, None, None, main.finish_class

    def _module(self, module: types.ModuleType) -> Any:
        if module is self._main:
            return main.current, ()
        if sys.modules.get(module.__name__) is module and not kinds.is_by_value(module.__name__):
            return main.module, (module.__name__,)
        return kinds.cloudpickle()._module_reduce(module)

    # The rest

    def _single(self, obj: Any, kind: type) -> Any:
        """What is one of its kind in a process: the reader's own where it has one, else a new one."""
        if not self._open and kind is not object and kind is not contextvars.ContextVar:
            return NotImplemented  # a lock in data: refused
        name = self._names_of_singles().get(id(obj))
        place = self._place_in_use(obj) if self._open else None
        if place is None and kind is not object and (name is not None or kind is contextvars.ContextVar):
            place = kinds.place_of(obj, self._main)
        if place is not None:
            return main.item, place
        if self._is_shared(name):
            return main.attribute, (name,)
        if kind is contextvars.ContextVar:
            terms = obj.name, *kinds.default_of(obj)
            if self._kept(name) is not None:
                return main.take, (name, main.new_context_var, *terms)
            main.variables[obj.name] = obj
            return main.context_var, terms
        if kind is object:
            return NotImplemented if name is None else (main.take, (self._kept(name), object))
        make = _thread.allocate_lock if kind is _thread.LockType else kind
        return main.take, (self._kept(name), make)

    def _place_in_use(self, obj: Any) -> tuple[str, str] | None:
        """The module, and the name there, of what a function uses that goes by value although its module can be
        imported: what else is in that module uses it, too."""
        mark = self._open[-1]
        space = getattr(mark.owner, "__globals__", {})
        module = sys.modules.get(space.get("__name__") or "")
        if module is None or module is self._main or vars(module) is not space or kinds.is_by_value(module.__name__):
            return None
        return (module.__name__, mark.name) if space.get(mark.name) is obj else None

    def _names_of_singles(self) -> dict[int, str]:
        if self._singles is None:
            own = vars(self._main).items()
            self._singles = {id(one): name for name, one in own if issubclass(type(one), _KINDS) or type(one) is object}
        return self._singles

    def _rare(self, obj: Any, kind: type) -> Any:
        if kind.__module__ == "typing" and kind.__name__ in kinds.OF_TYPING:
            known, name = self._known_as(obj)
            if known:
                return NotImplemented
            if name is not None or kind.__name__ != "TypeVar":
                terms = kind.__name__, obj.__module__, *kinds.OF_TYPING[kind.__name__](obj)
                return main.take, (self._kept(name), main.of_typing, *terms)
        if kind.__module__ == "weakref" and kind.__name__ in ("WeakKeyDictionary", "WeakValueDictionary"):
            return kind, (), None, None, iter(list(obj.items()))
        if kinds.is_enum(kind) and vars(kind)["_member_map_"].get(obj._name_) is obj:
            return getattr, (kind, obj._name_)  # its value may be what cannot be looked up in another process
        if kind.__module__ in self._names and getattr(kind, "__reduce__", None) is not object.__reduce__:
            return self._of_its_own_words(obj, kind)
        kinds.refuse_file(obj)
        reduce = kinds.cloudpickle().Pickler.dispatch_table.get(kind) if kind.__name__ in kinds.CLOUDPICKLES else None
        if reduce is not None:
            return reduce(obj)
        self._plain.add(kind)
        return NotImplemented

    def _of_its_own_words(self, obj: Any, kind: type) -> Any:
        """What says how it is pickled may say: as what has this name. There must be something that has it."""
        if kind in copyreg.dispatch_table:
            return NotImplemented
        reduced = obj.__reduce_ex__(5)
        if not isinstance(reduced, str) or self._is_shared(reduced) or kinds.walk(reduced, self._main) is not obj:
            return reduced
        state: Any = self._kept(reduced), getattr(obj, "__dict__", {}), []
        return main.take, (self._kept(reduced), object.__new__, kind), state, None, None, main.finish


def _code(code: types.CodeType) -> Any:
    try:
        return marshal.loads, (marshal.dumps(code),)
    except own(ValueError):  # a library has made it, with constants that no source has
        _, arguments = kinds.cloudpickle()._code_reduce(code)  # newer ones leave the file name out
        return main.code, (arguments, code.co_filename)


def _slots(function: types.FunctionType, annotations: Mapping[str, Any]) -> dict[str, Any]:
    """What a function has beside its code and its dict, as far as it differs from what a new one has."""
    slots = {name: getattr(function, name) for name in ("__doc__", "__defaults__", "__kwdefaults__")}
    slots["__annotations__"] = annotations or None
    if function.__qualname__ != function.__code__.co_qualname:
        slots["__qualname__"] = function.__qualname__
    if function.__module__ != function.__globals__.get("__name__"):
        slots["__module__"] = function.__module__
    return {name: value for name, value in slots.items() if value is not None}


def _repeated(cls: type, contents: dict[str, Any]) -> dict[str, Any]:
    """The constants that a class has in its own right, and its base too: cloudpickle leaves them out, but the making of
    the class again may set them to something else."""
    return {name: one for name, one in vars(cls).items() if type(one) in _CONSTANTS and name not in contents}


class _Nowhere:
    def write(self, piece: Any) -> None:
        pass
