"""Which of the user's modules are imported where workers are forked from: what a setup names, and what workers of the
same function were seen to import before."""

from __future__ import annotations

import io
import os
import pickle
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from worker_dispatcher.call import Call
from worker_dispatcher.execute import catch
from worker_dispatcher.loaded import loaded
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.osproc.spawn_spec import NO_PRELOADING, Preloading
from worker_dispatcher.osproc.starter import ServerStarter
from worker_dispatcher.pools.base import Setup
from worker_dispatcher.pools.parent.functions import libraries_of
from worker_dispatcher.pools.protocol.log_forwarding import levels
from worker_dispatcher.script import main_module
from worker_dispatcher.tracebacks import own
from worker_dispatcher.wire import LARGE_PICKLE, Packed, pack_large

__all__ = ["NO_NEEDS", "Needs", "preload_for", "starter_of"]

_LOADER = "worker_dispatcher.pools.worker.preload:Preload"
_KEPT = 64  # functions of which it is known what their workers import
_TRIALS = 3  # of what workers import: one that is not to be imported elsewhere is named each time
# What each process of ours has, or has of its own; `marshal`, by which code is loaded, is named in all that is packed.
_EVERYWHERE = frozenset(("worker_dispatcher", "cloudpickle", "__main__", "__mp_main__", *sys.builtin_module_names))
_BY_NAME = {("worker_dispatcher.script.main_module", "module"), ("worker_dispatcher.script.main_module", "item")}
_MEASURED = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")  # what a worker imports is measured there

Key = tuple[Any, ...]


class Needs(NamedTuple):
    """What is imported for a setup. key: by which it is known what its workers import beside that; empty where that is
    not asked for."""

    key: Key
    preloading: Preloading

    def seen(self, names: Mapping[str, None]) -> None:
        """Workers had to import these, in order."""
        if names and self.key:
            _known.add(self.key, names)

    def unfit(self, name: str, why: str) -> None:
        """The import of a module leaves what no fork is to have. name: empty where it is one of many."""
        _known.exclude(self.key, name)
        if (logging := loaded("logging")) is not None:
            text = "%s imported in each worker, and not where they are forked from: the import leaves %s"
            what = f"module {name} is" if name else f"what {self.key[-1]} needs is"
            logging.getLogger("worker_dispatcher").debug(text, what, why)


NO_NEEDS = Needs((), NO_PRELOADING)


def starter_of(
    setup: Setup, packed: Packed, entry: str, environment: dict[str, str], fresh: bool
) -> tuple[Needs, ServerStarter]:
    """What starts the workers of a setup, other than forks of this process, and what they need."""
    libraries = libraries_of(setup, packed)
    needs = NO_NEEDS if fresh else _needs_of(setup, packed, libraries)
    return needs, ServerStarter(entry, fresh, environment, libraries, needs.preloading, needs.unfit)


def preload_for(call: Call | None, setup: Setup, needs: Needs, starter: ServerStarter) -> None:
    """Have imported, too, what the first call names of a pool that was opened without it: before it starts a worker.

    What later calls name is left to its workers, those that start later included: all are children of one process, over
    the one connection that a pool has, and what that process had imported for some would be there for all."""
    if call is None or needs is NO_NEEDS:  # the very one, of workers of which nothing is wanted
        return
    packed, error = catch(pack_large, call)
    if error is None:  # else its tasks will tell
        layers = needs.preloading.layers
        more = _needs_of(setup._replace(call=call), packed, [name for layer in layers for name in layer]).preloading
        if more.layers:
            starter.preload(more._replace(layers=[*layers, *more.layers]))


def _needs_of(setup: Setup, packed: Packed, loaded: Iterable[str]) -> Needs:
    """loaded: what is imported there anyway."""
    function = setup.call.function
    if not os.environ.keys().isdisjoint(_MEASURED):
        return NO_NEEDS
    roots = {name.partition(".")[0] for name in loaded}
    named = [name for name in _named_in(setup, packed) if name.partition(".")[0] not in roots]
    key = (*named, getattr(function, "__module__", None), getattr(function, "__qualname__", type(function)))
    layers, mark = _known.layers(key, named)
    if not layers:
        return Needs(() if setup.kept else key, NO_PRELOADING)
    told = main_module.facts(), levels() if setup.forward_logging else None, setup.forward_logging == "drop"
    return Needs(() if setup.kept else key, Preloading(_LOADER, told, layers, mark))


