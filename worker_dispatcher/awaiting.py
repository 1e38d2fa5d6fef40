"""What a function returns in the place of its result: work that nobody has done yet; floor 1.

A lambda, a decorator or a partial may return the coroutine or the generator of somebody else. Left alone it would
count as a result, and what it was to do would never happen. A coroutine is awaited. A generator is an error in every
shape: processes could not send it, and in threads nobody would know that nothing was done.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from worker_dispatcher.contexts import adopt

# Types whose values are what they are: one look is enough for nearly all results.
PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, list, dict, tuple, set})
_NOBODY = "whose body nobody would run; return its values, as in"
_VALUES: dict[type, str] = {
    GeneratorType: f"a generator, {_NOBODY} list(...)",
    AsyncGeneratorType: f"an async generator, {_NOBODY} [one async for one in ...]",
}
_here = threading.local()
_ITERABLE_COROUTINE = 0x100  # of code.co_flags, as `inspect` has it


def await_by(run: Callable[[Any], Any] | None) -> None:
    """From now on, have this thread await by a function that resolves what it is given; None: as `settled` does."""
    _here.run = run


def settled(result: Any) -> Any:
    """The result; of a coroutine what it returns, for which it is run to its end here, on a loop of its own where no
    other was said. TypeError for a generator.

    Other awaitables stay what they are: a future belongs to a loop, and is a fair result. Runs user code: only ever
    inside the guard, in a thread without a running loop.
    """
    if type(result) in PLAIN:
        return result
    # By its type: an instance may say anything of its class.
    if not (issubclass(type(result), Coroutine) or _is_generator_based(result)):
        return _run_already(result)
    if (run := getattr(_here, "run", None)) is not None:
        return run(result)
    import asyncio  # 25 ms, for those who use it anyway

    context = copy_context()
    with asyncio.Runner() as runner:
        try:
            return runner.run(resolved(result), context=context)
        finally:
            adopt(context)


async def resolved(result: Any) -> Any:
    """The result; of whatever can be awaited, what comes of that. TypeError and user code as above."""
    while type(result) not in PLAIN and (issubclass(type(result), Awaitable) or _is_generator_based(result)):
        result = await result
    return _run_already(result)


def _run_already(result: Any) -> Any:
    if (fix := _VALUES.get(type(result))) is not None:
        raise TypeError(f"the function returned {fix}")
    return result


def _is_generator_based(result: object) -> bool:
    """True for the coroutine of a generator function that `types.coroutine` has made one."""
    return type(result) is GeneratorType and bool(result.gi_code.co_flags & _ITERABLE_COROUTINE)
