"""The guard: whatever user code does comes back as a value, and every failure can be told in bounded text."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import sys

import pytest

from worker_dispatcher import execute
from worker_dispatcher.clock import Anchor
from worker_dispatcher.config import CALLBACK_NAMES, TASK_NAMES, CallStyle, call_style
from worker_dispatcher.execute import (
    CHAIN_LIMIT,
    MESSAGE_LIMIT,
    TRACEBACK_LIMIT,
    Call,
    Ended,
    attempt_async,
    attempt_run,
    call_styled,
    describe,
    failure_from,
    guarded,
)
from worker_dispatcher.pools.claims import Slot
from worker_dispatcher.records import Stretch

ANY = CallStyle(names=("id", "config", "task", "metadata"))


def call_of(function, on_done=None, **options):
    if on_done is not None:
        options |= {"on_done": on_done, "on_done_style": call_style(on_done, CALLBACK_NAMES)}
    takes_nothing = inspect.isfunction(function) and not inspect.signature(function).parameters
    return Call(function, CallStyle() if takes_nothing else call_style(function, TASK_NAMES), **options)


def tried(function, task="item", **options):
    call = call_of(function, **options)
    return attempt(call, call.caller(), 7, task)


def attempt(call, caller, task_id, task):
    """A run of one task, as `Ended`."""
    went = Stretch()
    slot = Slot(1, [0], [0.0], [0.0], [0])
    limits = {"timeout": None, "stop_at": math.inf, "until": math.inf, "forked": [False]}
    attempt_run(call, caller, iter([(1, task_id, task)]), slot, went, None, **limits)
    assert went.seqs == [1]
    return Ended(went.starts[0], went.ends[0], went.results[0], *went.apart.get(0, (None, None)))


class OneLane:
    """Lanes as an attempt sees them. ended: what it has told, by lane."""

    def __init__(self, began=1.0):
        self.began, self.ended = began, {}

    def begin(self, lane):
        return self.began

    def end(self, lane, ended):
        assert lane not in self.ended
        self.ended[lane] = ended, sys.exc_info()[1]


def tried_async(function, task="item", **options):
    call, lanes = call_of(function, **options), OneLane()
    assert asyncio.run(attempt_async(call, call.caller(), 7, task, lanes, "lane")) is None
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
        running = asyncio.ensure_future(attempt_async(call, call.caller(), 1, None, lanes, "lane"))
        await begun.wait()
        running.cancel()
        await running
        return lanes.ended

    assert asyncio.run(main()) == {"lane": (None, None)}


def test_a_coroutine_that_must_not_begin_is_not_called(clock):
    lanes, called = OneLane(began=0.0), []
    call = call_of(called.append)
    asyncio.run(attempt_async(call, call.caller(), 7, "item", lanes, "lane"))
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


def raises(error):
    def ask(given):
        raise error

    return ask


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


# guarded


def test_guarded_gives_the_result_or_what_was_raised():
    assert guarded(divmod, 7, 2) == ((3, 1), None)
    error = Own()
    assert guarded(raises(error), 1) == (None, error)
    assert guarded(lambda: ValueError("given, not raised"))[1] is None


# Telling of exceptions


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_exception_is_told_by_name_text_and_traceback():
    name, message, traceback = describe(raised(KeyError("k")))
    assert (name, message) == ("KeyError", "'k'")
    assert traceback.startswith("Traceback (most recent call last):\n")
    assert "raise error\n" in traceback
    assert traceback.endswith("KeyError: 'k'\n")


class Wordless(Exception):
    def __str__(self):
        raise SystemExit("no words")

    __repr__ = __str__


class OddText(str):
    def __getitem__(self, key):
        raise ValueError("no part of me")

    encode = __getitem__
    __len__ = __getitem__


class WithOddText(Exception):
    def __str__(self):
        return OddText("odd")


class NoText(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307


class NamelessKind(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")


class Nameless(Exception, metaclass=NamelessKind):
    pass


class NamelessKindOfNumber(type):
    __name__ = 5


class Numbered(Exception, metaclass=NamelessKindOfNumber):
    pass


class RaisesNameless(Exception):
    def __str__(self):
        raise Nameless

    @property
    def __cause__(self):
        raise Nameless


class CauseRaises(Exception):
    @property
    def __cause__(self):
        raise LookupError


class EndlessCauses(Exception):
    @property
    def __cause__(self):
        return EndlessCauses()


def told(error):
    description, broken = guarded(describe, raised(error))
    fine = broken is None  # not in the assertion itself: pytest cannot show the oddest of them
    assert fine
    assert [type(text) for text in description] == [str, str, str]
    json.dumps(description).encode("ascii")
    "".join(description).encode("utf-8")
    return description


ODD = {
    "no text": (Wordless(), "Wordless", "<its text cannot be shown: __str__ raised SystemExit>"),
    "odd text": (WithOddText(), "WithOddText", "odd"),
    "a number for a text": (NoText(), "NoText", "<its text cannot be shown: __str__ raised TypeError>"),
    "no name": (Nameless("text"), "BaseException", "text"),
    "a number for a name": (Numbered("text"), "BaseException", "text"),
    "raises what has no name": (
        RaisesNameless(),
        "RaisesNameless",
        "<its text cannot be shown: __str__ raised BaseException>",
    ),
    "a cause that raises": (CauseRaises("text"), "CauseRaises", "text"),
    "nothing": (ValueError(), "ValueError", ""),
    "two arguments": (ValueError("a", 1), "ValueError", "('a', 1)"),
    "a lone surrogate": (ValueError("\ud800 alone"), "ValueError", "\\ud800 alone"),
    "control characters": (ValueError("\0 and \u2028"), "ValueError", "\0 and \u2028"),
    "a syntax error": (SyntaxError("bad", ("f", 1, 2, "te\ud800xt", 1, 3)), "SyntaxError", "bad (f, line 1)"),
    "a name with an umlaut": (type("\u00c4rger", (Exception,), {})("a"), "\u00c4rger", "a"),
    "a long name": (type("N" * 5000, (Exception,), {})("a"), "N" * 200, "a"),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_exceptions_can_be_told(what):
    error, name, message = ODD[what]
    got_name, got_message, traceback = told(error)
    assert got_name == name
    assert got_message == message
    assert traceback


@pytest.mark.parametrize("nth", range(6))
def test_an_odd_cause_does_not_stop_the_telling(nth):
    outer = ValueError("outer")
    outer.__cause__ = (Wordless, Nameless, NoText, CauseRaises, EndlessCauses, RaisesNameless)[nth]("inner")
    name, message, traceback = told(outer)
    assert (name, message) == ("ValueError", "outer")
    assert traceback


def test_a_task_may_raise_the_oddest_exception():
    for error, name in ((Nameless("x"), "BaseException"), (RaisesNameless("x"), "RaisesNameless")):
        ended, broken = guarded(tried, raises(error))
        fine = broken is None
        assert fine
        assert ended.failure.type == name


@pytest.mark.parametrize("length", [MESSAGE_LIMIT, MESSAGE_LIMIT + 1, 3_000_000])
def test_a_long_message_keeps_its_head_and_a_long_traceback_its_end(length):
    _, message, traceback = told(ValueError("a" * (length - 1) + "z"))
    if length == MESSAGE_LIMIT:
        assert message == "a" * (length - 1) + "z"
    else:
        assert message == "a" * MESSAGE_LIMIT + f"... [{length - MESSAGE_LIMIT} more characters]"
    assert traceback.endswith("aaz\n")
    assert len(traceback) <= TRACEBACK_LIMIT // 2 + 50


def test_text_that_is_all_surrogates_stays_bounded():
    _, message, traceback = told(ValueError("\ud800" * 1_000_000))
    assert len(message) < 7 * MESSAGE_LIMIT
    assert len(traceback) < 7 * TRACEBACK_LIMIT


def test_causes_come_first_and_say_how_they_belong():
    def fails():
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                raise ValueError("second") from first
        except ValueError:
            raise TypeError("third")  # noqa: B904

    traceback = tried(fails).failure.traceback
    places = [
        traceback.index(text)
        for text in (
            "KeyError: 'first'",
            "\n\nThe above exception was the direct cause of the following exception:\n\n",
            "ValueError: second",
            "\n\nDuring handling of the above exception, another exception occurred:\n\n",
            "TypeError: third",
        )
    ]
    assert places == sorted(places)
    assert traceback.count("Traceback (most recent call last)") == 3


def test_a_context_that_was_suppressed_is_not_told():
    def fails():
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None

    assert "hidden" not in tried(fails).failure.traceback


def chain(length):
    last = Exception("number 0")
    for nth in range(1, length):
        later = Exception(f"number {nth}.")
        later.__cause__, last = last, later
    return last


def test_of_a_long_chain_the_latest_links_are_told():
    traceback = describe(chain(CHAIN_LIMIT))[2]
    assert traceback.startswith("Exception: number 0\n")
    assert "cut" not in traceback
    traceback = describe(chain(5000))[2]
    assert traceback.startswith("[earlier causes are cut]\n\nThe above exception was the direct cause")
    assert traceback.endswith("number 4999.\n")
    assert f"number {5000 - CHAIN_LIMIT}." in traceback
    assert f"number {5000 - CHAIN_LIMIT - 1}." not in traceback


def test_a_chain_that_bites_its_tail_is_told_once():
    one, two = Exception("one"), Exception("two")
    one.__cause__, two.__cause__ = two, one
    traceback = describe(one)[2]
    assert traceback.count("Exception: one") == traceback.count("Exception: two") == 1


def test_a_traceback_stays_bounded_however_many_links_are_long():
    last = None
    for nth in range(CHAIN_LIMIT):
        error = ValueError(f"{nth}" + "x" * MESSAGE_LIMIT)
        error.__cause__, last = last, error
    assert len(describe(last)[2]) <= TRACEBACK_LIMIT + 50


def test_deep_recursion_is_told_in_few_lines():
    def deep(n):
        return deep(n + 1)

    name, message, traceback = tried(lambda: deep(0)).failure[:3]
    assert name == "RecursionError"
    assert "recursion" in message
    assert "Previous line repeated" in traceback
    assert len(traceback) < 5000


def test_a_group_is_told_with_all_that_is_in_it():
    inner = ExceptionGroup("inner", [KeyError("k"), raised(Wordless())])
    name, message, traceback = told(BaseExceptionGroup("outer", [ValueError("v"), inner, KeyboardInterrupt()]))
    assert name == "BaseExceptionGroup"
    assert message == "outer (3 sub-exceptions)"
    for text in ("ValueError: v", "inner (2 sub-exceptions)", "KeyError: 'k'", "Wordless: ", "KeyboardInterrupt"):
        assert text in traceback


def test_notes_are_part_of_the_traceback():
    error = ValueError("v")
    error.add_note("while counting")
    error.__notes__.append(5)
    assert "while counting\n" in told(error)[2]


def test_telling_of_an_exception_leaves_it_as_it_was():
    error = raised(ValueError("v"))
    before = error.__traceback__
    describe(error)
    assert error.__traceback__ is before
    assert error.__cause__ is error.__context__ is None
    assert sys.exc_info() == (None, None, None)
