"""The rows of the benchmarks can be loaded, which nothing else does until somebody measures."""

from __future__ import annotations

from importlib import import_module

import pytest

from benchmarks import harness
from benchmarks.__main__ import ROWS


@pytest.mark.parametrize("row", ROWS)
def test_a_row_can_be_loaded_and_asks_a_question(row: str) -> None:
    found = import_module(f"benchmarks.{row}").ROW
    assert isinstance(found, harness.Row)
    assert "?" in found.question
    assert found.cases
