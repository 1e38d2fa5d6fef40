"""Which function, which config and which items a journal is about.

An item's digest is that of its pickle, made so that equal items of equal structure give equal bytes in every process:

* without the pickle's memo, so that it does not matter whether two equal strings are one object;
* a set counts as the sorted digests of its members, since its order changes from process to process;
* large buffers (arrays) are hashed where they lie, not copied.

What does count: types (1, 1.0 and True are three items), the order of dicts, the layout of arrays. An item that holds
itself cannot be written without the memo; there, strings and bytes are told by their digests instead.
Pickling runs code of the item's classes.
"""

from __future__ import annotations

import dataclasses
import enum
import pickle
import types
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

from worker_dispatcher.tracebacks import own

DIGEST_SIZE = 8  # bytes; two different items at one place in two lists agree by chance once in 1.8e19
_SETS = (b"\x8f", b"\x91")  # EMPTY_SET, FROZENSET: if neither byte is in a pickle, no set is


class NoDigest(Exception):
    """The item at `index` cannot be pickled by name and value; `error` says why."""

    def __init__(self, index: int, error: BaseException) -> None:
        self.index, self.error = index, error
        super().__init__(index, error)


def digests(items: Iterable[Any]) -> bytes:
    """DIGEST_SIZE bytes for each item. Raises NoDigest. Costs about 1.5 us a small item."""
    found: list[bytes] = []
    parts: list[Any] = []
    buffers: list[pickle.PickleBuffer] = []
    pickler = _pickler(pickle.Pickler, parts, buffers)
    empty_set, frozen_set = _SETS
    for item in items:
        try:
            try:
                pickler.dump(item)
                head = parts[0]
                if len(parts) > 1 or buffers or empty_set in head or frozen_set in head:
                    sets = any(mark in part for part in parts for mark in _SETS)
                    one = _digest(_Canonical, item) if sets else _hash(parts, buffers)
                else:
                    one = blake2b(head, digest_size=DIGEST_SIZE).digest()
            except own(ValueError, RecursionError):  # it holds itself; no other error may change how an item is told
                parts, buffers = [], []
                pickler = _pickler(pickle.Pickler, parts, buffers)
                one = _digest(_Atomless, item, fast=False, person=b"memo")
        except KeyboardInterrupt:
            raise
        except own(BaseException) as error:  # whatever the item's classes raise
            raise NoDigest(len(found), error) from None
        found.append(one)
        parts.clear()
        buffers.clear()
    return b"".join(found)


def _pickler(
    kind: type[pickle.Pickler], parts: list[Any], buffers: list[pickle.PickleBuffer], *, fast: bool = True
) -> pickle.Pickler:
    """fast: without the memo."""
    pickler = kind(types.SimpleNamespace(write=parts.append), 5, buffer_callback=buffers.append)
    pickler.fast = fast
    return pickler


def _digest(kind: type[pickle.Pickler], item: Any, *, fast: bool = True, person: bytes = b"") -> bytes:
    parts: list[Any] = []
    buffers: list[pickle.PickleBuffer] = []
    _pickler(kind, parts, buffers, fast=fast).dump(item)
    return _hash(parts, buffers, person)


def _hash(parts: Sequence[Any], buffers: Sequence[pickle.PickleBuffer], person: bytes = b"") -> bytes:
    state = blake2b(digest_size=DIGEST_SIZE, person=person)
    for part in parts:
        state.update(part)
    for buffer in buffers:
        with buffer.raw() as view:
            state.update(len(view).to_bytes(8, "little"))
            state.update(view)
    return state.digest()


class _Canonical(pickle.Pickler):
    """Writes a set as the digest of its members. A number, since numbers are never kept in the memo."""

    def persistent_id(self, value: Any) -> int | None:
        if type(value) is not set and type(value) is not frozenset:
            return None
        members = b"".join(sorted(digests([member]) for member in value))
        return _number(type(value).__name__.encode() + members)


class _Atomless(_Canonical):
    """Writes strings and bytes as their digests, so that the memo holds nothing that may or may not be one object."""

    def persistent_id(self, value: Any) -> int | None:
        if type(value) is str:
            return _number(b"str" + value.encode("utf-8", "surrogatepass"))
        if type(value) is bytes:
            return _number(b"bytes" + value)
        return super().persistent_id(value)


