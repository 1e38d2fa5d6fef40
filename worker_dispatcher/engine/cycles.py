"""Whether things wait for each other in a circle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


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
