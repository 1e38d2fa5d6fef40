"""parse under arbitrary nested junk: a Config or a ConfigError, nothing else, and the input as it was."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rounds import examples

from worker_dispatcher.config.declare import options, walk
from worker_dispatcher.config.describe import Refused
from worker_dispatcher.config.legacy import LEGACY
from worker_dispatcher.config.options import Config
from worker_dispatcher.config.parse import merged, parse
from worker_dispatcher.config.signature import TASK_NAMES, call_style
from worker_dispatcher.errors import ConfigError

PATHS = [path for path, _ in walk(Config)] + sorted(LEGACY)
NAMES = sorted({path.rpartition(".")[2] for path in PATHS})


class Hostile:
    """Breaks when used; hypothesis itself needs only its attributes and its repr."""

    def _breaks(self, *values: object, **named: object) -> Any:
        raise RuntimeError("used")

    __eq__ = __bool__ = __len__ = __iter__ = __index__ = __float__ = __call__ = __lt__ = __le__ = __gt__ = _breaks
    __hash__ = object.__hash__


class HostileNumber(Hostile):
    """Says that it is a number."""


Integral.register(HostileNumber)
HOSTILE = Hostile()
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.complex_numbers(),
    st.fractions(),
    st.decimals(),
    st.sampled_from([np.int64(3), np.float32("nan"), np.bool_(True), np.array(3)]),
    st.integers(15_000, 16_000).map(lambda bits: 1 << bits),  # too long for Python to print
    st.sampled_from([len, int, print, object, ValueError, Config, lambda: 1, lambda x, y: 1, lambda task: 1]),
    st.sampled_from(["record", "raise", "spawn"]),
    st.sampled_from([HOSTILE, HostileNumber()]),
)
keys = st.one_of(
    st.sampled_from(NAMES), st.sampled_from(PATHS), st.text(max_size=8), st.integers(), st.none(), st.booleans()
)
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=20,
)


def nested(pairs: dict[str, Any]) -> dict[str, Any]:
    """Junk at known places, so that the rules are reached as well."""
    raw: dict[str, Any] = {}
    for path, value in pairs.items():
        *sections, name = path.split(".")
        place = raw
        for step in sections:
            inner = place.setdefault(step, {})
            if not isinstance(inner, dict):
                break
            place = inner
        else:
            place[name] = value
    return raw


placed = st.dictionaries(st.sampled_from(PATHS), junk, max_size=4).map(nested)


def picture(value: object) -> object:
    """The value in a form that can be compared with ==: NaN equals itself, and no user code is run."""
    if type(value) is dict:
        return [(picture(key), picture(inner)) for key, inner in value.items()]
    return [picture(inner) for inner in value] if type(value) is list else (type(value), id(value))


@settings(max_examples=examples(300))
@given(st.one_of(junk, placed))
@example({"worker": HOSTILE, "runtime": HostileNumber(), "task": {"list": HOSTILE, "function": HOSTILE}})
def test_a_config_or_a_config_error_comes_out_and_the_input_stays_as_it_was(raw: Any) -> None:
    before = picture(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            assert isinstance(parse(raw), Config)
        except ConfigError as error:
            check(error)
    assert picture(raw) == before


def check(error: ConfigError) -> None:
    assert error.problems
    for path, text in error.problems:
        assert path
        assert path.isprintable()
        assert text
        assert "\n" not in text
        assert len(text) < 400
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@settings(max_examples=examples(200))
@given(placed)
def test_merged_accepts_and_refuses_what_parse_does_and_its_result_parses_the_same(raw: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert problems_of(merged, raw) == problems_of(parse, raw)
        if not problems_of(parse, raw):
            assert repr(parse(merged(raw))) == repr(parse(raw))


def problems_of(read: Callable[[Any], object], raw: object) -> tuple[tuple[str, str], ...]:
    try:
        read(raw)
    except ConfigError as error:
        return error.problems
    return ()


numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none())


@given(st.sampled_from(sorted(options(Config))), numbers)
def test_a_number_that_is_accepted_is_finite_and_keeps_its_value(path: str, value: Any) -> None:
    rule = options(Config)[path].rule
    try:
        found = rule.accept(value)
    except Refused:
        return
    if path != "task.config" and type(found) in (int, float):
        assert found == value
        assert abs(found) < float("inf")


parameters = st.lists(
    st.tuples(
        st.sampled_from([*TASK_NAMES, "x", "y", "z"]),
        st.booleans(),
    ),
    max_size=5,
    unique_by=lambda pair: pair[0],
)


@given(parameters, parameters, st.booleans(), st.booleans())
def test_a_call_style_that_is_given_out_works(
    plain: list[tuple[str, bool]], after_star: list[tuple[str, bool]], star: bool, stars: bool
) -> None:
    function = made_function(plain, after_star, star, stars)
    if function is None:
        return
    try:
        style = call_style(function, TASK_NAMES)
    except Refused:
        return
    given = {"id": 1, "config": 2, "task": 3, "metadata": 4}
    received = function(3) if style.positional else function(**{name: given[name] for name in style.names})
    for name, value in received.items():
        if name in given and not style.positional:
            assert value == given[name]


def made_function(
    plain: list[tuple[str, bool]], after_star: list[tuple[str, bool]], star: bool, stars: bool
) -> Any | None:
    """A function with these parameters (name, has a default) that returns what it got; None if there is none such."""
    names = [name for name, _ in plain + after_star]
    if len(set(names)) < len(names):
        return None
    ordered = sorted(plain, key=lambda pair: pair[1])
    parts = [f"{name}='default'" if default else name for name, default in ordered]
    parts += ["*args"] if star else ["*"] if after_star else []
    parts += [f"{name}='default'" if default else name for name, default in after_star]
    parts += ["**kwargs"] if stars else []
    made: dict[str, Any] = {}
    exec(f"def function({', '.join(parts)}):\n    return {{{', '.join(f'{n!r}: {n}' for n in names)}}}", made)
    return made["function"]
