"""How exceptions of users are told, however odd they are."""

from __future__ import annotations

import sys

import pytest
from attempts import raised, raises, told, tried

from worker_dispatcher.execute import CHAIN_LIMIT, MESSAGE_LIMIT, TRACEBACK_LIMIT, catch, describe


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
        ended, broken = catch(tried, raises(error))
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
