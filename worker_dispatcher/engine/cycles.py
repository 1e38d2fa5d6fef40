"""Whether jobs wait for each other in a circle."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

from worker_dispatcher.engine.events import Entry
from worker_dispatcher.engine.status import PENDING
from worker_dispatcher.engine.watches import required


def cycle_with(entries: Sequence[Entry], known: Mapping[str, Entry], followed: Container[str]) -> list[str]:
    """What the jobs of a circle are called that there would be with some further ones; empty if there would be none.

    followed: ids for which some known job waits. Costs next to nothing where no job waits for one that comes after it.
    """
    seen: set[str] = set()
    suspicious = False
    for entry in entries:
        seen |= required(entry.root)
        suspicious = suspicious or entry.id in seen or entry.id in followed
    if not suspicious:
        return []
    new = {entry.id: entry for entry in entries}

    def waits_for(id: str) -> Iterable[str]:
        entry = new.get(id) or known.get(id)
        return () if entry is None or (id not in new and entry.status != PENDING) else required(entry.root)

    return [(new.get(id) or known[id]).name or id for id in find_cycle(new, waits_for)]


def find_cycle(starts: Iterable[str], waits_for: Callable[[str], Iterable[str]]) -> list[str]:
    """A circle that one of `starts` is in or leads to, each before what it waits for; empty if there is none.

    Depth first, without recursion: a chain may be as long as there are jobs.
    """
    done: set[str] = set()
    for start in starts:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, Iterator[str]]] = []

        def enter(id: str) -> None:
            path.append(id)  # noqa: B023  # called in this round only
            on_path.add(id)  # noqa: B023
            stack.append((id, iter(waits_for(id))))  # noqa: B023

        if start not in done:
            enter(start)
        while stack:
            id, rest = stack[-1]
            further = next(rest, None)
            if further is None:
                stack.pop()
                path.pop()
                on_path.discard(id)
                done.add(id)
            elif further in on_path:
                return path[path.index(further) :]
            elif further not in done:
                enter(further)
    return []
