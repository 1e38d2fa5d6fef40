"""Short ways to see what becomes of one value of a config."""

from __future__ import annotations

from typing import Any

import pytest

from worker_dispatcher.config.parse import parse
from worker_dispatcher.errors import ConfigError


def nested(path: str, value: object) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def problems(raw: object) -> tuple[tuple[str, str], ...]:
    with pytest.raises(ConfigError) as caught:
        parse(raw)  # type: ignore[arg-type]
    return caught.value.problems


def problem(path: str, value: object) -> str:
    """The text of the only problem of a config that sets one option."""
    (found,) = problems(nested(path, value))
    assert found[0] == path
    return found[1]
