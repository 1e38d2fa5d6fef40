"""Which names functions use, as `dis` reads them from their code."""

from __future__ import annotations

import dis
import functools
import inspect
import json
import pathlib
import types
import xml.dom.minidom

import pytest

import worker_dispatcher.script.pickler
from worker_dispatcher.script.names_used import annotations_of, names_annotated, submodules, uses_of


def codes_of(module: types.ModuleType) -> list[types.CodeType]:
    return [one.__code__ for one in vars(module).values() if isinstance(one, types.FunctionType)]


def as_dis_reads(code: types.CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    own = {
        step.argval for step in dis.get_instructions(code) if "GLOBAL" in step.opname or step.opname == "LOAD_NAME"
    } - {None}
    return own.union(*map(as_dis_reads, inner))


@pytest.mark.parametrize(
    "module", [functools, inspect, pathlib, worker_dispatcher.script.pickler], ids=lambda module: module.__name__
)
def test_the_names_that_code_uses_are_those_that_dis_finds(module):
    for code in codes_of(module):
        assert set(uses_of(code).names) == as_dis_reads(code), code


def test_more_names_than_fit_a_byte_are_all_found():
    space: dict[str, object] = {}
    exec("def f():\n    return " + "+".join(f"n{at}" for at in range(700)), space)
    assert uses_of(space["f"].__code__).names == tuple(f"n{at}" for at in range(700))  # type: ignore[attr-defined]


def test_the_body_of_a_class_inside_a_function_uses_names_too():
    def f():
        class Local:
            limit = LIMIT  # noqa: F821

            def get(self):
                return OTHER  # noqa: F821

        return Local

    assert {"LIMIT", "OTHER"} <= set(uses_of(f.__code__).names)


def test_names_are_found_in_annotations_that_are_texts():
    def f(a: "list[One | None]", b: dict[str, "Two"], c: int) -> "mod.Three": ...  # type: ignore[name-defined] # noqa

    found = {"One", "Two", "mod", "Three"}
    assert found <= set(names_annotated(["list[One | None]", dict[str, "Two"], int, "mod.Three"]))  # type: ignore[name-defined] # noqa
    assert set(annotations_of(f)) == {"a", "b", "c", "return"}


def test_modules_inside_packages_that_code_reaches_are_found():
    def f(text):
        return xml.dom.minidom.parseString(text), json.loads

    names = {module.__name__ for module in submodules(f.__code__, [xml, json])}
    assert names == {"xml.dom", "xml.dom.minidom"}
