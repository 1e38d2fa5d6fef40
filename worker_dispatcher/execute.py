"""The guard: the only place where code of the user is called; floor 2.

Whatever user code does short of ending the process comes back as a value: `run_tasks` for tasks,
`catch` for everything else (loading, packing, iterating, callbacks, truth values).
"""

from __future__ import annotations

import os
import traceback as tracebacks
from collections.abc import Awaitable, Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol, TypeAlias

from worker_dispatcher.awaiting import PLAIN, resolved, settled
from worker_dispatcher.call_style import STATE_NAME, CallStyle
from worker_dispatcher.clock import Anchor, now
from worker_dispatcher.contexts import renewal
from worker_dispatcher.done_log import log_for
from worker_dispatcher.marks import Marks
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.records import Failure, TaskSpan
from worker_dispatcher.tracebacks import is_foreign, part_from_frames, past_ours

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

    def sealed(self, seal: Seal | None) -> AttemptResult:
        """With its result and metadata made ready to be sent."""
        if seal is None:
            return self
        result, failure, _ = seal(self.result, self.metadata)
        # If it failed anyway, its metadata may be lost, its own error is not.
        return AttemptResult(self.started, self.ended, result, self.failure or failure, None)


# (a result as it is sent, why it cannot be, whether it is heavy) for a result and its metadata; runs user code
Seal: TypeAlias = Callable[[Any, dict[Any, Any] | None], tuple[Any, Failure | None, bool]]


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


class OfTask:
    """A caller of a function that takes the task and nothing else: where that is all there is to a task,
    `run_tasks` calls the function itself, and spares the task a frame and an empty dict."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, task_id: int, task: Any, metadata: dict[Any, Any]) -> Any:
        return self.function(task)


class Call(NamedTuple):
    """What is called for each task: the function, how it takes its arguments, and what follows it.

    keep_exception: keep the exception object in the failure, for a caller that will raise it.
    before: what is taken off the number by which a pool knows a task, for its id.
    """

    function: Callable[..., Any]
    style: CallStyle
    config: Any = None
    on_done: Callable[..., Any] | None = None
    on_done_style: CallStyle | None = None
    retry_on: tuple[type[BaseException], ...] | Callable[[BaseException], Any] | None = None
    keep_exception: bool = False
    anchor: Anchor | None = None
    before: int = 0

    def arguments(self, task_id: int, task: Any, metadata: dict[Any, Any]) -> dict[str, Any]:
        known = {"id": task_id, "config": self.config, "task": task, "metadata": metadata}
        return {name: known[name] for name in self.style.names}

    def with_state(self, state: Any) -> Call:
        """The call as a worker makes it that holds a state. Its config and callbacks are the same objects."""
        if STATE_NAME not in self.style.names:
            return self
        names = tuple(name for name in self.style.names if name != STATE_NAME)
        return self._replace(function=partial(self.function, **{STATE_NAME: state}), style=CallStyle(names=names))

    def caller(self) -> Callable[[int, Any, dict[Any, Any]], Any]:
        """The function as f(id, task, metadata), with no more per call than its own style needs."""
        function, config, before = self.function, self.config, self.before
        if self.style.positional:
            return OfTask(function)
        if before:
            call = self._replace(before=0).caller()
            return lambda number, task, metadata: call(number - before, task, metadata)
        if set(self.style.names) == {"id", "config", "task", "metadata"}:
            return lambda task_id, task, metadata: function(id=task_id, config=config, task=task, metadata=metadata)
        return lambda task_id, task, metadata: function(**self.arguments(task_id, task, metadata))

    def after(
        self, task_id: int, result: Any, started: float, ended: float, metadata: dict[Any, Any], attempt: int
    ) -> Any:
        """What on_done makes of the result; it sees the log as it stands, and what it adds to that goes along with the
        metadata."""
        task_id -= self.before
        with log_for(self.anchor, task_id, result, started, ended, metadata, attempt) as log:
            return settled(self._on_done(task_id, result, log))

    async def after_async(
        self, task_id: int, result: Any, started: float, ended: float, metadata: dict[Any, Any], attempt: int
    ) -> Any:
        """`after`, on a loop."""
        task_id -= self.before
        with log_for(self.anchor, task_id, result, started, ended, metadata, attempt) as log:
            return await resolved(self._on_done(task_id, result, log))

    def _on_done(self, task_id: int, result: Any, log: dict[Any, Any]) -> Any:
        if self.on_done is None or self.on_done_style is None:
            return result
        known = {"id": task_id, "config": self.config, "result": result, "log": log}
        return call_styled(self.on_done, self.on_done_style, result, known)


class Hooks(NamedTuple):
    """What a worker calls once: `begin` before its first task, `finish` after its last, both inside the guard."""

    init: Callable[..., Any] | None
    init_style: CallStyle
    exit: Callable[..., Any] | None
    exit_style: CallStyle

    def begin(self, config: Any) -> Any:
        """The worker's state; a coroutine that gives it, where init is a coroutine function."""
        return None if self.init is None else call_styled(self.init, self.init_style, config, {"config": config})

    def finish(self, state: Any) -> Any:
        """Where exit is a coroutine function, a coroutine too."""
        return None if self.exit is None else call_styled(self.exit, self.exit_style, state, {STATE_NAME: state})


