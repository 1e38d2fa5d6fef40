"""From the user's nested dict to a Config, or to one ConfigError with all that is wrong.

Nothing is started or printed, and the input is not changed. User code runs only as far as looking at a value does
(a `__class__` or a mapping of his own); if that fails, it is one more problem.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from worker_dispatcher.call_style import STATE_NAME, CallStyle
from worker_dispatcher.config.declare import Section, options, walk
from worker_dispatcher.config.describe import Refused, brief, got, named
from worker_dispatcher.config.options import Config
from worker_dispatcher.config.signature import (
    CALLBACK_NAMES,
    NO_ITEM,
    TASK_NAMES,
    NoItems,
    Styles,
    call_style,
    hook_style,
    is_coroutine_function,
)
from worker_dispatcher.config.together import conflicts
from worker_dispatcher.errors import ConfigError
from worker_dispatcher.tracebacks import is_foreign

if TYPE_CHECKING:
    from worker_dispatcher.config.legacy import Legacy

PACKAGE = __name__.partition(".")[0]
_CALL = "{'task': {'function': fn, 'list': items}}"
ROOT = Section(Config, Config, f"write {_CALL}")
LONGEST_NAME = 60  # letters of an unknown name that a problem shows


def parse(raw: Mapping[str, Any] | None = None) -> Config:
    """The config that `raw` asks for; None and {} ask for the defaults. See `read`."""
    return read(raw).config


def merged(raw: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`Reading.merged` of a config; warns of nothing. `merged()` is the default config."""
    return _read(raw).merged()


def read(raw: Mapping[str, Any] | None = None) -> Reading:
    """A config, looked at once.

    Raises ConfigError, naming every problem. Old option names give a DeprecationWarning at the line of user code that
    led here. `task.list` is kept as the same object (a count as an int), and so is `task.config`.
    """
    reading = _read(raw)
    for path, meant in reading.meant.items():
        text = f"'{path}' is an old name; use '{meant.replacement}'"
        warnings.warn(text, DeprecationWarning, stacklevel=_level_of_the_user())
    return reading


def expect_one_dict(
    call: str, config: object, others: tuple[object, ...], options: Mapping[str, object], own: Sequence[str] = ()
) -> None:
    """Raise ConfigError for a call that gives more than a config, or none. call: as it is meant, less its config.
    own: the keywords that it has."""
    name, _, rest = call.partition("(")
    if options and not others and isinstance(config, Mapping):
        raise ConfigError([(one, f"{name} takes one dict{_place(call, one, options[one], own)}") for one in options])
    if others or options:
        named = ", ".join(f"{one!r}: ..." for one in options)
        meant = f"{{{named}}}" if options.keys() <= Config.declared.keys() and not others and config is None else _CALL
        raise ConfigError([("config", f"{name} takes one dict: {name}({meant}{rest}")])
    if config is None:
        fix = f"give one dict, as in {name}({_CALL}{rest}, or {{}} for the sample"
        raise ConfigError([("config", f"is None, so there is nothing to run; {fix}")])


def _place(call: str, keyword: str, value: object, own: Sequence[str]) -> str:
    """Where a keyword beside a config belongs."""
    import difflib  # only a wrong call needs it

    name, _, rest = call.partition("(")
    if keyword in Config.declared:
        return f": {name}({{..., {keyword!r}: ...}}{rest}"
    if near := difflib.get_close_matches(keyword, own, 1, 0.7):
        return f"; there is no keyword of this name; did you mean {near[0]}=?"
    return f"; {_unknown('', keyword, value)}"


def _unknown(prefix: str, name: str, value: object) -> str:
    from worker_dispatcher.config.spelling import unknown  # here, since most configs have no such name

    known = {path: "" if isinstance(one, Section) else one.description for path, one in walk(Config)}
    return unknown(prefix, name, known, a_dict=isinstance(value, Mapping))


