"""Reading a journal, also while a run writes to it."""

from __future__ import annotations

import io
import math
import os
import pickle
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from worker_dispatcher.errors import JournalError, TaskFailure
from worker_dispatcher.journal.file import connect, locate, look, reading, trouble
from worker_dispatcher.journal.fingerprint import told
from worker_dispatcher.journal.form import JOURNAL
from worker_dispatcher.journal.row_format import EARLIER, SELECT_ALL, Facts, LoadFacts, read_row
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.records import OK, STATUS_NAMES, attempts_before, phase_of, unpacked_notes
from worker_dispatcher.signals import held
from worker_dispatcher.tracebacks import own
from worker_dispatcher.wire import unpack

__tracebackhide__ = True  # see tracebacks

_ATTEMPTS = 3  # where runs begin or end while it is read
_LOAD, _SESSION = "load", "session"  # in an entry, until all are read: the load it is of; the shift of its session
_AT_A_TIME = 200  # rows of one read: a longer one would keep the writer's log from being cut


class _Unloadable:
    """Stands for a result, or an item, that this process cannot load. True, since a result's task ended ok."""

    why = ""

    def __repr__(self) -> str:
        return f"<cannot be loaded here: {self.why}>"


class _MissingClass(type):
    """Stands for a class that is not to be found here."""

    def __getattr__(cls, name: str) -> Any:
        """What is saved as an attribute of its class: a method, with some Pythons a member of an enumeration."""
        if name.startswith("__"):
            raise AttributeError(name)
        return cls()


class _Missing(_Unloadable, metaclass=_MissingClass):
    """Stands for an object of a class that is not to be found here. It has the class's name and the attributes that
    were saved, so that a response of status 503 is known for what it is."""

    def __new__(cls, *_args: Any, **_more: Any) -> _Missing:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_more: Any) -> None:
        """What its class would make of these is not known."""

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):  # (__dict__, slots), or the former alone
            if isinstance(part, dict):
                self.__dict__.update((str(name), value) for name, value in part.items())

    def __setitem__(self, key: Any, value: Any) -> None:
        """A dict's content."""

    def extend(self, values: Any) -> None:
        """A list's content."""

    append = add = extend


class _Loader(pickle.Unpickler):
    """Loads what is there, and something in the place of objects whose class is not: the rest of a row is as it was."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError) as error:
            return _MissingClass(name.rpartition(".")[2], (_Missing,), {"__module__": module, "why": told(error)})


class JournalLogs(list[dict[str, Any]]):
    """Logs by task id, as far as the run has come: `len(logs)` of `logs.total` tasks.

    total: how many tasks the list had when the last of them was recorded; None if that was not known. sessions: where
    more than one run recorded something: {"from": ..., "until": ...} of each, by its own clock (Unix seconds), in
    order; each log says its `session` then, from 1.
    """

    def __init__(
        self, logs: Iterable[dict[str, Any]], total: int | None, sessions: Sequence[dict[str, float]] = ()
    ) -> None:
        super().__init__(logs)
        self.total, self.sessions = total, list(sessions)


def read_journal(path: str | os.PathLike[str]) -> JournalLogs:
    """The records of a journal as `get_logs()` would give them, in task order: how each task ended the last time it
    did. Of a load they lack `interval` and `in_flight`. Changes nothing; a run may be writing to it, and what it has
    committed is there.

    Damaged rows are left out. A result that cannot be loaded in this process is a placeholder that says why; it counts
    as the success that it was, and a response of status 503 whose class is missing here as none. Loading results can
    run code: a file that another user has, or may write, is refused. Raises JournalError.
    """
    return read_run(path)[0]


def read_run(path: str | os.PathLike[str]) -> tuple[JournalLogs, dict[str, Any]]:
    """The same, and what get_result_info() said of a load: its `load`. Without a window where more than one run
    recorded something: their windows lie apart. The other keys are `total` and `sessions`, as JournalLogs has them."""
    real = locate(path, JOURNAL)
    with held():
        there = os.path.exists(real)
    if not there:
        raise JournalError(real, "does not exist")
    with reading(real):
        about = look(real, JOURNAL)
        found, total, spans = _read_again(real, about.key) if about is not None else ({}, None, {})
    sessions = [{"from": begun, "until": ended} for begun, ended in spans.values()] if len(spans) > 1 else []
    logs = JournalLogs((found[task_id] for task_id in sorted(found)), total, sessions)
    number = {shift: nth for nth, shift in enumerate(spans, 1)}
    for log in logs:
        shift = log.pop(_SESSION)
        log |= {_SESSION: number[shift]} if sessions else {}
    loads = {load: None for log in logs if (load := log.pop(_LOAD)) is not None}
    info: dict[str, Any] = ({} if total is None else {"total": total}) | ({"sessions": sessions} if sessions else {})
    if not loads:
        return logs, info
    most, begin, end = list(loads)[-1]
    window = {"from": begin, "until": end} if len(loads) == 1 and not sessions and end < math.inf else {}
    return logs, info | {"load": {"max_workers": most or None, **window}}


# Logs by task id; the total of the last row; when each session began and ended, by its shift, in order.
_Found: TypeAlias = "tuple[dict[int, dict[str, Any]], int | None, dict[float, tuple[float, float]]]"


def _read_again(real: str, key: bytes) -> _Found:
    """All records; once more where a run began or ended meanwhile."""
    found: _Found = {}, None, {}
    for attempt in range(_ATTEMPTS):
        before = _state(real)
        try:
            found = _read(real, key, before)
        except sqlite3.Error as error:
            if attempt == _ATTEMPTS - 1 or before == _state(real):
                raise trouble(real, JOURNAL, error, "read") from None
            continue
        if before.log or before == _state(real):
            break
    return found


class _State(NamedTuple):
    """What tells whether a run wrote meanwhile. log: there is one to be read too."""

    log: bool
    size: int
    changed: int


def _state(real: str) -> _State:
    log, status = real + "-wal", os.stat(real)
    return _State(os.path.exists(log) and os.path.getsize(log) > 0, status.st_size, status.st_mtime_ns)


def _read(real: str, key: bytes, state: _State) -> _Found:
    found: dict[int, dict[str, Any]] = {}
    total: int | None = None
    spans: dict[float, tuple[float, float]] = {}
    # Without a log nobody writes, and reading must not leave one behind.
    db = connect(real, JOURNAL, "mode=ro" if state.log else "immutable=1")
    try:
        begin, last = -1, 0
        while last > begin:  # the numbers of a damaged file may go back, for ever
            begin, highest = last, last
            for row in db.execute(f"{SELECT_ALL} WHERE seq > ? ORDER BY seq LIMIT {_AT_A_TIME}", (begin,)):
                last, highest = row[0], max(highest, row[0])
                if (facts := _add(found, db, key, row)) is not None:
                    total = facts.total
                    ids = range(facts.first, facts.first + facts.length)
                    _lengthen(spans, facts.shift, [found[task_id] for task_id in ids])
            last = last if last > begin else highest
    finally:
        db.close()
    return found, total, spans


def _lengthen(spans: dict[float, tuple[float, float]], shift: float, logs: Sequence[dict[str, Any]]) -> None:
    """Take in when tasks of a session ran: those too that a later one has run again."""
    begun, ended = spans.get(shift, (math.inf, -math.inf))
    first = min(log["earlier_attempts"][0][0] if "earlier_attempts" in log else log["started_at"] for log in logs)
    spans[shift] = min(begun, first), max(ended, *(log["ended_at"] for log in logs))


def _add(found: dict[int, dict[str, Any]], db: sqlite3.Connection, key: bytes, row: Any) -> Facts | None:
    """The row's facts; None if it is damaged."""
    if (read := read_row(db, key, row)) is None:
        return None
    facts, content = read
    try:
        results, metadata, attempts, failure = _loaded(*content)
    except KeyboardInterrupt:
        raise
    except own(BaseException) as error:  # the results' classes may raise anything
        results = [_unloadable(error)] * facts.length
        metadata, attempts, failure = {}, {}, None
    for nth in range(facts.length):
        task_id = facts.first + nth
        found[task_id] = _entry(facts, nth, results[nth], metadata, attempts, failure)
    return facts


