"""One attempt of a task: how its function is called, and how it ends."""

from __future__ import annotations

import asyncio
import functools
import sys

import pytest
from attempts import attempt, call_of, raises, tried

from worker_dispatcher import execute
from worker_dispatcher.call import Call, OfTask, call_styled
from worker_dispatcher.call_style import CallStyle
from worker_dispatcher.clock import Anchor
from worker_dispatcher.execute import catch, failure_from, run_task_async

ANY = CallStyle(names=("id", "config", "task", "metadata"))


class OneLane:
    """Lanes as an attempt sees them. ended: what it has told, by lane."""

    def __init__(self, began=1.0):
        self.began, self.ended = began, {}

    def begin(self, lane):
        return self.began

    def notes(self, lane):
        return {}

    def attempt(self, lane):
        return 1

    def end(self, lane, ended):
        assert lane not in self.ended
        self.ended[lane] = ended, sys.exc_info()[1]


def tried_async(function, task="item", **options):
    call, lanes = call_of(function, **options), OneLane()
    assert asyncio.run(run_task_async(call, call.caller(), 7, task, lanes, "lane")) is None
    ended, about = lanes.ended["lane"]
    assert about is None  # what the end of a task leads to is no consequence of its error
    return ended


@pytest.fixture
def clock(monkeypatch):
    """The guard's clock tells 11, 12, 13, ..."""
    moments = iter(range(11, 100))
    monkeypatch.setattr(execute, "now", lambda: next(moments))


# How a task function is called


def test_a_function_gets_exactly_what_it_names():
    seen = []
    config = {"k": 1}

    def full(id, config, task, metadata):
        seen.append((id, config, task, metadata))

    def some(task, id):
        seen.append((id, task))

    for function in (full, some, seen.append, lambda **all: seen.append(all)):
        assert tried(function, config=config).failure is None
    every = {"id": 7, "config": config, "task": "item", "metadata": {}}
    assert seen == [(7, config, "item", {}), (7, "item"), "item", every]
    assert seen[0][1] is config


@pytest.mark.parametrize(
    "style", [CallStyle(True), CallStyle(), CallStyle(names=("config", "task")), ANY, CallStyle(names=ANY.names[::-1])]
)
def test_every_style_has_a_caller_that_calls_just_so(style):
    got = []

    def record(*values, **named):
        got.append((values, named))
        return "made"

    call = Call(record, style, config="c")
    assert call.caller()(3, "t", {}) == "made"
    known = {"id": 3, "config": "c", "task": "t", "metadata": {}}
    assert got == [(("t",), {}) if style.positional else ((), {name: known[name] for name in style.names})]


@pytest.mark.parametrize(
    ("function", "spared"),
    [
        (lambda task: (task, 0), True),
        (lambda task, other=0: (task, other), True),
        (lambda task, *rest: (task, len(rest)), True),
        (lambda other=0, task=None: (task, other), False),
        (lambda *rest, task: (task, len(rest)), False),
        (functools.partial(lambda other, task: (task, other), 0), False),
    ],
)
def test_a_function_whose_first_parameter_is_the_task_is_called_by_position(function, spared):
    caller = call_of(function).caller()
    assert caller(3, "t", {}) == ("t", 0)
    assert isinstance(caller, OfTask) is spared


def test_a_callback_is_called_as_its_signature_asks():
    known = {"id": 1, "result": 2}
    assert call_styled(lambda x: ("alone", x), CallStyle(True), "main", known) == ("alone", "main")
    assert call_styled(lambda **named: named, CallStyle(names=("result",)), "main", known) == {"result": 2}


# One attempt


def test_an_attempt_tells_when_the_function_ended_and_what_it_gave(clock):
    assert tried(lambda task: [task]) == (11, 12, ["item"], None, None)


def test_an_attempt_that_fails_ended_when_it_raised(clock):
    ended = tried(lambda: 1 / 0)
    assert ended[:3] == (11, 12, None)
    assert ended.failure[:2] == ("ZeroDivisionError", "division by zero")
    assert ended.failure.exception is None
    assert ended.failure.retry


@pytest.mark.parametrize("end", [lambda: None, lambda: 1 / 0])
def test_metadata_that_was_set_is_kept_however_the_task_ended(end):
    def task(metadata):
        metadata["a"] = 1
        end()

    assert tried(task).metadata == {"a": 1}
    assert tried(lambda metadata: end()).metadata is None


def test_each_attempt_has_metadata_of_its_own():
    call = call_of(lambda metadata: metadata.setdefault("n", []).append(1))
    caller = call.caller()
    first, second = attempt(call, caller, 1, None), attempt(call, caller, 2, None)
    assert first.metadata == second.metadata == {"n": [1]}
    assert first.metadata is not second.metadata


class OddTruth:
    def __bool__(self):
        raise RuntimeError("neither")

    __eq__ = __len__ = __bool__
    __hash__ = None


@pytest.mark.parametrize("run", [tried, tried_async])
def test_a_result_is_never_asked_whether_it_is_true(run):
    value = OddTruth()

    def plain():
        return value

    async def coroutine():
        return value

    function = plain if run is tried else coroutine
    assert run(function).result is value
    assert run(function, on_done=lambda result: result).result is value


