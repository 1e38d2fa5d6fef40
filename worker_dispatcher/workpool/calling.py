"""What a worker calls for a task of a pool, and what the task may ask about itself. Loaded by worker processes."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from types import BuiltinFunctionType, FunctionType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from worker_dispatcher.call import Call
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.clock import now, sleep
from worker_dispatcher.marks import own_marks
from worker_dispatcher.named_tuple import NamedTuple

if TYPE_CHECKING:
    from worker_dispatcher.workpool.future import TaskFuture

_KEPT = 64  # functions that a pool remembers: those that came last
_NONE: Mapping[str, Any] = {}
_STEP = 0.02  # seconds from one look to the next whether a task that sleeps was cancelled


class Item(NamedTuple):
    """A task that is more than its arguments; what is only these travels as a plain tuple.

    options: None where those of the call hold. expires: when its deadline passes (monotonic).
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    id: Any
    name: str | None
    attempt: int
    options: Mapping[str, Any] | None
    expires: float


class About(NamedTuple):
    """What goes with a function, once to each worker. pool: the number of the pool, in the process that has it.
    given: the futures of what workers of this process have, by number; None in another."""

    options: Mapping[str, Any]
    pool: int
    given: Mapping[int, TaskFuture] | None = None


class PoolCall(Call):
    """A function of a pool; each task brings its own arguments. config: an About."""

    def away(self) -> PoolCall:
        """The same for another executor: no worker here has its tasks."""
        return self._replace(config=self.config._replace(given=None))

    def caller(self) -> Callable[[int, Any, dict[Any, Any]], Any]:
        function, set_current, about = self.function, _current.set, self.config
        given: Mapping[int, TaskFuture] | None = about.given

        def call(number: int, item: Any, _: dict[Any, Any]) -> Any:
            # A thread may have taken a task, and come to it only after its end was told.
            if given is not None and ((future := given.get(number)) is None or future.is_over()):
                raise _cancelled("the task has ended before it began")
            set_current((function, about, number, item))
            if type(item) is tuple:
                return function(*item)
            return function(*item.args, **item.kwargs)

        return call


class Beginning:
    """The first that a worker calls. What raises is logged as concurrent.futures does it, and where it does."""

    def __init__(self, initializer: Callable[..., Any], initargs: tuple[Any, ...]) -> None:
        if not callable(initializer):
            raise TypeError("initializer must be a callable")
        self.initializer, self.initargs = initializer, tuple(initargs)

    def __call__(self) -> Any:
        try:
            return self.initializer(*self.initargs)
        except BaseException:
            import logging

            logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
            raise

    def forget(self) -> None:
        """No worker will begin any more: let go of the arguments."""
        self.initargs = ()


def _cancelled(text: str) -> BaseException:
    from concurrent.futures import CancelledError  # 10 ms, for those who cancel only

    return CancelledError(text)


def apply(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """A function that travels with its task."""
    return function(*args, **kwargs)


class PoolCalls:
    """The functions of a pool: the same object for the same function, which goes once to each worker process.

    What is not just code may have changed since the last time, and goes with each task: a bound method, an object with
    __call__. So does, in threads, what holds values: a pool must not keep these alive.
    Thread-safe: each step is a single one.
    """

    def __init__(self, pool: int, kind: str, given: Mapping[int, TaskFuture]) -> None:
        self._pool, self._kind = pool, kind
        self._apart = kind in ("process", "grid", "dask")
        self._given = None if self._apart else given
        self._kept: OrderedDict[tuple[int, int], PoolCall] = OrderedDict()

    def of(
        self, function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any] | None
    ) -> tuple[PoolCall, tuple[Any, ...]]:
        """What is called for a function, and with what."""
        found = self._kept.get((id(function), id(options)))
        if found is not None and found.function is function:
            return found, args
        if self._kind == "coroutine" and function is not apply:
            _expect_coroutine(function)
        if function is not apply and not _is_code(function, self._apart):
            function, args = apply, (function, *args)
            return self.of(function, args, options)
        about = About(_NONE if options is None else options, self._pool, self._given)
        made = PoolCall(function, CallStyle(), about, keep_exception=True)
        self._kept[id(function), id(options)] = made  # holds both, so that nothing else has these ids meanwhile
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return made, args


