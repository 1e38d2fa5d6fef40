"""What the tests of the journal share."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from worker_dispatcher.clock import Anchor
from worker_dispatcher.journal.journal import Journal
from worker_dispatcher.journal.row_format import Recorded

EARLIER = Anchor(1_700_000_000.25, 5000.0)  # another boot of the machine: monotonic time began anew


LATER = Anchor(1_700_009_999.5, 77.0)


def work(task):
    return task


def other(task):
    return task


class Boom:
    """Loading it leaves a mark."""

    mark = ""

    def __init__(self, mark=""):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


class Exits:
    def __reduce__(self):
        raise SystemExit(3)


def opened(path, function=work, anchor=EARLIER) -> Journal:
    return Journal(path, function, anchor)


def record(path, items, results=None, *, first=1, worker=3, **more) -> None:
    """One run that ends all these tasks ok."""
    with opened(path) as journal:
        journal.seen(1, items)
        results = list(items if results is None else results)
        times = [5000.0 + nth for nth in range(len(results))]
        ends = [at + 0.5 for at in times]
        assert journal.record_run(first, times, ends, results, worker, **more)


def resumed(path, items, function=work) -> dict[int, object]:
    with opened(path, function, LATER) as journal:
        return by_id(journal.seen(1, items))


def by_id(found: list[Recorded]) -> dict[int, object]:
    return {one.first + nth: result for one in found for nth, result in enumerate(one.results)}


def in_child(function: Callable[[], object]) -> str:
    """What a forked child makes of it: its text, or that of the error it raised."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = str(function())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode()[:4000])
        os._exit(0)
    os.close(write)
    with open(read, "rb") as end:
        text = end.read().decode()
    os.waitpid(pid, 0)
    return text


def edit(path, sql, *values) -> None:
    """Change the file as a bad disk or a stranger would."""
    db = sqlite3.connect(path)
    assert db.execute(sql, values).rowcount != 0
    db.commit()
    db.close()


def files(path) -> dict[str, bytes]:
    return {name: Path(path.parent, name).read_bytes() for name in os.listdir(path.parent)}
