"""What an option may be. A rule says its type for the option table, checks a value, and returns it in one form.

After a rule has accepted, numbers are Python's own (numpy's are converted), `False` for "no callback" is None, and an
exception class is a tuple of one. A refusal says what was expected, what was got, and what to write instead.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from worker_dispatcher.config.describe import Refused, brief, got
from worker_dispatcher.config.signature import generator_word, is_coroutine_function
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.units import seconds_in

LONGEST_WAIT = 1e9  # seconds, about 31 years; above it the system's own waits overflow


class Rule(NamedTuple):
    """kind: the type as the option table says it; accept: returns the value to keep, or raises Refused."""

    kind: str
    accept: Callable[[Any], Any]


def anything() -> Rule:
    """No rule: the value is the user's own business, and is kept as the same object."""
    return Rule("anything", lambda value: value)


def flag(none: str = "", *, word: str = "") -> Rule:
    """True or False; 1 and 0 are numbers. none: what None means; empty where it is a forgotten value. word: what else
    it may be."""
    expected = f"True, False or None ({none})" if none else f"True, False or {word!r}" if word else "True or False"

    def accept(value: object) -> bool | str | None:
        if value is True or value is False or (none and value is None):
            return value
        if word and isinstance(value, str) and str.__str__(value) == word:
            return word
        raise Refused(f"must be {expected}, got {got(value)}")

    return Rule("bool or None" if none else f"bool or {word!r}" if word else "bool", accept)


def number(
    fix: str,
    *,
    unit: str = "",
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    optional: bool = False,
) -> Rule:
    """A finite number, kept as int or float. fix: what to write instead, with its unit."""
    bounds = _Bounds(least, above, most, optional)

    def accept(value: object) -> int | float | None:
        if optional and value is None:
            return None
        checked: int | float = bounds.checked(_real(value, f"a number{unit and f' of {unit}'}{bounds}", fix), fix)
        return checked

    return Rule(f"{unit or 'number'}{bounds}", accept)


def seconds(fix: str, *, least: float | None = None, optional: bool = False) -> Rule:
    """A length of time: seconds, or a text such as '5min'; kept as a float; above 0 unless `least` says from where."""
    above = 0.0 if least is None else None
    plain = number(fix, unit="seconds", least=least, above=above, optional=optional)

    def accept(value: object) -> float | None:
        if isinstance(value, str) and (value := seconds_in(text := str.__str__(value))) is None:
            raise Refused(f"must be a time such as 2.5, '250ms' or '5min', got {got(text)}; {fix}")
        length = plain.accept(value)
        if length is not None and length > LONGEST_WAIT:
            raise Refused(f"must be <= 1e9 (31 years), got {brief(length)}; {fix}")
        return None if length is None else float(length)

    return Rule(plain.kind, accept)


_MOST = 1 << 1024  # a seed may have some hundred bits


def whole(fix: str, *, least: int, optional: bool = False) -> Rule:
    """A whole number, kept as an int; 3.0 is refused as a likely slip."""
    bounds = _Bounds(least, None, None, optional)

    def accept(value: object) -> int | None:
        if optional and value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise Refused(f"must be a whole number{bounds}, got {got(value)}; {fix}")
        checked: int = bounds.checked(operator.index(value), fix)
        return _printable(checked, fix)

    return Rule(f"int{bounds}", accept)


def _printable(number: int, fix: str) -> int:
    """A number as it is, unless it has so many digits that Python refuses to print it."""
    if number >= _MOST:
        raise Refused(f"must be < 2**1024, got {brief(number)}; {fix}")
    return number


_UNITS = {name: 1000**nth for nth, name in enumerate(("b", "kb", "mb", "gb", "tb"))}
_UNITS |= {name: 1024**nth for nth, name in enumerate(("kib", "mib", "gib", "tib"), 1)}


def size(fix: str) -> Rule:
    """A number of bytes, kept as an int: a whole number or a text such as '2GB'; or None. fix: what to write."""
    bounds = _Bounds(1, None, None, True)

    def accept(value: object) -> int | None:
        if value is None:
            return None
        if isinstance(value, str):
            return _bytes_in(str.__str__(value), fix)
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise Refused(f"must be a whole number of bytes, or a text such as '2GB', got {got(value)}; {fix}")
        checked: int = bounds.checked(operator.index(value), fix)
        return _printable(checked, fix)

    return Rule("bytes, text such as '2GB', or None", accept)


def _bytes_in(text: str, fix: str) -> int:
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d+)?)\s*([A-Za-z]+)\s*", text, re.ASCII)
    factor = _UNITS.get(found[2].lower()) if found else None
    if found is None or factor is None:
        raise Refused(f"must be a number and one of B, KB, MB, GB, TB, KiB, MiB, GiB, TiB, got {got(text)}; {fix}")
    if (amount := int(float(found[1]) * factor)) < 1:
        raise Refused(f"must be at least one byte, got {got(text)}; {fix}")
    return amount