class _Known:
    """What is known of modules, of this process and of workers. Any thread: under its lock.

    _seen: what workers imported, by key, with the trials that have failed. _excluded: modules that are not imported
    elsewhere, with what their files were like then. _specs: of the modules that are here; _mark: how often one of them
    was found to be another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[Key, tuple[dict[str, None], int]] = OrderedDict()
        self._excluded: dict[str, Any] = {}
        self._specs: dict[str, Any] = {}
        self._mark = 0

    def forget_lock(self) -> None:
        self._lock = threading.Lock()

    def layers(self, key: Key, named: list[str]) -> tuple[list[list[str]], int]:
        with self._lock:
            seen, failed = self._seen.get(key, ({}, 0))
            if key in self._seen:
                self._seen.move_to_end(key)
            more = [name for name in seen if name not in named] if seen and failed < _TRIALS else []
            if not (named or more):  # most of the time
                return [], self._mark
            found = [[name for name in layer if not self._is_excluded(name)] for layer in (named, more)]
            layers = [layer for layer in found if layer]
            if layers:
                self._compare()
            return layers, self._mark

    def _is_excluded(self, name: str) -> bool:
        return name in self._excluded and self._excluded[name] == _file_of(name)

    def _compare(self) -> None:
        """A module that was reloaded has another spec, as has one that was imported again."""
        specs = {name: getattr(module, "__spec__", None) for name, module in sys.modules.copy().items()}
        known = self._specs
        for name, spec in specs.items():
            if name in known and known[name] is not spec:
                self._mark += 1
                break
        self._specs = known | specs

    def add(self, key: Key, names: Iterable[str]) -> None:
        with self._lock:
            seen, failed = self._seen.pop(key, ({}, 0))
            self._seen[key] = seen | dict.fromkeys(names), failed
            if len(self._seen) > _KEPT:
                self._seen.popitem(last=False)

    def exclude(self, key: Key, name: str) -> None:
        with self._lock:
            if name:
                self._excluded[name] = _file_of(name)
            if key in self._seen:
                seen, failed = self._seen[key]
                self._seen[key] = seen, failed + (1 if name else _TRIALS)


_known = _Known()
os.register_at_fork(after_in_child=_known.forget_lock)


def _file_of(name: str) -> Any:
    """What the file of a module is like; None where that is not known."""
    path = getattr(getattr(sys.modules.get(name), "__spec__", None), "origin", None)
    try:
        status = os.stat(path)  # type: ignore[arg-type]
    except own(OSError, TypeError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _named_in(setup: Setup, packed: Packed) -> list[str]:
    """The modules that a setup names, in order."""
    if packed.head_size >= LARGE_PICKLE:  # data: what is named there is not looked for
        small, error = catch(pack_large, setup._replace(call=setup.call._replace(config=None)).told())
        if error is not None or small.head_size >= LARGE_PICKLE:
            return []
        packed = small
    names: dict[str, None] = {}
    reader = _Names(io.BytesIO(packed.head + b"".join(packed.rest)), packed.buffers, names)
    catch(reader.load)  # whatever has no form of its own is found up to there
    return [name for name in names if name.partition(".")[0] not in _EVERYWHERE and name in sys.modules]


class _AnyItem(type):
    def __setitem__(cls, key: Any, value: Any) -> None:
        pass


class _Nothing(metaclass=_AnyItem):
    """Stands for all that a pickle makes: a class, which makes itself."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return cls

    __setstate__ = append = extend = add = staticmethod(lambda _: None)


class _Names(pickle.Unpickler):
    """Reads a pickle, makes nothing of it, and runs no code but ours."""

    def __init__(self, file: Any, buffers: Any, names: dict[str, None]) -> None:
        super().__init__(file, buffers=buffers)
        self._names = names

    def find_class(self, module: str, name: str) -> Any:
        self._names[module] = None
        return partial(_note, self._names) if (module, name) in _BY_NAME else _Nothing


def _note(names: dict[str, None], name: str, *_: Any) -> Any:
    """In place of what gives a module, or something of one."""
    names[name] = None
    return _Nothing
