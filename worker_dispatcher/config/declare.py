"""How an option is declared: default, rule and description in one place, as a field of its section.

Neither sections nor the small values of this room are dataclasses: those are compiled while the library is imported,
1 ms for each section, and bring `inspect` with them. That is most of what a first call would wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, dataclass_transform

from worker_dispatcher.config.rules import Rule
from worker_dispatcher.named_tuple import NamedTuple


class Option(NamedTuple):
    """default: as the user would write it; shown: the default as the option table says it.

    private: a payload, left out of the repr so that it is never printed.
    """

    default: Any
    rule: Rule
    description: str
    shown: str
    private: bool

    @property
    def lasting(self) -> bool:
        """True if nobody can change the default, so that one serves all configs."""
        return not isinstance(self.default, list | dict)

    def fresh_default(self) -> Any:
        """The default; a new one each time where it could be changed."""
        return self.default.copy() if isinstance(self.default, list | dict) else self.default

    def fresh(self) -> Any:
        """The default in the form that the rule keeps."""
        return self.rule.accept(self.fresh_default())


class Section(NamedTuple):
    """A dict of options. options: the class that declares them; made: what they are handed to; hint: for whoever
    gives something else."""

    options: type[Options]
    made: Callable[..., Any]
    hint: str
    private: bool = False

    @property
    def lasting(self) -> bool:
        """As of an option: sections are fixed once made."""
        return all(member.lasting for member in self.options.declared.values())

    def fresh(self) -> Any:
        """The section with its defaults."""
        return self.made()


def option(default: Any, rule: Rule, description: str, *, shown: str | None = None, private: bool = False) -> Any:
    """Declares one option, in the body of an `Options` class."""
    return Option(default, rule, description, repr(default) if shown is None else shown, private)


def section(declares: type[Options], *, made: Callable[..., Any] | None = None, hint: str = "") -> Any:
    """Declares a section of options, in the body of an `Options` class."""
    return Section(declares, made or declares, hint)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option, section))
class Options:
    """Base of a section: what its body declares are its fields. Made by keyword, with defaults; fixed once made."""

    declared: ClassVar[dict[str, Option | Section]] = {}  # by name, in the order in which they stand there
    _defaults: ClassVar[dict[str, Any]] = {}  # of this section, those that last; worked out for the first that is made

    def __init_subclass__(cls) -> None:
        cls.declared = {name: value for name, value in vars(cls).items() if isinstance(value, Option | Section)}
        cls._defaults = {}

    def __init__(self, **values: Any) -> None:
        strangers = values.keys() - self.declared.keys()
        if strangers:
            raise TypeError(f"{type(self).__name__} has no option {', '.join(sorted(strangers))}")
        if not self._defaults:
            self._defaults.update({name: one.fresh() for name, one in self.declared.items() if one.lasting})
        for name, member in self.declared.items():
            if name in values:
                self.__dict__[name] = values[name]
            else:
                self.__dict__[name] = self._defaults[name] if name in self._defaults else member.fresh()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is fixed: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is fixed: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it may hold anything

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name, member in self.declared.items() if not member.private)
        return f"{type(self).__name__}({', '.join(shown)})"


def walk(declares: type[Options], prefix: str = "") -> Iterator[tuple[str, Option | Section]]:
    """All options and sections in and below one section, with their dotted paths."""
    for name, member in declares.declared.items():
        yield prefix + name, member
        if isinstance(member, Section):
            yield from walk(member.options, f"{prefix}{name}.")


def options(declares: type[Options]) -> dict[str, Option]:
    """All options in and below one section, by dotted path."""
    return {path: member for path, member in walk(declares) if isinstance(member, Option)}