def one_of(*words: str, optional: bool = False) -> Rule:
    """One of some words, of which there are more than one."""
    *others, last = [*map(repr, words), *["None"] * optional]
    expected = f"{', '.join(others)} or {last}"

    def accept(value: object) -> str | None:
        if optional and value is None:
            return None
        if isinstance(value, str) and str.__str__(value) in words:
            return str.__str__(value)
        raise Refused(f"must be {expected}, got {got(value)}")

    return Rule(expected, accept)


def texts(fix: str) -> Rule:
    """Any number of texts, kept as a tuple; one may stand alone."""

    def accept(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, tuple | list):
            raise Refused(f"must be a list of texts, got {got(value)}; {fix}")
        for one in value:
            if not isinstance(one, str):
                raise Refused(f"must be a list of texts, got {got(one)} in it; {fix}")
        return tuple(value)

    return Rule("list of texts", accept)


def path(fix: str) -> Rule:
    """The path of a file, kept as a string; None for none. It is not looked at."""

    def accept(value: object) -> str | None:
        if value is None:
            return None
        named = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        if not isinstance(named, str):
            raise Refused(f"must be a path or None, got {got(value)}; {fix}")
        if not named or "\0" in named:
            raise Refused(f"must be the path of a file, got {got(named)}; {fix}")
        return str.__str__(named)

    return Rule("path or None", accept)


# How a function wants to be called is asked once all is read: see `Reading.look_at_functions`.


def _function(value: object, expected: str, fix: str, *, returns: str, awaits: str = "") -> Callable[..., Any]:
    """A callable that does its work when it is called. returns: what to write in the place of a generator, whose body
    nobody would run; awaits: in that of a coroutine function, where one makes no sense."""
    if not callable(value):
        raise Refused(f"must be {expected}, got {got(value)}; {fix}")
    if awaits and is_coroutine_function(value):
        raise Refused(f"must be a plain function, got a coroutine function; {awaits}")
    if word := generator_word(value):
        raise Refused(f"must be a function that runs when it is called, got {word}; {returns}")
    return value


def task_function() -> Rule:
    """A callable that does its work when it is called."""
    fix, returns = (
        "give the function itself, or leave it out for the sample",
        "return its values, as in `return list(...)`",
    )
    return Rule("callable", partial(_function, expected="callable", fix=fix, returns=returns))


def hook() -> Rule:
    """A callable that is called once for each worker; or None."""
    fix, returns = "give the function itself", "return the state; what is to happen at the end goes in worker.exit"

    def accept(value: object) -> Callable[..., Any] | None:
        return None if value is None else _function(value, "callable or None", fix, returns=returns)

    return Rule("callable or None", accept)


def callback() -> Rule:
    """A plain callable, whose return value becomes the result; False and None, kept as None, mean there is none."""
    expected, fix = "callable, or False for no callback", "give the function itself"

    def accept(value: object) -> Callable[..., Any] | None:
        if value is None or value is False:
            return None
        return _function(value, expected, fix, returns="return the result", awaits="await in 'task.function' instead")

    return Rule("callable or False", accept)


def retryable() -> Rule:
    """Which failures are tried again: exception classes, kept as a tuple, or a plain function of the exception."""
    expected = "exception classes, callable or None"
    fix = "give an exception class, a tuple of them, or a function of the exception"

    def accept(value: object) -> tuple[type[BaseException], ...] | Callable[..., Any] | None:
        if value is None:
            return None
        if isinstance(value, tuple | list | type):
            return _exception_classes([value] if isinstance(value, type) else value, fix)
        # A coroutine or generator is truthy: every failure would be tried again.
        return _function(value, expected, fix, returns="return True or False", awaits=fix)

    return Rule(expected, accept)


def lender() -> Rule:
    """A pool that is kept, and open, as the same object; or None."""
    expected, fix = "a WorkerPool or None", "give the pool itself, or leave it out for workers of the run's own"

    def accept(value: object) -> Any:
        if value is not None and not callable(getattr(type(value), "lend", None)):
            raise Refused(f"must be {expected}, got {got(value)}; {fix}")
        if value is not None and getattr(value, "closed", False):
            raise Refused(
                "must be a pool that is open, got one that was shut down, or is that of another process; make a new one"
            )
        return value

    return Rule("WorkerPool or None", accept)


