"""Generators as jobs: the worker goes on only when somebody asks for the next value.

    consumer ── asks ──▶ Stream ── take ──▶ whoever runs it: a thread (`serve`), or a process (`relay`, `serve_far`)
             ◀─ reply ──        ◀─ answer ──
                                ◀─ finish ── the engine, once the status of the job is final

A local one has no worker: each step is made by who asks for it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from worker_dispatcher.clock import LONGEST_WAIT
from worker_dispatcher.config.signature import generator_word
from worker_dispatcher.engine.output import surroundings_of
from worker_dispatcher.engine.tether import Tether
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.execute import catch
from worker_dispatcher.pools.worker.steps import CLOSE, SEND, THROW, Steps, serve_far
from worker_dispatcher.pools.worker.surroundings import run_in, run_softly_in

if TYPE_CHECKING:
    from worker_dispatcher.engine.job import Job

_Call: TypeAlias = tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]
_BUSY = "generator already executing"


def stream_of(job: Job) -> Stream | None:
    """What passes the values of a job whose function is a generator function; None for any other."""
    if not (word := generator_word(job.func)):
        return None
    if job.where not in _STREAMS:
        text = (
            f"is {word}, whose values come from a LocalJob, a ThreadJob or a ProcessJob: return them, as in list(...)"
        )
        raise ConfigError([("func", text)], f"{type(job).__name__}()")
    return _STREAMS[job.where](job, soft="async" in word)


class Stream:
    """Between the consumer of a generator and who runs it, in a thread.

    Shared, under _mutex: _reply, _waiting, _wrapper, _end. One consumer at a time; a value whose consumer has given up
    waiting is the next one's. Waits: the runner in `take`, the consumer for its reply; `finish` ends both.
    """

    def __init__(self, job: Job, *, soft: bool) -> None:
        """soft: its function is an async one."""
        self.job, self.soft = job, soft
        self._asked: SimpleQueue[tuple[str, Any] | None] = SimpleQueue()
        self._mutex = threading.Lock()
        self._reply: Future[tuple[str, Any]] | None = None
        self._waiting = self._stopped = False
        self._wrapper: weakref.ref[GeneratorWrapper | AsyncGeneratorWrapper] | None = None
        self._end: tuple[str, Any] | None = None

    # The engine

    def begin(self, call: _Call) -> _Call | None:
        """What a worker is to call; None if there is none."""
        return self._serve, call, {}

    def stop(self) -> None:
        """Nobody wants further values."""
        self._stopped = True
        self._asked.put(None)

    def finish(self, value: Any, error: BaseException | None, *, cancelled: bool) -> None:
        """The job has ended."""
        end = ("cancelled", None) if cancelled else ("end", value) if error is None else ("error", error)
        with self._mutex:
            self._end, reply = end, self._reply
        self._asked.put(None)
        if reply is not None:
            catch(reply.set_result, end)  # it may have come just now

    def wrapper(self) -> GeneratorWrapper | AsyncGeneratorWrapper:
        """What its consumer holds: as long as there is one, always the same."""
        with self._mutex:
            found = None if self._wrapper is None else self._wrapper()
            if found is None:
                found = (AsyncGeneratorWrapper if self.soft else GeneratorWrapper)(self)
                self._wrapper = weakref.ref(found)
        return found

    def abandon(self) -> None:
        """Nobody holds the wrapper any more. Called by a garbage collector, anywhere."""
        engine = self.job.engine
        if not (self._stopped or self._end or engine is None or sys.is_finalizing()):
            engine.cancel_soon(self.job)

    # Who runs it

    def _serve(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        with Steps(function, args, kwargs, soft=self.soft) as steps:
            while (asked := self.take()) is not None:
                over, value = steps.make(*asked)
                if over:
                    return value
                self.answer(value)
        return None

    def take(self) -> tuple[str, Any] | None:
        """What is asked for; None once nobody wants anything."""
        return self._asked.get()

    def answer(self, value: Any) -> None:
        with self._mutex:
            reply = self._reply
        if reply is not None:
            catch(reply.set_result, ("item", value))

    # Its consumer

    def ask(self, how: str, value: Any = None) -> Any:
        """The next value. Raises StopIteration, or what the job has failed with, or CancelledError."""
        reply = self._ask(how, value)
        try:
            while not reply.done():
                wait([reply], LONGEST_WAIT)
        finally:
            self._waiting = False
        return self._replied(reply)

    async def ask_softly(self, how: str, value: Any = None) -> Any:
        """The same on an event loop; StopAsyncIteration."""
        reply = self._ask(how, value)
        try:
            await asyncio.shield(asyncio.wrap_future(reply))
        finally:
            self._waiting = False
        return self._replied(reply)

    def _ask(self, how: str, value: Any) -> Future[tuple[str, Any]]:
        with self._mutex:
            if self._waiting or (self._reply is not None and (how, value) != (SEND, None)):
                raise ValueError(_BUSY)
            reply, end = self._reply, self._end
            if reply is None:
                self._reply = reply = Future()
                if end is not None:
                    reply.set_result(end)
                else:
                    self._asked.put((how, value))
            self._waiting = True
        return reply

    def _replied(self, reply: Future[tuple[str, Any]]) -> Any:
        kind, value = reply.result()
        with self._mutex:
            self._reply = None
        return self._given(kind, value)

    def _given(self, kind: str, value: Any) -> Any:
        if kind == "item":
            return value
        if kind == "end":
            raise StopAsyncIteration if self.soft else StopIteration(value)
        if kind == "error":
            raise value
        raise CancelledError(f"{self.job} was cancelled")


class _FarStream(Stream):
    """The same for a process: a thread here passes on what is asked, and what comes."""

    def begin(self, call: _Call) -> _Call:
        self._tether = Tether(self.take, self.answer)
        return serve_far, (*self._tether.ends, self.soft, *call), {}

    def stop(self) -> None:
        super().stop()
        self._tether.close()

    def finish(self, value: Any, error: BaseException | None, *, cancelled: bool) -> None:
        super().finish(value, error, cancelled=cancelled)
        if hasattr(self, "_tether"):
            self._tether.close()


class _LocalStream(Stream):
    """The same without a worker: who asks makes the step."""

    def begin(self, call: _Call) -> None:
        function, args, kwargs = call
        self._attempt = self.job.attempts
        self._steps: Steps | None = Steps(function, args, kwargs, soft=self.soft)
        self._around = surroundings_of(self.job)

    def stop(self) -> None:
        super().stop()
        self._steps = None

    def ask(self, how: str, value: Any = None) -> Any:
        if (steps := self._open()) is None:
            return super().ask(how, value)
        with self._at_it():
            made, error = catch(run_in, self._around, steps.make, how, value)
        return self._told(made, error)

    async def ask_softly(self, how: str, value: Any = None) -> Any:
        if (steps := self._open()) is None:
            return await super().ask_softly(how, value)
        made, error = None, None
        with self._at_it():
            try:
                made = await run_softly_in(self._around, steps.make_softly, how, value)
            except asyncio.CancelledError:
                raise
            except BaseException as raised:
                error = raised
        return self._told(made, error)

    def _open(self) -> Steps | None:
        return self._steps if self._end is None and self.job.status == "running" else None

    def _at_it(self) -> _AtIt:
        with self._mutex:
            if self._waiting:
                raise ValueError(_BUSY)
            self._waiting = True
        return _AtIt(self)

    def rest(self) -> None:
        self._waiting = False

    def _told(self, made: tuple[bool, Any] | None, error: BaseException | None) -> Any:
        over, value = made or (True, None)
        if not over:
            return value
        self._steps = None
        assert self.job.engine is not None
        self.job.engine.end_attempt(self.job, self._attempt, error, value)
        if error is not None:
            raise error
        return self._given("end", value)


class _AtIt:
    """While a step is made by who asks for it."""

    def __init__(self, stream: _LocalStream) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._stream.rest()


class _Held:
    """The end of the wrapper is heard of."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __del__(self) -> None:
        self._stream.abandon()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._stream.job}>"

    def __reduce__(self) -> Any:
        raise TypeError("the values of a generator job cannot be sent elsewhere; send a list of them")