def _loaded(head: bytes | memoryview, buffers: Sequence[memoryview] = ()) -> Any:
    try:
        return unpack(head, buffers)
    except (ImportError, AttributeError):
        return _Loader(io.BytesIO(head), buffers=buffers).load()


def _unloadable(error: BaseException) -> _Unloadable:
    made = _Unloadable()
    made.why = told(error)
    return made


def _entry(
    facts: Facts, nth: int, result: Any, metadata: dict[int, Any], attempts: dict[Any, Any], failure: Any
) -> dict[str, Any]:
    task_id, started, ended = facts.first + nth, facts.starts[nth], facts.ends[nth]
    error = dict(zip(("type", "message", "traceback"), failure[:3], strict=True)) if failure is not None else None
    item, shown = _item_of(failure)
    status, tried = STATUS_NAMES[facts.status], attempts.get(task_id, 1)
    notes, output, added = unpacked_notes(metadata.get(task_id, {}))
    earlier = attempts_before(started, attempts.get(EARLIER, {}).get(task_id, ()))
    entry = {
        "task_id": task_id,
        "started_at": started + facts.shift,
        "ended_at": ended + facts.shift,
        "duration": ended - started,
        "result": result if facts.status == OK else TaskFailure(task_id, status, error, tried, item, shown),
        "metadata": notes,
        "status": status,
        "error": error,
        "attempts": tried,
        "worker": facts.workers[nth] or None,
        "pid": facts.pids[nth] or None,
        _SESSION: facts.shift,
        _LOAD: facts.load
        and facts.load._replace(begin=facts.load.begin + facts.shift, end=facts.load.end + facts.shift),
    }
    if earlier:
        entry["earlier_attempts"] = [[at + facts.shift for at in pair] for pair in earlier]
    if error is not None:
        entry |= {"task": item, "input": shown}
    if facts.load is not None:
        entry |= _scheduled(facts.load, facts.dues[nth], earlier[0][0] if earlier else started, ended, facts.shift)
    return added | entry if output is None else added | entry | {"output": output}


def _item_of(failure: Any) -> tuple[Any, str]:
    """A failed task's item, None where it is not there, and what is shown of it."""
    packed, shown = (None, "") if failure is None or len(failure) < 5 else failure[3:5]
    if packed is None:
        return None, shown
    try:
        return _loaded(packed), shown
    except KeyboardInterrupt:
        raise
    except own(BaseException) as error:  # the item's classes may raise anything
        return _unloadable(error), shown


def _scheduled(load: LoadFacts, due: float, first: float, ended: float, shift: float) -> dict[str, Any]:
    """When a task was meant to start, and what is counted from then. first: when its first attempt started."""
    return {
        "scheduled_at": due + shift,
        "queue_delay": first - due,
        "response_time": ended - due,
        "phase": phase_of(due, load.begin, load.end),
    }
