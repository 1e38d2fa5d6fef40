"""The guard: the only place where code of the user is called; floor 2.

Whatever user code does short of ending the process comes back as a value: `run_tasks` for tasks,
`catch` for everything else (loading, packing, iterating, callbacks, truth values).
"""

from __future__ import annotations

import os
import traceback as tracebacks
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Protocol, TypeAlias

from worker_dispatcher.awaiting import PLAIN, resolved, settled
from worker_dispatcher.call import Call, OfTask
from worker_dispatcher.clock import now
from worker_dispatcher.contexts import renewal
from worker_dispatcher.marks import Marks, own_marks
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.records import Failure
from worker_dispatcher.task_span import TaskSpan
from worker_dispatcher.tracebacks import own, part_from_frames, past_ours

MESSAGE_LIMIT = 100_000  # characters kept of an exception's text: a log entry stays under 1 MB
TRACEBACK_LIMIT = 200_000  # characters kept of its traceback, the end rather than the start
SMALL = frozenset({type(None), bool, int, float, complex})  # types whose values need no packing, whatever they are
_HEAD = "Traceback (most recent call last):\n"
CHAIN_LIMIT = 20  # causes shown: an exception chained thousands deep is cut


class AttemptResult(NamedTuple):
    """How one attempt ended. started, ended: monotonic seconds of the task function alone."""

    started: float
    ended: float
    result: Any
    failure: Failure | None
    metadata: dict[Any, Any] | None

    def sealed(self, seal: Seal | None, call: Call) -> AttemptResult:
        """With its result and metadata made ready to be sent. call: that it is an attempt of."""
        if seal is None:
            return self
        result, failure, _ = seal(call, self.result, self.metadata)
        # If it failed anyway, its metadata may be lost, its own error is not.
        return AttemptResult(self.started, self.ended, result, self.failure or failure, None)


# (a result as it is sent, why it cannot be, whether it is heavy) for a result of a call, and its metadata; runs user
# code
Seal: TypeAlias = Callable[[Call, Any, dict[Any, Any] | None], tuple[Any, Failure | None, bool]]


# AttemptResult(...) goes through a function in Python: as long as all else that is done to note how a coroutine ended.
_Fields: TypeAlias = tuple[float, float, Any, Failure | None, Any]
_new_result: Callable[[_Fields], AttemptResult] = partial(tuple.__new__, AttemptResult)


class Lanes(Protocol):
    """Where coroutines run, one at a time in each lane, as an attempt sees it."""

    def begin(self, lane: Any) -> float:
        """The moment (monotonic seconds) from which the task in a lane counts as begun; 0 if it must not begin."""

    def notes(self, lane: Any) -> dict[Any, Any]:
        """The metadata, still empty, of the task that has just begun."""

    def end(self, lane: Any, ended: AttemptResult | None) -> None:
        """It has ended; None, or what has not begun but has metadata: it was cancelled."""

    def attempt(self, lane: Any) -> int:
        """Which attempt of its task it is, from 1."""


def exit_text(error: BaseException) -> str:
    """What is told of a worker.exit that has raised."""
    type_name, message, _ = describe(error)
    return f"worker.exit raised {type_name}: {message[:500]}".rstrip(": ")


def run_tasks(
    call: Call,
    caller: Callable[[int, Any, dict[Any, Any]], Any],
    tasks: Iterator[tuple[int, int, Any]],
    marks: Marks,
    went: TaskSpan,
    seal: Seal | None,
    *,
    timeout: float | None,
    stop_at: float,
    until: float,
    forked: list[bool],
    attempt: int = 1,
) -> None:
    """Run one attempt each of tasks (seq, id, task), each in a context that no other has set anything in, until one has
    failed or it is time to report; never raises. Nothing is made for a task but its result and two times.

    went: where it is written down, after what is there; tasks: `next()` on it is atomic if threads share it; seal: of
    results that are not SMALL, in the task's time; stop_at: nothing begins then; until: when to report, after a heavy
    result; forked: true in a child that a task forked: this returns; attempt: which one of each task this is, from 1.
    """
    what = call, caller, tasks, marks, went, seal, timeout, stop_at, until, forked, attempt
    here, again = copy_context(), True
    if len(here) == (own_marks in here):  # else what is set anew may stand in the place of what was there
        shared = here.copy()
        again = shared.run(_run_in, shared, False, what)
        del shared  # and with it what a task has set
    if again:
        _run_in(here, True, what)
    del what, went  # an exception that is kept holds this frame, and would hold itself


