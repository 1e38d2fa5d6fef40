"""How a refused value is spoken of: its type, and its own text only where that is short and safe.

No user code runs here: only numbers, strings, None and classes show themselves, by the methods of the builtin types,
and paths, of the standard library's classes alone; of everything else the type is named. So a broken `__repr__` cannot
spoil a message, and no payload leaks into one.
"""

from __future__ import annotations

import numbers

from worker_dispatcher.loaded import loaded

LONGEST = 40  # characters of a string, or of a name, that a message shows
LONGEST_INPUT = 80  # of a text that is shown as a task's input: whole, since its end may tell it from others
WIDEST = 128  # bits of an int that a message shows; Python itself refuses to print very large ones


class Refused(ValueError):
    """A value does not fit its rule. The text says what was expected, what was got, and what to do."""


def got(value: object) -> str:
    """The value for "must be ..., got ...": its type, and its text where it has a short one."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {brief(value)}"
    kind, text = named(type(value)), brief(value)
    return text if text.startswith(f"{kind} of") else f"{kind} {text}".rstrip()


def brief(value: object) -> str:
    """The value's own short text, or "" where it has none that is safe to show."""
    match value:
        case None | True | False:
            return str(value)
        case type():
            return named(value)
        case str():
            return _shortened(repr(str.__str__(value)[: LONGEST + 1]))
        case bytes():
            return _shortened(repr(bytes.__getitem__(value, slice(LONGEST + 1))))
        case int():
            wide = int.bit_length(value)
            return int.__repr__(value) if wide <= WIDEST else f"int of {wide} bits"
        case numbers.Integral():
            return brief(value.__index__())
        case numbers.Real():
            return float.__repr__(float(value))
        case _:
            return ""


def input_text(item: object) -> str:
    """What is shown of a task's item: a short text or path, whole, or a number; "" for all else."""
    paths = loaded("pathlib")  # who gives paths has loaded it
    if paths and type(item) in (paths.PosixPath, paths.PurePosixPath, paths.WindowsPath, paths.PureWindowsPath):
        item = str(item)  # not of a class of the user's, whose code that would run
    if isinstance(item, str):
        return repr(str.__str__(item)) if str.__len__(item) <= LONGEST_INPUT else ""
    return brief(item) if isinstance(item, numbers.Number) else ""


def named(kind: type) -> str:
    """The name of a type, cut to a length that fits a message."""
    return _shortened(kind.__qualname__)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