def _is_code(function: Any, apart: bool) -> bool:
    """It stays as it is. apart: it may hold values, which are sent once."""
    if isinstance(function, BuiltinFunctionType):
        return isinstance(function.__self__, (ModuleType, type(None)))
    if isinstance(function, FunctionType):
        return apart or not (function.__closure__ or function.__defaults__ or function.__kwdefaults__)
    return isinstance(function, (type, partial)) and (apart or not isinstance(function, partial))


def _expect_coroutine(function: Any) -> None:
    """Raises ConfigError for a function that would stop all the coroutines of a loop."""
    from worker_dispatcher.config.signature import is_coroutine_function
    from worker_dispatcher.errors import ConfigError  # workers need neither

    if not is_coroutine_function(function):
        expected = f"expected a coroutine function (async def), got {function!r}"
        why = "a plain one would stop the others; kind='thread' takes both"
        raise ConfigError([("fn", f"{expected}: {why}")], "a call of a pool of coroutines")


_current: ContextVar[tuple[Callable[..., Any], About, int, Any]] = ContextVar("worker_dispatcher.current_task")


def called_with(function: Callable[..., Any], item: Any) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """(function, args, kwargs) of a task, as the user gave them."""
    args, kwargs = (item, {}) if type(item) is tuple else (item.args, dict(item.kwargs))
    return (args[0], args[1:], kwargs) if function is apply else (function, args, kwargs)


def name_of(function: Callable[..., Any], item: Any) -> str:
    """What a task without a name of its own is called."""
    function = called_with(function, item)[0]
    while hasattr(function, "func"):  # a partial
        function = function.func
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


class CurrentTask:
    """The task that asks, as `current_task` gives it. For the thread or coroutine that runs the task, and what it
    starts with a copy of its context.

    id, name: as given to `schedule`; else a number, and the name of the function. attempt: from 1. options: read-only.
    """

    def __init__(self, function: Callable[..., Any], about: About, number: int, item: Any) -> None:
        plain = type(item) is tuple
        self.id: Any = number if plain else item.id
        self.name: str = (None if plain else item.name) or name_of(function, item)
        self.attempt: int = 1 if plain else item.attempt
        options = about.options if plain or item.options is None else item.options
        self.options: Mapping[str, Any] = MappingProxyType(dict(options))
        self._expires: float = math.inf if plain else item.expires
        self._pool = about.pool
        marks = self._marks = own_marks.get(None)
        self._seq = 0 if marks is None else abs(int(marks.running[0]))

    def remaining(self) -> float:
        """Seconds until the timeout of this attempt or the deadline of the task, whichever comes first; infinite
        without either, negative once it has passed."""
        marks = self._marks
        ends = math.inf if marks is None or marks.running[0] != self._seq else float(marks.deadline[0]) - marks.grace
        return min(ends, self._expires) - now()

    def cancelled(self) -> bool:
        """Nobody waits for the result any more: it was cancelled, or in a thread is over its time."""
        return self._marks is not None and self._marks.unwanted[0] == self._seq != 0

    def raise_if_cancelled(self) -> None:
        """Raises concurrent.futures.CancelledError where `cancelled()`."""
        if self.cancelled():
            raise _cancelled(f"task {self.name!r} was cancelled while it ran")

    def sleep(self, seconds: float) -> None:
        """Sleep, and raise as `raise_if_cancelled` does as soon as the task is cancelled. Blocks: coroutines use
        asyncio.sleep."""
        until = now() + seconds
        self.raise_if_cancelled()
        while (left := until - now()) > 0:
            sleep(min(left, _STEP))
            self.raise_if_cancelled()

    def __repr__(self) -> str:
        return f"<CurrentTask {self.name} id={self.id!r} attempt={self.attempt}>"


def current_task() -> CurrentTask | None:
    """The task of a WorkerPool that runs here, None outside of one. In the function of the task, and in whatever runs
    in its context."""
    found = _current.get(None)
    return None if found is None else CurrentTask(*found)


def run_as(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], who: tuple[Any, str, int]
) -> Any:
    """Within a task that runs others: call one of these. who: its id, its name and which attempt it is."""
    found = _current.get(None)
    if found is not None:
        _current.set((function, found[1], found[2], Item(tuple(args), kwargs, *who, None, math.inf)))
    return function(*args, **kwargs)


def pool_here() -> int:
    """The number of the pool whose task runs here, 0 for none."""
    found = _current.get(None)
    return 0 if found is None else found[1].pool
