"""What `map` gives, and how tasks travel in chunks."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from worker_dispatcher.clock import now
from worker_dispatcher.workpool.future import TaskFuture
from worker_dispatcher.workpool.progress import EndsShown


def chunk_of(arguments: Iterable[tuple[Any, ...]], size: int) -> Iterator[tuple[tuple[Any, ...], ...]]:
    """So many sets of arguments at a time."""
    source = iter(arguments)
    while chunk := tuple(itertools.islice(source, size)):
        yield chunk


def run_chunk(fn: Callable[..., Any], chunk: Iterable[tuple[Any, ...]]) -> list[Any]:
    """What a worker calls for a chunk."""
    return [fn(*args) for args in chunk]


async def run_chunk_softly(fn: Callable[..., Any], chunk: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The same for a coroutine function."""
    return [await fn(*args) for args in chunk]


def results_of(
    futures: Sequence[TaskFuture],
    until: float | None,
    more: Callable[[], tuple[Any, ...] | None],
    submit: Callable[[tuple[Any, ...]], TaskFuture],
    shown: EndsShown | None = None,
) -> Iterator[Any]:
    """The results in order. more, submit: another set of arguments (None: there is none), drawn for each result that
    is taken. until: when TimeoutError is raised (monotonic). shown: where their ends are shown. Left early, it cancels
    what has not begun."""
    waiting = deque(futures)
    if shown is not None:
        for future in futures:
            future.add_done_callback(shown.ended)  # type: ignore[arg-type]
    drawing = True

    def first() -> Any:
        future = waiting.popleft()
        try:
            return future.result(None if until is None else until - now())
        except BaseException:
            future.cancel()
            raise
        finally:
            del future  # an exception that is kept holds this frame, and would hold itself

    def results() -> Iterator[Any]:
        nonlocal drawing
        try:
            while waiting:
                if drawing and (args := more()) is not None:
                    waiting.append(submit(args))
                    if shown is not None:
                        shown.total += 1
                        waiting[-1].add_done_callback(shown.ended)  # type: ignore[arg-type]
                else:
                    drawing = False
                yield first()  # it has no name here: a result that was taken is the caller's alone
        finally:
            while waiting:
                waiting.popleft().cancel()
            if shown is not None:
                shown.close()

    return results()