def _run_in(context: Context, apart: bool, what: tuple[Any, ...]) -> bool:
    """`run_tasks`, of which `what` are the arguments, in a context that tasks share until one sets something in it:
    True if there is time for another then. apart: in a copy of the context for each."""
    call, caller, tasks, marks, went, seal, timeout, stop_at, until, forked, attempt = what
    running, started, deadline, halt = marks.running, marks.started, marks.deadline, marks.halt
    seqs, starts, ends, results = went.seqs, went.starts, went.ends, went.results
    plain = caller.function if isinstance(caller, OfTask) and call.on_done is None else None
    pid = None if call.on_done is None else os.getpid()
    failure, metadata, ended = None, dict[Any, Any](), 0.0
    direct, size = None if apart else plain, len(context)
    renew = renewal(context) if apart else None
    run: Callable[..., Any] = _run_here
    known: type = bool  # of the last result, so that the next is not looked at again; no coroutine's: that is settled
    odd = rich = plain is None  # there may be more to a task than its result, or to a result of this type
    for seq, task_id, task in tasks:
        began = started[0] = now()
        if timeout is not None:
            deadline[0] = began + timeout
        running[0] = seq
        starts.append(began)
        seqs.append(seq)
        if halt[0] or began >= stop_at:
            went.unbegun = seq, task_id, task
            break
        try:
            if direct is not None:
                result = direct(task)
            else:
                if apart:
                    run = context.copy().run
                    if renew is not None:
                        run(renew)
                if plain is None:
                    metadata = went.notes = {}
                    result = run(caller, task_id, task, metadata)
                else:
                    result = run(plain, task)
            if type(result) is not known:
                if type(result) not in PLAIN:
                    result = run(settled, result)
                known = type(result)
                odd = rich or (seal is not None and known not in SMALL)
            ended = now()
            if pid is not None and os.getpid() == pid:  # not in a child that the task has forked
                result = run(call.after, task_id, result, began, ended, metadata, attempt)
        except BaseException as error:  # whatever a task raises is that task's error
            result, failure, odd = None, failure_from(call, error), True
            until = ended = ended if ended > began else now()  # on_done may have raised it
        if forked[0]:
            break
        if odd:
            if seal is not None and (type(result) not in SMALL or metadata):
                result, unsealed, went.heavy = seal(call, result, metadata or None)
                failure, metadata = failure or unsealed, {}  # if it failed: its metadata is lost, its error is not
                if unsealed is not None or went.heavy:
                    until = ended
            if metadata or failure is not None:
                went.note(failure, metadata or None)
        results.append(result)
        ends.append(ended)
        if ended >= until:
            break
        if len(context) != size:
            return True
    del failure, went  # an exception that is kept holds this frame, and would hold itself
    return False