def _number(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=16).digest(), "little")


def told(error: BaseException) -> str:
    """Type and text of what a class of the user raised; its own text may fail as well."""
    try:
        text = str(error)
    except BaseException:
        text = "<its text cannot be shown>"
    return f"{type(error).__name__}: {text}"[:300]


def name_of(function: Callable[..., Any]) -> str:
    """Module and qualified name; of a callable object, those of its class."""
    if isinstance(function, partial):
        return f"partial({name_of(function.func)})"
    kinds = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)
    named = function if isinstance(function, kinds) else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def code_of(function: Callable[..., Any]) -> str:
    """A digest of the function's code, to tell that it has changed; empty where there is none to be seen."""
    while isinstance(function, partial | types.MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    named = function if isinstance(function, types.FunctionType) else vars(type(function)).get("__call__")
    if not isinstance(named, types.FunctionType):
        return ""
    code = named.__code__
    return blake2b(_code_text(code).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def _code_text(code: types.CodeType) -> str:
    constants = []
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            constants.append(_code_text(one))
        else:  # the order of a frozenset changes from process to process
            constants.append(repr(sorted(map(repr, one))) if isinstance(one, frozenset) else repr(one))
    return repr((code.co_code, code.co_names, code.co_varnames, constants))


_MOST_VALUES = 100_000  # of a config that are looked at; 0.2 s
_ATOMS = (type(None), bool, int, float, complex, str, bytes, bytearray, range)
_MODULES_OF_VALUES = {"datetime", "decimal", "fractions", "ipaddress", "pathlib", "pathlib._local", "re", "uuid"}


def config_of(config: Any) -> str:
    """A digest of task.config, to tell that it has changed; empty where there is too much in it to look at.

    Two configs that say the same have the same digest, in any process: the order of dicts and sets does not count, and
    of what is no plain value only the name of its class does (a session, a client, a lock: what is in those is seldom
    the same twice). Pickles nothing.
    """
    try:
        text = repr(_plain(config, [_MOST_VALUES], ()))
    except own(_TooMuch, RuntimeError):  # too deep, or it changes while it is looked at
        return ""
    return blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


class _TooMuch(Exception):
    """More values than are looked at."""


def _plain(value: Any, left: list[int], inside: tuple[int, ...]) -> tuple[object, ...]:
    """A value as nested tuples of text. left: how many more may be looked at; inside: the ids of what it is in."""
    left[0] -= 1
    if left[0] < 0:
        raise _TooMuch
    kind = type(value)
    if isinstance(value, enum.Enum | type | types.FunctionType | types.ModuleType):
        name = value._name_ if isinstance(value, enum.Enum) else getattr(value, "__qualname__", value.__name__)
        return kind.__qualname__, str(name)
    if isinstance(value, _ATOMS) or kind.__module__ in _MODULES_OF_VALUES:
        text = _text_of_atom(value)
        return kind.__qualname__, "" if " at 0x" in text and not isinstance(value, str) else text
    if id(value) in inside:
        return kind.__qualname__, "itself"
    inside = *inside, id(value)
    if isinstance(value, list | tuple):
        return kind.__qualname__, [_plain(one, left, inside) for one in value]
    if isinstance(value, set | frozenset):
        return kind.__qualname__, sorted(repr(_plain(one, left, inside)) for one in value)
    named = _named(value)
    pairs = [repr((_plain(name, left, inside), _plain(one, left, inside))) for name, one in named]
    return kind.__qualname__, sorted(pairs)


def _text_of_atom(value: Any) -> str:
    if isinstance(value, int):
        return format(int(value), "x")  # in decimals Python refuses the largest
    base: Any = next((base for base in _ATOMS if isinstance(value, base)), type(value))
    return str(base.__repr__(value))


def _named(value: Any) -> list[tuple[Any, Any]]:
    """What a dict, a namespace or a dataclass holds; nothing for all else."""
    if isinstance(value, dict):
        return list(dict.items(value))
    kind = type(value)
    if kind is types.SimpleNamespace or (kind.__module__, kind.__name__) == ("argparse", "Namespace"):
        return list(vars(value).items())
    if not dataclasses.is_dataclass(kind):
        return []
    fields = [one.name for one in dataclasses.fields(value) if one.init and one.compare]
    return [(name, getattr(value, name)) for name in fields if hasattr(value, name)]
