"""The end of a worker in order: as an interpreter ends, but not for longer than its pool waits."""

from __future__ import annotations

import _io
import atexit
import gc
import sys
import threading
from types import FunctionType
from typing import Any

from worker_dispatcher.execute import catch

__all__ = ["end_in_order", "note_what_is_here"]

_THREADS_GRACE = 0.3  # seconds that threads which are no daemons may take to end


def note_what_is_here() -> None:
    """What is in this process by now is not the worker's, and nothing of it is closed at its end: above all not the
    open files that a fork has of its parent, with what is written to them and not flushed."""
    gc.freeze()


def end_in_order() -> None:
    """Do what an interpreter does when it ends, for what has come since `note_what_is_here`: wait for threads, run
    what atexit has, finalize what is alive, close files. Runs user code; whatever that does, the rest is done."""
    _await_threads()
    catch(atexit._run_exitfuncs)
    objects = gc.get_objects()
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
