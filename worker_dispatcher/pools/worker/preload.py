"""What imports the user's modules where workers are forked from, and tells whether they may be forked from there.

A worker is to find what it would have made itself. So a module is left to the workers if its import raises, if it
draws random numbers or keeps a generator of them (all workers would go on with the same numbers), or if nobody could
tell later whether its source has changed.
"""

from __future__ import annotations

import atexit
import gc
import os
import pickle
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import source_hash
from operator import itemgetter
from types import ModuleType
from typing import Any
from weakref import finalize

from worker_dispatcher.clock import wall
from worker_dispatcher.execute import describe
from worker_dispatcher.pools.protocol.loading import flush, while_loading
from worker_dispatcher.pools.protocol.log_forwarding import hold_logs
from worker_dispatcher.pools.worker.ending import has_end, note_imports, note_what_is_here
from worker_dispatcher.script import main_module

__all__ = ["Preload"]

_JUST_NOW = 2.0  # seconds in which a file may be written twice, and have one date: that of FAT, the coarsest
_STANDARD = os.path.join(os.path.dirname(os.__file__), "")
_NOT_STANDARD = tuple(os.path.join(_STANDARD, name, "") for name in ("site-packages", "dist-packages"))

Stamp = tuple[tuple[int, ...], tuple[int, ...]]  # number, size and dates in seconds; dates in nanoseconds
_FIELDS = stat.ST_INO, stat.ST_SIZE, stat.ST_MTIME, stat.ST_CTIME
_IN_SECONDS: Callable[[os.stat_result], tuple[int, ...]] = itemgetter(*_FIELDS)


class Preload:
    """Imports modules in a process of which workers will be forks. about: the `facts` of the parent's `__main__`; the
    levels of its logging, or None, and whether records that nobody takes are dropped."""

    def __init__(self, about: tuple[Mapping[str, Any], Mapping[str, int] | None, bool]) -> None:
        facts, levels, drops = about
        main_module.set_up(facts)
        if levels is not None:
            hold_logs(levels, drops=drops)
        note_what_is_here()
        self._ends = _Ends()
        self._before = set(sys.modules)
        self._sources = _Sources()
        self._dice = _Dice()
        self._files: dict[str, Stamp] = {}
        self._new: set[str] = set()  # of these, what had been written just before

    def bring(self, name: str) -> str:
        with self._sources, self._dice, self._ends:
            _, error = while_loading(import_module, name)
        flush()
        if error is None:
            return ""
        type_name, message, _ = describe(error)
        return f"{type_name}: {message}"

    def settle(self, names: Sequence[str]) -> tuple[str, str]:
        for name in sys.modules.keys() - self._before:
            if why := self._note(name, sys.modules[name]):
                return name, why
        self._before = set(sys.modules)
        if why := self._ends.told():
            return names[0] if len(names) == 1 else "", why
        objects = gc.get_objects()  # of numpy and pandas, 50 000: each look at them takes milliseconds
        kinds = {kind for kind in set(map(type, objects)) if has_end(kind) or self._dice.is_one(kind)}
        objects = [one for one in objects if type(one) in kinds]
        culprit, why = self._dice.thrown(names, objects)
        if not why:
            note_imports(objects)
        return culprit, why

    def _note(self, name: str, module: Any) -> str:
        spec: Any = getattr(module, "__spec__", None)
        if not getattr(spec, "has_location", False) or name.partition(".")[0] == "worker_dispatcher":
            return ""  # built in, or made by what has a file
        path = str(getattr(spec.loader, "archive", spec.origin))  # of what is in a zip file, that
        if path.startswith(_STANDARD) and not path.startswith(_NOT_STANDARD):
            return ""
        if (stamp := _stamp(path)) is None:
            return f"{name}, whose source {path} nobody can look at"
        known = self._sources.stamps.get(path)
        # What is no source was read before we look at it: it may be another by now.
        self._files[path] = known or (((), ()) if _is_new(stamp) else stamp)
        if path in self._sources.hashes:
            self._new.add(path)
        return ""

    def fresh(self) -> bool:
        """Nothing that was imported has been edited since."""
        try:
            # All in C: there are hundreds of files, and a call waits for it.
            same = list(map(_IN_SECONDS, map(os.stat, self._files))) == list(map(itemgetter(0), self._files.values()))
        except OSError:
            return False
        return same and all(_stamp(path) == self._files[path] and self._sources.same(path) for path in self._new)


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return _IN_SECONDS(status), (status.st_mtime_ns, status.st_ctime_ns)


def _is_new(stamp: Stamp) -> bool:
    """It may be changed, and its dates be the same in seconds, or even as the system tells them."""
    return max(stamp[1]) > (wall() - _JUST_NOW) * 1e9


