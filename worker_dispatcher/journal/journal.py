"""The journal of one run: what earlier runs recorded, and what this one does."""

from __future__ import annotations

import math
import os
import sqlite3
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from worker_dispatcher.clock import Anchor, now
from worker_dispatcher.errors import JournalError, WorkerDispatcherError
from worker_dispatcher.journal import row_format
from worker_dispatcher.journal.file import locate, trouble
from worker_dispatcher.journal.fingerprint import DIGEST_SIZE, NoDigest, code_of, config_of, digests, name_of, told
from worker_dispatcher.journal.form import JOURNAL, hold
from worker_dispatcher.records import OK, Outcome, Times, Workers
from worker_dispatcher.signals import held
from worker_dispatcher.tracebacks import own
from worker_dispatcher.wire import unpack

__tracebackhide__ = True  # see tracebacks

_GROUP = 0.03  # seconds that a record waits at most for others to be committed with it
_GROUP_BYTES = 8 << 20  # bytes after which it waits no longer
_ROWS_KEPT = 16  # rows whose content is at hand while the list is drawn: neighbours come from few workers
_UNKNOWN = bytes(DIGEST_SIZE)


class Journal:
    """Records how tasks end, and gives back what earlier runs recorded.

    Used by one thread at a time. Waits: for the disk only. `seen` and `record_*` run code of the user's classes
    (pickling); whatever that raises is kept from the caller, except as told below. Once a method has raised
    JournalError about writing, nothing more is written: `close` is what is left to call.

    created: there was no journal before; code_changed: it is about a function of this name, but of other code;
    config_changed: it began with another task.config, as far as that can be told;
    last_id: the highest id recorded by earlier runs, 0 if none; ok_count: how many tasks they recorded as ok;
    damaged: the rows (by seq) found damaged so far: their tasks count as never run.
    To be set, for the records: pids: worker number -> process id; load, dues: of a load, once it has begun; dues: by
    task id, from 1 (monotonic); total: how many tasks the list has, None if unknown; show: what text may show of an
    item, "" for nothing; earlier: by task id, start, end, start, ... of its attempts before the last (monotonic).
    due: when `commit` must be called at the latest (monotonic); infinite while nothing waits for it.
    """

    def __init__(
        self, path: str | os.PathLike[str], function: Callable[..., Any], anchor: Anchor, config: Any = None
    ) -> None:
        """Open or create. Raises JournalError; a file that is refused is left untouched."""
        self.path = locate(path, JOURNAL)
        self.due = math.inf
        self.damaged: set[int] = set()
        self.pids: Mapping[int, int] = {}
        self.load: row_format.LoadFacts | None = None
        self.dues: Sequence[float] = ()
        self.total: int | None = None
        self.earlier: Mapping[int, array[float]] = {}
        self.show: Callable[[Any], str] | None = None
        self._anchor, self._shift = anchor, anchor.wall - anchor.monotonic
        self._pid = os.getpid()
        self._broken: WorkerDispatcherError | None = None
        self._pending: list[tuple[int, int]] = []
        self._pending_bytes = 0
        self._drawn = bytearray()  # digests of this run's items, by id
        self._inputs: dict[int, str] = {}  # by id, of tasks that were drawn and are not recorded: what may be shown
        self._rows_at_hand: OrderedDict[int, tuple[row_format.Facts, list[Any]] | None] = OrderedDict()
        code, now_config = code_of(function), config_of(config)
        self._file = hold(self.path, name_of(function), code, now_config)
        try:
            self.created = self._file.created
            known = self._file.about.facts
            self.code_changed = str(known["code"]) != code
            self.config_changed = known.get("config", "") not in ("", now_config) and now_config != ""
            self._key = self._file.about.key
            self._index(self._writable())
        except BaseException as error:
            self._file.release()
            if isinstance(error, sqlite3.Error):
                raise trouble(self.path, JOURNAL, error, "opened") from None
            raise

    # What earlier runs recorded

    def _index(self, db: sqlite3.Connection) -> None:
        """Which row has which task, and every item's digest; contents stay on disk."""
        self._row_of = array("q")  # by id: seq of the row that has it ok, else 0
        self._digests = bytearray()  # by id: of the item, zero where it is not recorded
        self._seq = self._piece = 0
        shifts = set()
        for row in db.execute(f"{row_format.SELECT_FACTS} ORDER BY seq"):
            self._seq = max(self._seq, row[0])
            if not row_format.seal_holds(self._key, row):
                self.damaged.add(row[0])
                continue
            facts = row_format.read_facts(row)
            shifts.add(facts.shift)
            low, high = facts.first - 1, facts.first - 1 + facts.length
            if high > len(self._row_of):
                self._row_of.extend(array("q", bytes(8 * (high - len(self._row_of)))))
                self._digests.extend(bytes(DIGEST_SIZE * high - len(self._digests)))
            self._digests[DIGEST_SIZE * low : DIGEST_SIZE * high] = facts.digests
            if facts.status == OK:
                self._row_of[low:high] = array("q", [facts.seq]) * facts.length
        self._piece = db.execute("SELECT max(id) FROM pieces").fetchone()[0] or 0
        while self._shift in shifts:  # rows of one session are known by it; a quarter of a microsecond tells another
            self._shift = math.nextafter(self._shift, math.inf)
        self.last_id = len(self._row_of)
        self.ok_count = self.last_id - self._row_of.count(0)

    def expect(self, total: int) -> None:
        """The list has so many tasks: raises JournalError if there are records of more. A list may have grown."""
        if total < self.last_id:
            text = f"has records up to task #{self.last_id}, the list has {total} tasks"
            raise self._another_list(text, total + 1)

    def seen(self, first: int, items: Sequence[Any]) -> list[row_format.Recorded]:
        """Take in items drawn from the list, first, first + 1, ..., each once and before its task can change it; the
        tasks of them that are recorded as ended ok, in order of id, not to be run again.

        Raises JournalError, naming the first, where an item is not the one that was recorded, cannot be pickled, or
        has a result that cannot be loaded any more.
        """
        low, high = first - 1, first - 1 + len(items)
        try:
            fresh = digests(items)
        except NoDigest as problem:
            task_id, kind = first + problem.index, type(items[problem.index])
            text = f"needs items that can be pickled, to know them again; that of task #{task_id}"
            text += f" ({kind.__module__}.{kind.__qualname__}) cannot: {told(problem.error)}"
            raise JournalError(self.path, text, task_id) from None
        if DIGEST_SIZE * low > len(self._drawn):
            self._drawn.extend(bytes(DIGEST_SIZE * low - len(self._drawn)))
        self._drawn[DIGEST_SIZE * low : DIGEST_SIZE * high] = fresh
        found: list[row_format.Recorded] = []
        if first <= self.last_id:
            self._compare(first, fresh, items)
            found = list(self._recorded(first, min(high, self.last_id)))
        if self.show is not None:
            texts = map(self.show, items)
            self._inputs.update({task_id: text for task_id, text in enumerate(texts, first) if text})
            for one in found:
                self._take_inputs(one.first, len(one.results))
        return found

    def _take_inputs(self, first: int, count: int) -> list[str]:
        """What may be shown of items; nothing of them is at hand afterwards."""
        take = self._inputs.pop
        return [take(task_id, "") for task_id in range(first, first + count)] if self._inputs else []

    def _compare(self, first: int, fresh: bytes, items: Sequence[Any]) -> None:
        known = self._digests[DIGEST_SIZE * (first - 1) : DIGEST_SIZE * (first - 1) + len(fresh)]
        if known == fresh:
            return
        for at in range(0, len(known), DIGEST_SIZE):
            one = known[at : at + DIGEST_SIZE]
            if one != fresh[at : at + DIGEST_SIZE] and one != _UNKNOWN:
                task_id = first + at // DIGEST_SIZE
                text = f"is of another task list: the item of task #{task_id} differs"
                raise self._another_list(text + self._both(task_id, items[task_id - first]), task_id)

    def _both(self, task_id: int, item: Any) -> str:
        """Both items of a task, where both are short."""
        fresh = self.show(item) if self.show is not None else ""
        known = self._input_before(task_id) if fresh else ""
        return f" ({fresh} now, {known} in the journal)" if known else ""

    def _input_before(self, task_id: int) -> str:
        db, where = self._writable(), "WHERE first <= ? AND first + count > ? ORDER BY seq DESC"
        try:
            rows = db.execute(f"{row_format.SELECT_FACTS} {where}", (task_id, task_id)).fetchall()
        except sqlite3.Error:  # what was to be said of it is said without
            return ""
        facts = next((row_format.read_facts(row) for row in rows if row_format.seal_holds(self._key, row)), None)
        return facts.inputs[task_id - facts.first] if facts is not None and facts.inputs else ""

    def _another_list(self, text: str, task_id: int) -> JournalError:
        advice = "run the same list, in the same order, or give this one a journal of its own"
        return JournalError(self.path, f"{text}; {advice}", task_id)

    def _recorded(self, first: int, last: int) -> Iterator[row_format.Recorded]:
        at = first - 1
        while at < last:
            seq, begin = self._row_of[at], at
            while at < last and self._row_of[at] == seq:
                at += 1
            row = self._content(seq) if seq else None
            if row is None:
                continue
            facts, (results, metadata, attempts, _) = row
            low, high = begin + 1 - facts.first, at + 1 - facts.first
            ids, earlier = range(begin + 1, at + 1), attempts.get(row_format.EARLIER, {})
            shift = facts.shift - (self._anchor.wall - self._anchor.monotonic)
            if at + 1 - facts.first == facts.length:
                del self._rows_at_hand[seq]  # the list is drawn once: nobody asks for it again
            yield row_format.Recorded(
                begin + 1,
                array("d", [start + shift for start in facts.starts[low:high]]),
                array("d", [end + shift for end in facts.ends[low:high]]),
                results[low:high],
                facts.workers[low:high],
                _those(ids, metadata),
                _those(ids, attempts),
                {one: array("d", [at + shift for at in spans]) for one, spans in _those(ids, earlier).items()},
            )

    def _content(self, seq: int) -> tuple[row_format.Facts, list[Any]] | None:
        """A row, its content loaded; None if it is damaged."""
        if seq not in self._rows_at_hand:
            while len(self._rows_at_hand) >= _ROWS_KEPT:
                self._rows_at_hand.popitem(last=False)
            self._rows_at_hand[seq] = self._load(seq)
        return self._rows_at_hand[seq]

    def _load(self, seq: int) -> tuple[row_format.Facts, list[Any]] | None:
        db = self._file.db
        assert db is not None
        try:
            row = db.execute(f"{row_format.SELECT_ALL} WHERE seq = ?", (seq,)).fetchone()
            found = row_format.read_row(db, self._key, row)
        except sqlite3.Error as error:
            raise trouble(self.path, JOURNAL, error, "read") from None
        if found is None:
            self.damaged.add(seq)
            return None
        facts, content = found
        try:
            return facts, unpack(*content)
        except KeyboardInterrupt:
            raise
        except own(BaseException) as error:  # the results' classes may raise anything
            text = f"has a result of task #{facts.first} that cannot be loaded: {told(error)}"
            raise JournalError(self.path, text, facts.first) from None

    # What this run records

    def record_run(
        self,
        first: int,
        starts: Times,
        ends: Times,
        results: list[Any],
        worker: Workers,
        metadata: dict[int, dict[Any, Any]] | None = None,
        attempts: dict[int, int] | None = None,
    ) -> bool:
        """Record tasks first, first + 1, ... as ok, in columns as for `Records.complete_run`; durable once committed.

        Returns False where a result or metadata cannot be pickled: none of them is recorded then, and each is to be
        given to `record_one`. Raises JournalError where the disk is full or the file is lost.
        """
        try:
            self._write(first, OK, (starts, ends), (results, metadata or {}, attempts or {}, None), worker)
        except row_format.Unpackable:
            return False
        return True

    def record_one(self, one: Outcome) -> BaseException | None:
        """Record one task, with any status. Returns what pickling it raised: it is not recorded then. A failure is
        always recorded, without metadata that cannot be pickled."""
        task_id, times = one.task_id, ((one.started,), (one.ended,))
        error = None if one.failure is None else row_format.pack_failure(one.failure)
        notes = {task_id: one.metadata} if one.metadata else {}
        tried = {task_id: one.attempts} if one.attempts > 1 else {}
        try:
            self._write(task_id, one.status, times, ([one.result], notes, tried, error), one.worker)
        except row_format.Unpackable as problem:
            if one.status == OK:
                return problem.error
            self._write(task_id, one.status, times, ([None], {}, tried, error), one.worker)
        return None

    def _write(
        self,
        first: int,
        status: int,
        times: tuple[Times, Times],
        content: tuple[list[Any], dict[int, dict[Any, Any]], dict[Any, Any], Any],
        worker: Workers,
    ) -> None:
        count, db = len(content[0]), self._writable()
        if not count:
            return
        results, metadata, attempts, error = content
        if earlier := _those(range(first, first + count), self.earlier):
            attempts = {**attempts, row_format.EARLIER: {one: list(spans) for one, spans in earlier.items()}}
        packing = row_format.pack_content((results, metadata, attempts, error))
        workers = [worker] if isinstance(worker, int) else worker
        pids = [self.pids.get(one, 0) for one in workers]
        items = self._drawn[DIGEST_SIZE * (first - 1) : DIGEST_SIZE * (first - 1 + count)]
        if len(items) != DIGEST_SIZE * count:
            raise ValueError(f"task #{first + count - 1} is recorded before `seen` was given its item")
        dues = self.dues[first - 1 : first - 1 + count]
        more = dues, self.load, self.total, self._take_inputs(first, count)
        facts = row_format.pack_facts(packing, self._piece + 1, self._shift, times, items, workers, pids, *more)
        with held():  # as in `commit`
            self._insert(db, (first, count, status), facts, packing)

    def _insert(
        self, db: sqlite3.Connection, about: tuple[int, int, int], facts: bytes, packing: row_format.Packing
    ) -> None:
        """about: the first id, how many, their status."""
        self._seq += 1
        where = (self._seq, *about)
        try:
            if not db.in_transaction:
                db.execute("BEGIN IMMEDIATE")
                self.due = now() + _GROUP
            for piece in row_format.pieces_of(packing) if packing.buffers else ():
                self._piece += 1
                db.execute("INSERT INTO pieces VALUES (?, ?)", (self._piece, piece))
                self._pending_bytes += len(piece)
            sealed = row_format.seal(self._key, where, facts, packing.digest)
            db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", (*where, facts, sealed, packing.payload))
        except sqlite3.Error as error:
            raise self._fail(trouble(self.path, JOURNAL, error, "written")) from None
        self._pending.append(about[:2])
        self._pending_bytes += len(packing.payload or b"") + len(facts)
        if self._pending_bytes > _GROUP_BYTES:
            self.due = -math.inf

    def commit(self) -> list[tuple[int, int]]:
        """Make durable what was recorded: (first id, how many) of each run of tasks, in order of recording. These may
        now be reported. Raises JournalError where they are not."""
        if not self._pending:
            return []
        with held():  # else the transaction, and what is known of it, may be of two minds
            db = self._writable()
            try:
                self._file.check()
                db.execute("COMMIT")
                self._file.check()  # again: what went into a log that was taken away meanwhile is not durable
            except JournalError as error:
                raise self._fail(error) from None
            except sqlite3.Error as error:
                raise self._fail(trouble(self.path, JOURNAL, error, "written")) from None
            durable, self._pending = self._pending, []
            self._pending_bytes, self.due = 0, math.inf
            return durable

    def _writable(self) -> sqlite3.Connection:
        if self._broken is not None:
            raise self._broken
        if self._file.db is None or self._pid != os.getpid():
            raise JournalError(self.path, "is closed" if self._file.db is None else "was opened by another process")
        return self._file.db

    def _fail(self, error: WorkerDispatcherError) -> WorkerDispatcherError:
        """Nothing more is written: what is pending is lost whole."""
        self._broken = error
        self._pending, self._pending_bytes, self.due = [], 0, math.inf
        db = self._file.db
        try:
            if db is not None and db.in_transaction:
                db.execute("ROLLBACK")
            self._file.rescue()
        except sqlite3.Error as problem:  # closing the connection does the same
            error.add_note(f"and could not be rolled back: {problem}")
        return error

    def close(self) -> None:
        """Commit what is pending and let the file go. Idempotent; raises JournalError where the commit does."""
        if self._pid != os.getpid():
            return  # a forked child: the file is its parent's
        try:
            if self._file.db is not None and self._broken is None:
                self.commit()
        finally:
            self._file.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _those(ids: range, known: Mapping[int, Any]) -> dict[int, Any]:
    """What is known of these tasks."""
    return {one: known[one] for one in ids if one in known} if known else {}
