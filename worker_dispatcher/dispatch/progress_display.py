"""How the progress of a run is shown: when it is looked at, and where it goes: the last row of a terminal, a notebook's
output, or plain lines."""

from __future__ import annotations

import atexit
import math
import os
import select
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, TextIO, TypeAlias

from worker_dispatcher.clock import now
from worker_dispatcher.dispatch.banner import print as say
from worker_dispatcher.dispatch.plan import Plan
from worker_dispatcher.dispatch.progress_stats import Stats, View, stats_of
from worker_dispatcher.dispatch.source import TaskSource
from worker_dispatcher.osproc.system import columns_of, descriptor_of, writable
from worker_dispatcher.records import Records
from worker_dispatcher.tracebacks import own

_PATIENCE = 0.5  # seconds before anything is shown: a run that is over by then needs no bar, and pays for none
_SHARE = 20  # a look that took a while is followed by so many times that without one
_FEWEST_ROWS, _FEWEST_COLUMNS = 4, 20  # a smaller terminal has no row to spare
_SHORTEST_BAR = 10  # columns; a shorter one says nothing that the numbers do not
_FRAME = len("100%|| ")  # what stands around a bar
_LAST_WORD = 1.0  # seconds that a terminal which stands still has, at the end, to take what sets it right again
_PLAIN_EVERY = 10.0  # seconds from one plain line to the next

# One run at a time has the last row; another that is under way meanwhile writes plain lines.
_row = threading.Lock()
os.register_at_fork(after_in_child=_row._at_fork_reinit)  # type: ignore[attr-defined]


class LastRow:
    """A bar in the last row of a terminal; all else scrolls above it.

    The rows above are made the terminal's scroll region. So what is printed meanwhile, by this process, by workers or
    by programs they start, needs no help from us and cannot meet the bar. Each frame sets the region anew, draws, and
    puts the cursor back, in one write. A terminal that stands still (Ctrl-S) loses frames, and holds up nobody.
    Killed with SIGKILL, the region stays; `reset` undoes it.

    As of every screen: used by the driver's thread; every: seconds from one look to the next. May raise anything; who
    shows gives up.
    """

    every = 0.1

    @staticmethod
    def of(stream: TextIO) -> LastRow | None:
        """None if the stream is not a terminal that can do this, is not ours now, or has a bar already."""
        if os.environ.get("TERM", "dumb") == "dumb":
            return None
        try:
            if not (stream.isatty() and _in_front(stream.fileno()) and _has_room(stream.fileno())):
                return None
        except own(OSError, ValueError, AttributeError):
            return None
        return LastRow(stream) if _row.acquire(blocking=False) else None

    def __init__(self, stream: TextIO) -> None:
        try:
            from tqdm.std import tqdm

            self._meter: Any = tqdm.format_meter  # no instance: it would start a thread and choose a start method
            self._fd = _unhurried(stream.fileno())
        except BaseException:
            _row.release()
            raise
        self._stream, self._pid = stream, os.getpid()
        self._ascii = not _can_say("█▏", stream)
        self._size: os.terminal_size | None = None
        self._shown = ""
        self._unsent = b""
        self._mutex = threading.Lock()
        self._closed = False
        atexit.register(self.give_up)  # a launched run may be under way when the program ends

    def show(self, view: View) -> None:
        """This is how the run stands."""
        with self._mutex:
            if self._closed or not _in_front(self._fd) or not _has_room(self._fd) or not self._send():
                return
            size = os.get_terminal_size(self._fd)
            text = self._line(view, size.columns - 1)
            if (text, size) != (self._shown, self._size):
                prepare = "" if size == self._size else self._prepare()
                self._shown, self._size = text, size
                # Nothing wraps: a window that shrinks at this very moment would keep a second bar above the cursor.
                frame = f"\x1b7\x1b[?7l\x1b[1;{size.lines - 1}r\x1b[{size.lines};1H{text}\x1b[K\x1b[?7h\x1b8"
                self._send((prepare + frame).encode("ascii" if self._ascii else "utf-8"))

    def _prepare(self) -> str:
        """Have an empty last row below the cursor. After a change of size, whatever is below the cursor is ours."""
        old = "" if self._size is None else "\x1b7\x1b[r\x1b8\x1b[J"
        return f"{old}\x1bD\x1b[A"

    def _line(self, view: View, width: int) -> str:
        text = view.within(width)
        if not view.total or width - len(text) < _SHORTEST_BAR + _FRAME:
            return text
        bar = "{l_bar}{bar}| " + text
        return str(self._meter(view.done, view.total, view.elapsed, ncols=width, ascii=self._ascii, bar_format=bar))

    def _send(self, data: bytes = b"") -> bool:
        """Write what the terminal takes without waiting; True if that was all."""
        self._unsent += data
        if self._unsent and _takes(self._fd):
            try:
                self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
            except BlockingIOError:
                pass
        return not self._unsent

    def close(self, view: View, *, keep: bool) -> None:
        """The run has ended. keep: leave its last state in sight."""
        self.give_up()
        if keep and _takes(descriptor_of(self._stream)):
            columns = columns_of(self._stream)
            say(view.within(columns - 1 if columns else math.inf), file=self._stream)

    def give_up(self) -> None:
        """Take the bar away, and what it needed of the terminal. Idempotent, from any thread."""
        with self._mutex:
            if self._closed or os.getpid() != self._pid:  # a forked child has no part in it
                return
            self._closed = True
            atexit.unregister(self.give_up)
            try:
                if self._size is not None:
                    self._send(b"\x1b7\x1b[r\x1b8\x1b[J")
                until = now() + _LAST_WORD
                while not self._send() and (left := until - now()) > 0:
                    writable(self._fd, left)
            finally:
                os.close(self._fd)
                _row.release()


