"""The end of a worker in order: as an interpreter ends, but not for longer than its pool waits."""

from __future__ import annotations

import _io
import atexit
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from worker_dispatcher.execute import catch

__all__ = ["end_in_order", "has_end", "note_imports", "note_what_is_here"]

_imported: list[Callable[[], Any]] = []
_noted_by = 0  # the process that did
_THREADS_GRACE = 0.3  # seconds that threads which are no daemons may take to end


def note_what_is_here() -> None:
    """What is in this process by now is not the worker's, and nothing of it is closed at its end, but for what
    `note_imports` has noted: above all not the open files that a fork has of its parent, with what is written to them
    and not flushed."""
    global _imported
    if os.getppid() != _noted_by:
        _imported = []
    gc.freeze()


def note_imports(objects: Sequence[Any]) -> None:
    """In a process that workers are forked from: what has come since the last of these calls is as if each worker had
    imported it, and is finalized in each. The collector, which would have all of it copied, does not look at it.

    objects: all of it whose kind `has_end`, and perhaps more.
    """
    global _noted_by
    _imported.extend(catch(weakref.ref, one)[0] or (lambda one=one: one) for one in objects if has_end(type(one)))
    _noted_by = os.getpid()
    gc.freeze()


def has_end(kind: type) -> bool:
    """Something is to be done at the end of a process for what is of this kind."""
    return _io._IOBase in kind.__mro__ or isinstance(getattr(kind, "__del__", None), FunctionType)


def end_in_order() -> None:
    """Do what an interpreter does when it ends, for what has come since `note_what_is_here`: wait for threads, run
    what atexit has, finalize what is alive, close files. Runs user code; whatever that does, the rest is done."""
    _await_threads()
    catch(atexit._run_exitfuncs)
    imported = [one for reference in _imported if (one := reference()) is not None]
    objects = imported + gc.get_objects()
    files = [one for one in objects if _io._IOBase in type(one).__mro__]
    known = set(map(id, files))
    _finalize([one for one in objects if id(one) not in known])
    streams = {id(one) for one in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)}
    for one in sorted((one for one in files if id(one) not in streams), key=_layer):
        catch(_close, one)
    _finalize(files)  # not before: one that closes its file, as gzip's does from 3.14 on, would lose what comes to it


def _finalize(objects: list[Any]) -> None:
    for one in objects:
        if isinstance(finalizer := getattr(type(one), "__del__", None), FunctionType):
            catch(finalizer, one)


def _await_threads() -> None:
    """Have executors end their threads, and all threads end that are no daemons; not for ever."""
    if all(thread.daemon or thread is threading.current_thread() for thread in threading.enumerate()):
        return
    ending: Any = getattr(threading, "_shutdown", None)
    waiting = threading.Thread(target=catch, args=(ending,), daemon=True)
    if catch(waiting.start)[1] is None:
        waiting.join(_THREADS_GRACE)


def _close(file: Any) -> None:
    if not file.closed:
        file.close()


def _layer(file: Any) -> int:
    """What is written to the first is passed on to the next."""
    kind = type(file)
    if issubclass(kind, _io._TextIOBase):
        return 0
    ours = kind.__module__ == "_io"
    return 3 if issubclass(kind, _io._RawIOBase) else 1 + ours
