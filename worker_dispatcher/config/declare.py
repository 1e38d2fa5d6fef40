"""How an option is declared: default, rule and description in one place, kept in the metadata of a dataclass field.

The small values of this room are named tuples: each frozen dataclass costs the import about 0.5 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field, fields
from typing import Any, NamedTuple

from worker_dispatcher.config.rules import Rule

__all__ = ["Option", "Section", "members", "option", "options", "section", "walk"]

KEY = "declared"


class Option(NamedTuple):
    """default: as the user would write it; shown: the default as the option table says it."""

    default: Any
    rule: Rule
    description: str
    shown: str

    def fresh_default(self) -> Any:
        """The default; a new one each time where it could be changed."""
        return self.default.copy() if isinstance(self.default, list | dict) else self.default


class Section(NamedTuple):
    """A dict of options. options: the dataclass that declares them; made: what they are handed to; hint: for whoever
    gives something else."""

    options: type
    made: Callable[..., Any]
    hint: str


def option(default: Any, rule: Rule, description: str, *, shown: str | None = None, private: bool = False) -> Any:
    """A dataclass field for one option. private: a payload, left out of the repr so that it is never printed."""
    declared = Option(default, rule, description, repr(default) if shown is None else shown)
    metadata = {KEY: declared}
    if isinstance(default, list | dict):
        return field(default_factory=declared.fresh_default, repr=not private, metadata=metadata)
    return field(default=rule.accept(default), repr=not private, metadata=metadata)


def section(declares: type, *, made: Callable[..., Any] | None = None, hint: str = "") -> Any:
    """A dataclass field for a section of options."""
    declared = Section(declares, made or declares, hint)
    return field(default_factory=declared.made, metadata={KEY: declared})


def members(declares: type) -> dict[str, Option | Section]:
    """The options and sections of one section, by name, in the order they were declared."""
    return {f.name: f.metadata[KEY] for f in fields(declares)}


def walk(declares: type, prefix: str = "") -> Iterator[tuple[str, Option | Section]]:
    """All options and sections in and below one section, with their dotted paths."""
    for name, member in members(declares).items():
        yield prefix + name, member
        if isinstance(member, Section):
            yield from walk(member.options, f"{prefix}{name}.")


def options(declares: type) -> dict[str, Option]:
    """All options in and below one section, by dotted path."""
    return {path: member for path, member in walk(declares) if isinstance(member, Option)}