class _Sources:
    """While it is entered: notes what a source is like before it is read. One that was written just now is read, and
    not what Python has kept of it, which is known by a date in seconds."""

    def __init__(self) -> None:
        self.stamps: dict[str, Stamp] = {}
        self.hashes: dict[str, bytes] = {}

    def __enter__(self) -> None:
        get_code = SourceFileLoader.get_code

        def noting(loader: SourceFileLoader, name: str) -> Any:
            path = loader.get_filename(name)
            stamp = _stamp(path)
            if stamp is not None:
                self.stamps[path] = stamp
                if _is_new(stamp):
                    data = loader.get_data(path)
                    self.hashes[path] = source_hash(data)
                    return loader.source_to_code(data, path)
            return get_code(loader, name)

        self._before, self._noting = get_code, noting
        SourceFileLoader.get_code = noting  # type: ignore[method-assign,assignment]

    def __exit__(self, *_: object) -> None:
        if SourceFileLoader.get_code is self._noting:  # else what was imported has put something around it
            SourceFileLoader.get_code = self._before  # type: ignore[method-assign]

    def same(self, path: str) -> bool:
        """A file that had been written just before it was read is what it was."""
        try:
            with open(path, "rb") as file:
                return source_hash(file.read()) == self.hashes[path]
        except OSError:
            return False


class _Ends:
    """While it is entered: notes what is to be done at the end of this process, and would be in that of each worker,
    such as to delete a folder that was made once for all of them. What libraries do there is taken for harmless."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._finalizers = set(map(id, finalize._registry))  # type: ignore[attr-defined]

    def __enter__(self) -> None:
        self._register = register = atexit.register

        def noting(function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
            place = sys._getframe(1).f_code.co_filename
            if not place.startswith(_STANDARD) and "-packages" + os.sep not in place:
                self._told.add(place)
            return register(function, *arguments, **named)

        self._noting = atexit.register = noting

    def __exit__(self, *_: object) -> None:
        if atexit.register is self._noting:
            atexit.register = self._register

    def told(self) -> str:
        """Why not to fork; empty if there is no reason."""
        if self._told:
            return f"a function of atexit, registered in {min(self._told)}"
        left = [one for one in finalize._registry if one.atexit and id(one) not in self._finalizers]  # type: ignore[attr-defined]
        return "a finalizer, such as that of a temporary folder" if left else ""


class _Dice:
    """While it is entered: sees to it that modules which draw random numbers are known in their first state."""

    def __init__(self) -> None:
        self._states: dict[str, Any] = {}
        self._known: set[int] = set()
        self._kinds: list[type] = []
        self._note("random", sys.modules.get("random"))
        self._note("numpy.random", sys.modules.get("numpy.random"))

    def _note(self, name: str, module: Any) -> None:
        if module is None:
            return
        self._states[name] = _state(name, module)
        own = [module._inst] if name == "random" else [module.mtrand._rand, module.mtrand._rand._bit_generator]
        self._known |= set(map(id, [*own, getattr(own[-1], "seed_seq", None)]))
        names = ["Random"] if name == "random" else ["Generator", "RandomState", "BitGenerator", "SeedSequence"]
        self._kinds += [getattr(module, name) for name in names]

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *_: object) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        """As a finder of modules: the end of the import of one that draws numbers."""
        if name not in ("random", "numpy.random") or name in self._states:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute: Callable[[ModuleType], None] = spec.loader.exec_module

            def execute_and_note(module: ModuleType) -> None:
                execute(module)
                self._note(name, module)

            spec.loader.exec_module = execute_and_note  # type: ignore[method-assign]
        return spec

    def thrown(self, names: Sequence[str], objects: Sequence[Any]) -> tuple[str, str]:
        """Which of these modules keeps workers from drawing what they would have drawn, and how; empty if none does."""
        for name, state in self._states.items():
            if _state(name, sys.modules[name]) != state:
                return names[-1] if len(names) == 1 else "", f"the state of {name}, which all workers would go on from"
        of_files = getattr(sys.modules.get("tempfile"), "_name_sequence", None)
        known = self._known | {id(getattr(of_files, "_rng", None))}  # which is another one in each process
        own = {id(one): type(one).__name__ for one in objects if self.is_one(type(one)) and id(one) not in known}
        if not own:
            return "", ""
        spaces = ((name, getattr(sys.modules.get(name), "__dict__", {})) for name in names)
        whose = next((name for name, space in spaces if not own.keys().isdisjoint(map(id, space.values()))), "")
        kind = min(own.values())
        return whose, f"a generator of random numbers ({kind}), of which all workers would have the same"

    def is_one(self, kind: type) -> bool:
        """What is of this kind goes on from a state of its own."""
        return kind.__name__ != "SystemRandom" and issubclass(kind, tuple(self._kinds))


def _state(name: str, module: Any) -> Any:
    return module.getstate() if name == "random" else pickle.dumps(module.get_state(legacy=False), 5)