class Reading:
    """What was read, by dotted path. given: as the user wrote it; kept: as the rules return it.

    legacy: old names, as the user wrote them; meant: what these are. config: what all but the user reads of it.
    """

    config: Config

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.kept: dict[str, Any] = {}
        self.legacy: dict[str, Any] = {}
        self.meant: dict[str, Legacy] = {}
        self.problems: list[tuple[str, str]] = []
        self.looks: dict[str, Any] = {}  # fields of Styles

    def refuse(self, path: str, error: Exception) -> None:
        """Note a problem: what was raised where something was read, be it by code of the user's."""
        if isinstance(error, Refused):
            self.problems.append((path, str(error)))
        elif is_foreign(error):
            raise error
        else:
            # Looking at an odd object ran code of its own, and that failed. Its message may hold the payload.
            self.problems.append((path, f"could not be looked at: that raised {named(type(error))}"))

    def section(self, declared: Section, prefix: str, raw: object) -> None:
        """Read a dict of options in the user's order, which is the order of the problems."""
        if not isinstance(raw, Mapping):
            raise Refused(_not_a_section(raw, declared))
        for key, value in raw.items():
            if isinstance(key, str):
                name = str.__str__(key)
                try:
                    self.member(declared, prefix, name, value)
                except Exception as error:
                    self.refuse(prefix + _shown(name), error)
            else:
                where = prefix.rstrip(".") or "config"
                self.problems.append((f"{where}[{_label(key)}]", f"option names are strings, got {got(key)}"))

    def member(self, section: Section, prefix: str, name: str, value: object) -> None:
        path, declared = prefix + name, section.options.declared.get(name)
        if isinstance(declared, Section):
            self.section(declared, path + ".", value)
        elif declared is not None:
            self.kept[path] = declared.rule.accept(value)
            self.given[path] = value
        else:
            self.undeclared(prefix, name, value)

    def undeclared(self, prefix: str, name: str, value: object) -> None:
        from worker_dispatcher.config.legacy import LEGACY  # here, since most configs have no such name

        path = prefix + name
        if path not in LEGACY:
            raise Refused(_unknown(prefix, name, value))
        self.kept[path] = LEGACY[path].rule.accept(value)
        self.legacy[path], self.meant[path] = value, LEGACY[path]

    def look_at_functions(self) -> None:
        """How the functions of the user want to be called: asked here and nowhere else."""
        has_init = self.kept.get("worker.init") is not None
        names = (*TASK_NAMES, STATE_NAME) if has_init else TASK_NAMES
        self._look("task.function", call_style, names, _first_item(self.kept.get("task.list", ())))
        self._look("task.callback.on_done", call_style, CALLBACK_NAMES)
        self._look("task.callback.on_all_done", call_style, CALLBACK_NAMES)
        self._look("worker.init", hook_style, "config")
        self._look("worker.exit", hook_style, STATE_NAME)
        if "function" in self.looks:
            self.looks["coroutine"] = is_coroutine_function(self.kept["task.function"])

    def _look(self, path: str, ask: Callable[..., CallStyle], *about: Any) -> None:
        if (function := self.kept.get(path)) is None:
            return
        try:
            self.looks[path.rpartition(".")[2]] = ask(function, *about)
        except Exception as error:
            old = next((name for name, one in self.meant.items() if path in one.means(function)), path)
            self.refuse(old, error)

    def translate(self) -> None:
        """Add what the old names mean; a new name that is there too goes before its old one."""
        known = options(Config)
        for old, meant in self.meant.items():
            for path, value in meant.means(self.kept[old]).items():
                if path not in self.given:
                    self.given[path], self.kept[path] = value, known[path].rule.accept(value)

    def merged(self) -> dict[str, Any]:
        """The whole nested config as a dict of its own: the defaults, with the user's values as he gave them,
        but a length of time that he gave as a text is its seconds.

        Old names that he gave are in it, and so is what they mean in new ones. Each call makes new dicts; the values
        in them are the user's own objects.
        """
        known = options(Config)
        values = {path: option.fresh_default() for path, option in known.items()}
        texts = [path for path, value in self.given.items() if isinstance(value, str)]
        seconds = {path: self.kept[path] for path in texts if known[path].rule.kind.startswith("seconds")}
        return _nested(values | self.given | seconds | self.legacy)


def _read(raw: object) -> Reading:
    reading = Reading()
    try:
        reading.section(ROOT, "", {} if raw is None else raw)
    except Exception as error:
        reading.refuse("config", error)
    if reading.meant:
        reading.translate()
    reading.look_at_functions()
    styles = Styles(**reading.looks)
    if problems := reading.problems or conflicts(reading.kept, styles.coroutine):
        raise ConfigError(problems)
    reading.config = Config(styles, **_values(ROOT, _nested(reading.kept)))
    return reading


def _first_item(tasks: object) -> object:
    """An item of a list that can be looked at without drawing from it, for a hint; NoItems where it makes none."""
    if isinstance(tasks, list | tuple) and type(tasks) in (list, tuple) and tasks:
        return tasks[0]
    if tasks is None or isinstance(tasks, int):
        return NoItems("None" if tasks is None else "a count")
    return 0 if isinstance(tasks, range) else NO_ITEM


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under dotted paths, as dicts in dicts."""
    nested: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        place = nested
        for step in sections:
            place = place.setdefault(step, {})
        place[name] = value
    return nested


def _values(section: Section, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What a section is made of, the sections in it included; old names are left out."""
    values: dict[str, Any] = {}
    for name, member in section.options.declared.items():
        if name in kept:
            values[name] = kept[name]
            if isinstance(member, Section):
                values[name] = member.made(**_values(member, kept[name]))
    return values


def _not_a_section(raw: object, declared: Section) -> str:
    """Says the type only: a whole section may well hold the payload."""
    kind = "None" if raw is None else named(type(raw))
    fix = declared.hint or "leave it out for the defaults"
    if isinstance(raw, bool) and "enabled" in declared.options.declared:
        fix = f"write {{'enabled': {raw}}}"
    return f"must be a dict of options, got {kind}; {fix}"


def _shown(name: str) -> str:
    """A name as part of a path, on one line and not too long."""
    plain = name if name and name.isprintable() else ascii(name)
    return plain if len(plain) <= LONGEST_NAME else plain[: LONGEST_NAME - 3] + "..."


def _label(key: object) -> str:
    return brief(key) or named(type(key))


def _level_of_the_user() -> int:
    """The stacklevel, seen from `parse`, of the first frame outside this package."""
    level, frame = 1, sys._getframe(1).f_back
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == PACKAGE:
        level, frame = level + 1, frame.f_back
    return level + 1