def exit_text(error: BaseException) -> str:
    """What is told of a worker.exit that has raised."""
    type_name, message, _ = describe(error)
    return f"worker.exit raised {type_name}: {message[:500]}".rstrip(": ")


def call_styled(function: Callable[..., Any], style: CallStyle, main: Any, known: dict[str, Any]) -> Any:
    """Call a callback the way its signature asks for. Runs user code: only ever inside the guard."""
    if style.positional:
        return function(main)
    return function(**{name: known[name] for name in style.names})


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
    """Run one attempt each of tasks (seq, id, task), each in a copy of this thread's context, until one has failed or
    it is time to report; never raises. Nothing is made for a task but that, its result and two times.

    went: where it is written down, after what is there; tasks: `next()` on it is atomic if threads share it; seal: of
    results that are not SMALL, in the task's time; stop_at: nothing begins then; until: when to report, after a heavy
    result; forked: true in a child that a task forked: this returns; attempt: which one of each task this is, from 1.
    """
    running, started, deadline, halt = marks.running, marks.started, marks.deadline, marks.halt
    seqs, starts, ends, results = went.seqs, went.starts, went.ends, went.results
    plain = caller.function if isinstance(caller, OfTask) and call.on_done is None else None
    pid = None if call.on_done is None else os.getpid()
    failure, metadata, ended = None, dict[Any, Any](), 0.0
    fresh, renew = (here := copy_context()).copy, renewal(here)
    known: type = bool  # of a result, so that it need not be looked at again; no coroutine's, for that is settled
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
            own = fresh()
            if renew is not None:
                own.run(renew)
            if plain is not None:
                result = own.run(plain, task)
            else:
                metadata = went.notes = {}
                result = own.run(caller, task_id, task, metadata)
            if type(result) not in PLAIN and type(result) is not known:
                result = own.run(settled, result)
                known = type(result)
            ended = now()
            if pid is not None and os.getpid() == pid:  # not in a child that the task has forked
                result = own.run(call.after, task_id, result, began, ended, metadata, attempt)
        except BaseException as error:  # whatever a task raises is that task's error
            result, failure = None, failure_from(call, error)
            until = ended = ended if ended > began else now()  # on_done may have raised it
        if forked[0]:
            break
        if seal is not None and (type(result) not in SMALL or metadata):
            result, unsealed, went.heavy = seal(result, metadata or None)
            failure, metadata = failure or unsealed, {}  # if it failed anyway: its metadata is lost, its error is not
            if unsealed is not None or went.heavy:
                until = ended
        if metadata or failure is not None:
            went.apart[len(ends)] = failure, metadata or None
        results.append(result)
        ends.append(ended)
        if ended >= until:
            break
    del failure, went  # an exception that is kept holds this frame, and would hold itself


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
    except BaseException as error:
        if is_foreign(error):
            raise
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