def backend() -> Rule:
    """'local', kept as None, or a dict that describes a cluster, kept as a Backend."""

    def accept(value: object) -> Any:
        if value is None or (isinstance(value, str) and str.__str__(value) == "local"):
            return None
        from worker_dispatcher.config.backend import parsed  # here, since most configs have none

        return parsed(value)

    return Rule("'local' or dict", accept)


def items() -> Rule:
    """The tasks: any iterable, kept as the same object and not looked into, a count, kept as an int, or None."""
    return Rule("iterable or int >= 0", _items)


def _items(value: Any) -> Iterable[Any] | int | None:
    if value is None or type(value) in (list, tuple, range):
        tasks: Iterable[Any] | None = value
        return tasks  # whether None makes sense is seen together with other options
    fix = "give an iterable of tasks, or how many tasks to make"
    if isinstance(value, str | bytes | bytearray):
        # Its characters would become the tasks. The text may be the payload itself, so it is not shown.
        raise Refused(f"must be an iterable of tasks, got {type(value).__name__}; write [value] to make it one task")
    if isinstance(value, bool) or (isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral)):
        raise Refused(f"must be an iterable or a whole count, got {got(value)}; {fix}")
    if isinstance(value, numbers.Integral):
        if (count := operator.index(value)) < 0:
            raise Refused(f"must be >= 0, got {brief(count)}; {fix}")
        return _printable(count, fix)
    if not _iterable(value):
        raise Refused(f"must be an iterable or a count, got {got(value)}; {_items_fix(value) or fix}")
    if rows := _rows_of_frame(type(value)):
        raise Refused(f"a {type(value).__name__} gives its columns when it is iterated, not its rows; give {rows}")
    iterable: Iterable[Any] = value
    return iterable


def _iterable(value: object) -> bool:
    """True if `iter(value)` should work; it is not tried, for that would start a user's `__iter__`."""
    dimensions = getattr(value, "ndim", None)
    if type(dimensions) is int and dimensions == 0:  # an array without a length says that it is iterable, but is not
        return False
    kind = type(value)
    old_sequence = hasattr(kind, "__getitem__") and getattr(kind, "__iter__", True) is not None
    return isinstance(value, Iterable) or (old_sequence and not isinstance(value, Mapping))


def _rows_of_frame(kind: type) -> str:
    """How to ask a frame (pandas, polars, pyarrow) for its rows; "" for all else. None of them is imported."""
    names = set().union(*map(vars, kind.__mro__))  # not hasattr, which may run code of the user's
    if "itertuples" in names:
        return "df.itertuples()"
    if {"iter_rows", "get_columns"} <= names:
        return "df.iter_rows()"
    return "table.to_pylist()" if {"itercolumns", "to_pylist"} <= names else ""


def _items_fix(value: object) -> str:
    if hasattr(type(value), "__aiter__"):
        return "collect it into a list first; asynchronous iterables cannot be drawn from here"
    if hasattr(value, "ndim"):
        return "write [value] to make it one task"
    return "call it, if it makes the tasks" if callable(value) else ""


def _exception_classes(values: Sequence[object], fix: str) -> tuple[type[BaseException], ...]:
    if not values:
        raise Refused(f"must name at least one exception class, got none; {fix}, or retries=0 for no retries")
    classes = tuple(v for v in values if isinstance(v, type) and issubclass(v, BaseException))
    if len(classes) != len(values):
        stranger = next(v for v in values if not (isinstance(v, type) and issubclass(v, BaseException)))
        raise Refused(f"must be exception classes, callable or None, got {got(stranger)}; {fix}")
    return classes


def _real(value: object, expected: str, fix: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise Refused(f"must be {expected}, got {got(value)}; {fix}")
    if isinstance(value, numbers.Integral):
        return operator.index(value)
    try:
        plain = float(value)
    except OverflowError:
        plain = math.inf
    if not math.isfinite(plain):
        raise Refused(f"must be a finite number, got {plain}; {fix}")
    return plain


class _Bounds(NamedTuple):
    least: float | None
    above: float | None
    most: float | None
    optional: bool

    def __str__(self) -> str:
        above = "" if self.above is None else f" > {self.above:g}"
        least = "" if self.least is None else f" >= {self.least:g}"
        most = "" if self.most is None else f", <= {self.most:g}"
        return f"{above}{least}{most}{' or None' if self.optional else ''}"

    def checked(self, value: Any, fix: str) -> Any:
        if self.above is not None and value <= self.above:
            raise Refused(f"must be > {self.above:g}, got {brief(value)}; {fix}")
        if self.least is not None and value < self.least:
            raise Refused(f"must be >= {self.least:g}, got {brief(value)}; {fix}")
        if self.most is not None and value > self.most:
            raise Refused(f"must be <= {self.most:g}, got {brief(value)}; {fix}")
        return value
