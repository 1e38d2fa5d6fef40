"""What is called for each task, and what a worker calls once; runs code of the user, inside the guard; floor 2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

from worker_dispatcher.awaiting import resolved, settled
from worker_dispatcher.call_style import STATE_NAME, CallStyle
from worker_dispatcher.clock import Anchor
from worker_dispatcher.done_log import log_for
from worker_dispatcher.named_tuple import NamedTuple


class OfTask:
    """A caller of a function that takes the task and nothing else: where that is all there is to a task,
    `run_tasks` calls the function itself, and spares the task a frame and an empty dict."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, task_id: int, task: Any, metadata: dict[Any, Any]) -> Any:
        return self.function(task)


def _first_name(function: Any) -> str | None:
    """The name of what a function of Python takes first by position. By position a call takes half the time."""
    code = function.__code__ if type(function) is FunctionType else None
    return code.co_varnames[0] if code is not None and code.co_argcount else None


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

    def told(self) -> tuple[Any, ...]:
        """As it is sent: builtins, and what is the user's. Classes of ours would be looked up by name on both sides."""
        style, after, anchor = tuple(self.style), self.on_done_style, self.anchor
        kept = self.retry_on, self.keep_exception, anchor and tuple(anchor), self.before
        return self.function, style, self.config, self.on_done, after and tuple(after), *kept

    @staticmethod
    def of(told: tuple[Any, ...]) -> Call:
        """The call that was told so."""
        function, style, config, on_done, after, retry_on, keeps, anchor, before = told
        after, anchor = after and CallStyle(*after), anchor and Anchor(*anchor)
        return Call(function, CallStyle(*style), config, on_done, after, retry_on, keeps, anchor, before)

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
        if self.style.positional or (self.style.names == ("task",) and _first_name(function) == "task"):
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

    def told(self) -> tuple[Any, ...]:
        """As it is sent: see `Call.told`."""
        return self.init, tuple(self.init_style), self.exit, tuple(self.exit_style)

    @staticmethod
    def of(told: tuple[Any, ...]) -> Hooks:
        """The hooks that were told so."""
        init, init_style, exit_, exit_style = told
        return Hooks(init, CallStyle(*init_style), exit_, CallStyle(*exit_style))

    def begin(self, config: Any) -> Any:
        """The worker's state; a coroutine that gives it, where init is a coroutine function."""
        return None if self.init is None else call_styled(self.init, self.init_style, config, {"config": config})

    def finish(self, state: Any) -> Any:
        """Where exit is a coroutine function, a coroutine too."""
        return None if self.exit is None else call_styled(self.exit, self.exit_style, state, {STATE_NAME: state})


def call_styled(function: Callable[..., Any], style: CallStyle, main: Any, known: dict[str, Any]) -> Any:
    """Call a callback the way its signature asks for. Runs user code: only ever inside the guard."""
    if style.positional:
        return function(main)
    return function(**{name: known[name] for name in style.names})