class Own(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Own("mine"), StopAsyncIteration()]
)
@pytest.mark.parametrize("run", [tried, tried_async])
def test_whatever_a_task_raises_is_that_task_s_error(error, run):
    async def coroutine():
        raise error

    def plain():
        raise error

    ended = run(plain if run is tried else coroutine, keep_exception=True)
    assert ended.failure.type == type(error).__name__
    assert ended.failure.exception is error
    assert ended.result is None


# on_done


def test_on_done_makes_the_result_and_sees_the_log_as_it_stands(clock):
    def task(metadata):
        metadata["m"] = 1
        return 5

    def on_done(id, config, result, log):
        return id, config, result, log

    ended = tried(task, on_done=on_done, config="c", anchor=Anchor(wall=1000.0, monotonic=1.0))
    log = {"task_id": 7, "started_at": 1010.0, "ended_at": 1011.0, "duration": 1, "result": 5, "metadata": {"m": 1}}
    log |= {"status": "ok", "attempts": 1}
    assert ended == (11, 12, (7, "c", 5, log), None, {"m": 1})


def test_on_done_may_add_to_the_metadata():
    assert tried(lambda: 5, on_done=lambda log: log["metadata"].update(late=1)).metadata == {"late": 1}


@pytest.mark.parametrize(("run", "started"), [(tried, 11), (tried_async, 1.0)])
def test_what_on_done_raises_is_the_task_s_error_and_its_time_is_the_function_s(run, started, clock):
    def plain():
        return 5

    async def coroutine():
        return 5

    def on_done(result):
        raise SystemExit(result)

    ended = run(plain if run is tried else coroutine, on_done=on_done)
    assert ended[:3] == (started, 11 + (run is tried), None)
    assert ended.failure[:2] == ("SystemExit", "5")


def test_on_done_does_not_see_a_failed_attempt():
    seen = []
    assert tried(lambda: 1 / 0, on_done=seen.append).failure.type == "ZeroDivisionError"
    assert seen == []


def test_on_done_of_a_coroutine_may_be_one():
    async def task(task):
        await asyncio.sleep(0)
        return task

    async def on_done(result):
        await asyncio.sleep(0)
        return [result]

    assert tried_async(task, on_done=on_done).result == ["item"]
    assert tried_async(task, on_done=lambda result: (result,)).result == ("item",)

    async def fails(result):
        raise KeyError(result)

    assert tried_async(task, on_done=fails).failure[:2] == ("KeyError", "'item'")


# Coroutines


def test_a_coroutine_that_cancels_itself_has_failed(clock):
    async def task():
        raise asyncio.CancelledError("own")

    ended = tried_async(task)
    assert ended[:3] == (1.0, 11, None)
    assert ended.failure[:2] == ("CancelledError", "own")


def test_a_coroutine_that_is_cancelled_from_outside_says_only_that():
    async def main():
        begun, lanes = asyncio.Event(), OneLane()

        async def task():
            begun.set()
            await asyncio.Event().wait()

        call = call_of(task)
        running = asyncio.ensure_future(run_task_async(call, call.caller(), 1, None, lanes, "lane"))
        await begun.wait()
        running.cancel()
        await running
        return lanes.ended

    assert asyncio.run(main()) == {"lane": (None, None)}


def test_a_coroutine_that_must_not_begin_is_not_called(clock):
    lanes, called = OneLane(began=0.0), []
    call = call_of(called.append)
    asyncio.run(run_task_async(call, call.caller(), 7, "item", lanes, "lane"))
    assert called == []
    assert lanes.ended == {}


def test_a_coroutine_that_could_not_be_called_has_failed():
    def not_one():
        raise LookupError("before the first await")

    assert tried_async(not_one).failure[:2] == ("LookupError", "before the first await")
    assert tried_async(lambda: 5).failure.type == "TypeError"


# retry_on


class OddCheck(type):
    def __instancecheck__(cls, instance):
        raise RuntimeError("cannot tell")


class NeverSure(Exception, metaclass=OddCheck):
    pass


@pytest.mark.parametrize(
    ("retry_on", "allowed"),
    [
        (None, True),
        ((), False),
        ((LookupError,), True),
        ((OSError, KeyError), True),
        ((OSError, IndexError), False),
        (lambda error: error.args == ("k",), True),
        (lambda error: [], False),
        (lambda error: OddTruth(), False),
        (raises(ValueError()), False),
        (raises(SystemExit()), False),
        (raises(KeyboardInterrupt()), False),
        (lambda: True, False),
    ],
)
def test_retry_on_decides_while_the_exception_is_at_hand(retry_on, allowed):
    assert tried(lambda: {}["k"], retry_on=retry_on).failure.retry is allowed


def test_retry_on_whose_check_raises_allows_nothing_and_hides_nothing():
    failure = tried(lambda: {}["k"], retry_on=(NeverSure,)).failure
    assert failure[:2] == ("KeyError", "'k'")
    assert not failure.retry


def test_the_exception_is_kept_only_when_asked_for():
    error = ValueError("x")
    assert failure_from(Call(len, ANY), error).exception is None
    assert failure_from(Call(len, ANY, keep_exception=True), error).exception is error


# catch


def test_guarded_gives_the_result_or_what_was_raised():
    assert catch(divmod, 7, 2) == ((3, 1), None)
    error = Own()
    assert catch(raises(error), 1) == (None, error)
    assert catch(lambda: ValueError("given, not raised"))[1] is None