def _run_here(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


async def run_task_async(
    call: Call,
    caller: Callable[[int, Any, dict[Any, Any]], Awaitable[Any]],
    task_id: int,
    task: Any,
    lanes: Lanes,
    lane: Any,
) -> None:
    """Run one attempt of a task whose function is a coroutine function, in a lane of those who hear how it ended;
    never raises.

    All that an asyncio task has to do is in this one coroutine: each more is a frame more to go through at every await.
    """
    if not (started := lanes.begin(lane)):
        return
    metadata = lanes.notes(lane)
    ended, result, failure = 0.0, None, None
    pid = 0 if call.on_done is None else os.getpid()
    try:
        result = await caller(task_id, task, metadata)
        if type(result) not in PLAIN:
            result = await resolved(result)
        ended = now()
        if pid and os.getpid() == pid:
            result = await call.after_async(task_id, result, started, ended, metadata, lanes.attempt(lane))
    except BaseException as error:
        if _is_own_end(error):
            started, result = 0.0, None
        else:
            result, ended, failure = None, ended or now(), failure_from(call, error)
    # Not in the handler: what the end of a task leads to is no consequence of its error.
    how = _new_result((started, ended, result, failure, metadata or None)) if started or metadata else None
    del failure  # an exception that is kept holds this frame, and would hold itself
    lanes.end(lane, how)
    del how


def _is_own_end(error: BaseException) -> bool:
    """True for the cancellation of the asyncio task that asks, and not of one that it has waited for."""
    import asyncio

    own = asyncio.current_task() if isinstance(error, asyncio.CancelledError) else None
    return own is not None and own.cancelling() > 0


def catch(function: Callable[..., Any], *arguments: Any) -> tuple[Any, BaseException | None]:
    """(result, None), or (None, what was raised): for any user code that is not a task.

    What a handler of signals raises in the midst of it is not its own, and goes through.
    """
    try:
        return function(*arguments), None
    except own(BaseException) as error:
        return None, error


def catch_settled(function: Callable[..., Any], *arguments: Any) -> tuple[Any, BaseException | None]:
    """`catch`, in a thread without a loop; a coroutine that it gives is run to its end."""
    return catch(lambda: settled(function(*arguments)))


async def catch_async(function: Callable[..., Any], *arguments: Any) -> tuple[Any, BaseException | None]:
    """`catch`, on a loop; what can be awaited is."""
    try:
        return await resolved(function(*arguments)), None
    except BaseException as error:
        return None, error


def failure_from(call: Call, error: BaseException) -> Failure:
    """The failure of an attempt, with the verdict of retry_on while the exception is at hand."""
    type_name, message, traceback = describe(error)
    kept = part_from_frames(error) if call.keep_exception else None
    return Failure(type_name, message, traceback, _retry_allowed(call.retry_on, error), kept)


def _retry_allowed(retry_on: Any, error: BaseException) -> bool:
    """True if retry_on (None for all, exception types, or a callable) lets this error be tried again."""
    if retry_on is None:
        return True
    if isinstance(retry_on, tuple):
        return bool(catch(isinstance, error, retry_on)[0])  # a metaclass may have its own idea of it
    return bool(catch(lambda: bool(retry_on(error)))[0])


def describe(error: BaseException) -> tuple[str, str, str]:
    """Type name, message and traceback of any exception, however odd, each of bounded length."""
    message, broken = catch(lambda: "".join((str(error),)))  # of the exact type: slicing it runs no user code
    if broken is not None:
        message = f"<its text cannot be shown: __str__ raised {_name(broken)}>"
    text, broken = catch(_traceback_text, error)
    if broken is not None:
        text = f"<its traceback cannot be shown: {_name(broken)}>"
    del broken  # it holds this frame, and would hold itself
    return (
        _printable(_name(error)),
        _printable(_head(message, MESSAGE_LIMIT)),
        _printable(_tail(text, TRACEBACK_LIMIT)),
    )


def _name(error: BaseException) -> str:
    # A metaclass may make it anything. Joined, it is of the exact type str: cutting it runs no user code.
    name, _ = catch(lambda: "".join((type(error).__name__,)))
    return (name or "BaseException")[:200]


def _traceback_text(error: BaseException) -> str:
    parts: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(seen) < CHAIN_LIMIT:
        seen.add(id(link))
        place = past_ours(link.__traceback__) or link.__traceback__
        lines, broken = catch(partial(tracebacks.format_exception, type(link), link, place, chain=False))
        if broken is not None:
            lines = [_HEAD, *tracebacks.format_tb(place), f"{_name(link)}: <cannot be shown>\n"]
        parts.append(_tail("".join(lines), TRACEBACK_LIMIT // 2))
        if link.__cause__ is not None:
            link, joint = link.__cause__, "\nThe above exception was the direct cause of the following exception:\n\n"
        elif link.__context__ is not None and not link.__suppress_context__:
            link, joint = link.__context__, "\nDuring handling of the above exception, another exception occurred:\n\n"
        else:
            break
        parts.append(joint)
    if len(seen) == CHAIN_LIMIT and len(parts) == 2 * CHAIN_LIMIT:
        parts[-1] = "[earlier causes are cut]\n\n" + parts[-1].lstrip()
    return "".join(reversed(parts))


def _head(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... [{len(text) - limit} more characters]"


def _tail(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"[{len(text) - limit} characters cut]...\n{text[-limit:]}"


def _printable(text: str) -> str:
    # Lone surrogates cannot be encoded, so the report of a failure could itself fail to be sent or printed.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