class GeneratorWrapper(_Held, Iterator[Any]):
    """The values of a generator that runs as a job: what the generator itself would be, here. Who lets go of it cancels
    the job. For one thread at a time."""

    def __iter__(self) -> GeneratorWrapper:
        return self

    def __next__(self) -> Any:
        return self._stream.ask(SEND)

    def send(self, value: Any) -> Any:
        return self._stream.ask(SEND, value)

    def throw(self, error: BaseException | type[BaseException]) -> Any:
        return self._stream.ask(THROW, error)

    def close(self) -> None:
        """Have it end; the job is done then."""
        _, error = catch(self._stream.ask, CLOSE)
        if error is not None and not isinstance(error, (StopIteration, CancelledError)):
            raise error


class AsyncGeneratorWrapper(_Held, AsyncIterator[Any]):
    """The same for an async generator. For one task at a time, on any event loop."""

    def __aiter__(self) -> AsyncGeneratorWrapper:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return self._stream.ask_softly(SEND)

    def asend(self, value: Any) -> Awaitable[Any]:
        return self._stream.ask_softly(SEND, value)

    def athrow(self, error: BaseException | type[BaseException]) -> Awaitable[Any]:
        return self._stream.ask_softly(THROW, error)

    async def aclose(self) -> None:
        """Have it end; the job is done then."""
        try:
            await self._stream.ask_softly(CLOSE)
        except (StopAsyncIteration, CancelledError):
            return

    close, throw, send = aclose, athrow, asend


_STREAMS = {"local": _LocalStream, "thread": Stream, "process": _FarStream}