class NotebookBar:
    """One output of the cell, as HTML and as text, and both are replaced as the run goes on.

    No widget: the text that goes along with one is never replaced, and a saved notebook, or one that is run without a
    browser, would say 0 % for ever.
    """

    every = 0.2
    _columns = 80  # of the text

    def __init__(self) -> None:
        from tqdm.std import tqdm

        self._display: Any = import_module("IPython.display").display  # it is there: this is its kernel
        self._meter: Any = tqdm.format_meter
        self._id = ""

    def show(self, view: View) -> None:
        bundle, begun = self._bundle(view), self._id
        self._id = begun or os.urandom(16).hex()
        self._display(bundle, raw=True, display_id=self._id, update=bool(begun))

    def _bundle(self, view: View) -> dict[str, str]:
        text = view.within(math.inf)
        page = f"<code>{text.replace('&', '&amp;').replace('<', '&lt;')}</code>"
        if view.total:
            page = f'<progress value="{view.done:g}" max="{view.total:g}" style="width: 30%"></progress> {page}'
            bar, width = "{l_bar}{bar}| " + text, max(self._columns, len(text) + _SHORTEST_BAR + _FRAME)
            text = str(self._meter(view.done, view.total, view.elapsed, ncols=width, bar_format=bar))
        return {"text/plain": text, "text/html": page}

    def close(self, view: View, *, keep: bool) -> None:
        if self._id:
            self.show(view)  # it stays: a notebook is read later, too

    def give_up(self) -> None:
        """What was shown stays."""


class PlainLines:
    """A line every ten seconds, for files, pipes and simple terminals."""

    every = 0.5

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = _PLAIN_EVERY

    def show(self, view: View) -> None:
        if view.elapsed < self._next:
            return
        self._next = view.elapsed - view.elapsed % _PLAIN_EVERY + _PLAIN_EVERY
        if _takes(descriptor_of(self._stream)):
            say(f"after {view.elapsed:.0f} s: {view.within(math.inf, ', ')}", file=self._stream)

    def close(self, view: View, *, keep: bool) -> None:
        """What was said stays."""

    def give_up(self) -> None:
        """The same."""


Screen: TypeAlias = LastRow | NotebookBar | PlainLines


def open_screen() -> Screen | None:
    """Where progress goes now; None if nobody looks. Loads what drawing takes, which may be 50 ms."""
    if sys.stderr is None:
        return None
    if "ipykernel.zmqshell" in sys.modules:
        return NotebookBar()
    return LastRow.of(sys.stderr) or PlainLines(sys.stderr)


class Progress:
    """Shows how a run goes. Whatever happens to the display, the run goes on: it is given up without a word.

    Used by the driver's thread only. due: when to look next (monotonic). keep: the last state stays in sight.
    """

    def __init__(self, plan: Plan, source: TaskSource, records: Records, *, keep: bool) -> None:
        self._plan, self._source, self._records, self._keep = plan, source, records, keep
        self._screen: Screen | None = None
        self._stats: Stats | None = None
        self.due = math.inf

    def prepare(self) -> None:
        """Before the time of a load begins: loads what showing takes, so that this makes no task late."""
        self._try(self._open)

    def begin(self) -> None:
        """The first tasks may start."""
        self._stats = stats_of(self._plan, self._records, now())
        self.due = now() + _PATIENCE

    def look(self) -> None:
        """Show how the run stands."""
        if self._screen is None:
            self._try(self._open)
        began = now()
        self._try(lambda: self._look(began))
        if self._screen is not None:
            ended = now()
            self.due = ended + max(self._screen.every, _SHARE * (ended - began))

    def _look(self, at: float) -> None:
        if self._screen is not None and self._stats is not None:
            due = self._source.fresh_due()
            overdue = self._source.crowd(at - due) if due <= at else 0
            self._stats.take(at, overdue, asking=due < math.inf)
            self._screen.show(self._stats.view(at))

    def _open(self) -> None:
        self._screen = open_screen()
        self.due = math.inf  # for good, if there is none

    def close(self, *, whole: bool) -> None:
        """The run is over. whole: it did not end early. Idempotent."""
        self._try(lambda: self._close(whole))
        self._screen, self.due = None, math.inf

    def _close(self, whole: bool) -> None:
        if self._screen is not None and self._stats is not None:
            self._stats.take(now(), 0, asking=False)
            never = max(0, (self._plan.tasks or 0) - len(self._records))
            view = self._stats.view(now(), None if whole else never)
            done = view.total if whole and view.total is not None else view.done
            self._screen.close(view._replace(done=done), keep=self._keep)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except own(Exception):  # a terminal that is gone, a full disk, a notebook's kernel: not the run's affair
            screen, self._screen, self.due = self._screen, None, math.inf
            if screen is not None:
                self._try(screen.give_up)


def _takes(fd: int) -> bool:
    """False for a pipe that nobody empties, and for a terminal that stands still."""
    return fd < 0 or not hasattr(select, "poll") or writable(fd)


def _in_front(fd: int) -> bool:
    """The terminal is ours, and we are not in the background. It is not that of a worker, which has no terminal."""
    return hasattr(os, "tcgetpgrp") and os.tcgetpgrp(fd) == os.getpgrp()


def _has_room(fd: int) -> bool:
    size = os.get_terminal_size(fd)
    return size.lines >= _FEWEST_ROWS and size.columns >= _FEWEST_COLUMNS


def _unhurried(fd: int) -> int:
    """Another descriptor of a terminal; writing to it does not wait, while the program's own still does."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except own(OSError):  # the terminal is another user's, as after `su`
        return os.dup(fd)


def _can_say(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding)
    except own(LookupError, TypeError, ValueError, AttributeError):
        return False
    return True
