"""How a user's function wants to be called; read once, before the run, and never by trying."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker_dispatcher.call_style import STATE_NAME, CallStyle
from worker_dispatcher.config.describe import Refused
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.tracebacks import own

# The third of each is the subject: what a function gets that takes one parameter of any name.
TASK_NAMES = ("id", "config", "task", "metadata")
CALLBACK_NAMES = ("id", "config", "result", "log")
_MEANING = {"task": "item", "result": "task's result"}
_NO_STATE = f"parameter '{STATE_NAME}' is what worker.init makes; set worker.init, or give it a default"

NO_ITEM = object()  # what is known of an item that cannot be looked at


class NoItems(NamedTuple):
    """In the place of an item where there is none. what: stands in the place of a list."""

    what: str


DEEPEST = 50  # decorators followed; an object that claims to wrap itself must not keep us for ever
# Of code.co_flags, as `inspect` has them. An iterable coroutine is a generator function that types.coroutine has marked
_VARARGS, _VARKEYWORDS, _GENERATOR = 0x04, 0x08, 0x20
_COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x80, 0x100, 0x200


class Styles(NamedTuple):
    """How the functions of a config are called; coroutine: calling the task's function gives a coroutine."""

    function: CallStyle = CallStyle(names=TASK_NAMES)  # of the sample
    coroutine: bool = False
    on_done: CallStyle = CallStyle()
    on_all_done: CallStyle = CallStyle()
    init: CallStyle = CallStyle()
    exit: CallStyle = CallStyle()


def call_style(
    function: Callable[..., Any], names: Sequence[str], item: object = NO_ITEM, *, depth: int = 0
) -> CallStyle:
    """How to call `function` when `names` (TASK_NAMES or CALLBACK_NAMES) are on offer.

    Parameters with one of the names get that by keyword, `**kwargs` gets all of them. A function that needs exactly
    one other parameter, or whose signature cannot be read, gets the subject positionally. A decorator that takes
    `**kwargs` is asked for what the function inside it takes. What a partial has bound stays bound.
    Raises Refused where no such call can work, with a hint that goes by an item of the list, and where a parameter of
    another name would get an item and there are none, unless the name begins with `_`: it is to be ignored then. The
    function is not called. depth: how many decorators are around it.
    """
    own = _parameters(function)
    inside = _inside(function) if depth < DEEPEST else None
    if inside is not None and (own is None or _only_passes_on(own)):
        return call_style(inside, names, depth=depth + 1)
    if own is None:
        return CallStyle(positional=True)
    takes_all = bool(own) and own[-1].kind == "VAR_KEYWORD"  # it is always the last
    rest = _rest(own, inside, names, depth) if takes_all else ()
    return _Choice(own, names, rest, _bound(function), depth > 0, item).style()


def hook_style(function: Callable[..., Any], name: str) -> CallStyle:
    """How to call a function that is offered one thing, and may take nothing: worker.init and worker.exit.

    It gets the thing if it names it, takes `**kwargs`, or needs one parameter of any name. Raises Refused as above.
    """
    for _ in range(DEEPEST):
        own, inside = _parameters(function), _inside(function)
        if inside is None or not (own is None or _only_passes_on(own)):
            break
        function = inside
    if own is not None and not any(p.required or p.name == name or p.kind == "VAR_KEYWORD" for p in own):
        return CallStyle()
    return call_style(function, (name,))


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """True if calling it gives a coroutine: an `async def`, also in partials, methods and `async __call__`.

    A plain function that returns somebody's coroutine is not one: only its result can tell.
    """
    if (code := _own_code(function)) is not None:
        return bool(code.co_flags & (_COROUTINE | _ITERABLE_COROUTINE))
    import inspect

    return _is_or_calls(inspect.iscoroutinefunction, function)


def generator_word(function: Callable[..., Any]) -> str:
    """'a generator function' or 'an async generator function', where calling it runs nothing of its body; else ''.

    Also in partials, methods and `__call__`. What a decorator has made of one is a plain function.
    """
    if (code := _own_code(function)) is not None and not code.co_flags & (_GENERATOR | _ASYNC_GENERATOR):
        return ""
    import inspect

    if is_coroutine_function(function):
        return ""
    if _is_or_calls(inspect.isgeneratorfunction, function):
        return "a generator function"
    return "an async generator function" if _is_or_calls(inspect.isasyncgenfunction, function) else ""


def _is_or_calls(kind: Callable[[Any], bool], function: Any) -> bool:
    """True if the function is of a kind, or is an object whose `__call__` is."""
    while isinstance(function, functools.partial):
        function = function.func
    return kind(function) or kind(type(function).__call__)


def _rest(own: list[_Parameter], inside: Callable[..., Any] | None, names: Sequence[str], depth: int) -> Sequence[str]:
    """The names that may go into the function's `**kwargs`: all, or what the function inside it takes."""
    plain = tuple(name for name in names if name != STATE_NAME or len(names) == 1)
    if inside is None:
        return plain
    wanted = call_style(inside, names, depth=depth + 1).names
    return wanted or (plain if len(own) == 1 else ())  # `**kwargs` alone can be given nothing but names


class _Parameter(NamedTuple):
    """kind: the name that `inspect` has for it; required: has no default, and is not `*args` or `**kwargs`."""

    name: str
    kind: str
    required: bool


class _Choice(NamedTuple):
    """The parameters of one function, sorted by who can fill them.

    rest: what may go into its `**kwargs`; bound: keywords that a partial has set already;
    lenient: the function sits inside a decorator, which may fill what we do not know: nothing is refused;
    item: of the list, or NoItems.
    """

    parameters: list[_Parameter]
    names: Sequence[str]
    rest: Sequence[str]
    bound: frozenset[str]
    lenient: bool
    item: object

    def style(self) -> CallStyle:
        known, strangers = [], []
        for p in self.parameters:
            by_keyword = p.kind in ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")
            if by_keyword and p.name in self.names and p.name not in self.bound:
                known.append(p.name)
            elif p.required:
                strangers.append(p)
        if not self.lenient and "task" in self.names and any(p.name == STATE_NAME for p in strangers):
            raise Refused(_NO_STATE)
        if strangers and not known and len(strangers) == 1 and _takes_position(strangers[0]):
            return self._positional(strangers[0])
        offered = tuple(n for n in self.names if n in known or (n in self.rest and n not in self.bound))
        if strangers and not self.lenient:
            raise Refused(self._about(strangers, known))
        if offered:
            return CallStyle(names=offered)
        return self._positional(next((p for p in self.parameters if _takes_position(p)), None))

    def _positional(self, p: _Parameter | None) -> CallStyle:
        subject = self.names[min(2, len(self.names) - 1)]
        if self.lenient:
            return CallStyle(positional=True)
        if p is None:
            raise Refused(f"has no parameter that can take the {subject}; let it take one, or **kwargs")
        if p.kind == "POSITIONAL_ONLY" and p.name in self.names and p.name != subject:
            # It would get the task in the place of the id: wrong, and nobody would see it.
            raise Refused(f"parameter '{p.name}' is positional-only; remove the '/' so that it can be given by name")
        if isinstance(self.item, NoItems) and p.kind == "POSITIONAL_OR_KEYWORD" and not p.name.startswith("_"):
            why = f"task.list is {self.item.what}, so there are no items"
            raise Refused(f"parameter '{p.name}' would get an item, but {why}: name the parameter id, or give a list")
        return CallStyle(positional=True)

    def _about(self, strangers: list[_Parameter], known: list[str]) -> str:
        for p in strangers:
            if p.name in self.names and p.kind == "POSITIONAL_ONLY":
                return f"parameter '{p.name}' is positional-only; remove the '/' so that it can be given by name"
        *others, last = [f"'{p.name}'" for p in strangers]
        which, on_offer = f"{', '.join(others)} and {last}" if others else last, ", ".join(self.names)
        fix = f"the {_MEANING[self.names[2]]} comes as '{self.names[2]}'" if len(self.names) > 2 else ""
        if not others:
            fix = f"{fix}: rename it, or give it a default" if fix else "rename it, or give it a default"
            return f"parameter {which} is not one of {on_offer} and has no default; {fix}"
        if fix and not known and (stars := self._stars(strangers)):
            # Of any function, since it may have no name of its own.
            fix += f": to spread it over parameters, write lambda {self.names[2]}: f({stars}{self.names[2]})"
        else:
            fix = f"{fix}: rename them, or give them defaults" if fix else "rename them, or give them defaults"
        return f"parameters {which} are not among {on_offer} and have no default; {fix}"

    def _stars(self, strangers: list[_Parameter]) -> str:
        """How the item can be spread over all parameters: '*', '**', or '' if it cannot."""
        kinds = {p.kind for p in self.parameters}
        if type(self.item) is dict:
            keys = {key for key in self.item if type(key) is str}
            by_name = {p.name for p in self.parameters if p.kind in ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")}
            fits = len(keys) == len(self.item) and (keys <= by_name or "VAR_KEYWORD" in kinds)
            return "**" if fits and {p.name for p in strangers} <= keys else ""
        if not all(map(_takes_position, strangers)):
            return ""
        if not isinstance(self.item, tuple | list):
            return "*" if self.item is NO_ITEM else ""
        most = len(self.item) if "VAR_POSITIONAL" in kinds else sum(map(_takes_position, self.parameters))
        return "*" if len(strangers) <= len(self.item) <= most else ""


def _parameters(function: Callable[..., Any]) -> list[_Parameter] | None:
    """The function's own parameters, None if they cannot be read."""
    if (code := _own_code(function)) is not None:
        return _declared(code, function.__defaults__ or (), function.__kwdefaults__ or {})
    import inspect

    try:
        found = inspect.signature(function, follow_wrapped=False).parameters.values()
    except own(Exception):
        # ValueError and TypeError for builtins; anything at all from an object that computes its `__signature__`.
        return None
    without = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [_Parameter(p.name, p.kind.name, p.default is p.empty and p.kind not in without) for p in found]


def _own_code(function: Any) -> types.CodeType | None:
    """The code of a plain function that nobody has decorated or marked: it says what `inspect`, which takes 4 ms to
    load, would say."""
    return function.__code__ if type(function) is types.FunctionType and not function.__dict__ else None


def _declared(code: types.CodeType, defaults: Sequence[object], by_name: Mapping[str, object]) -> list[_Parameter]:
    """The parameters of a function with this code and these defaults, in order."""
    named = code.co_argcount + code.co_kwonlyargcount
    names, extra = code.co_varnames[:named], iter(code.co_varnames[named:])
    found = []
    for at, name in enumerate(names[: code.co_argcount]):
        kind = "POSITIONAL_ONLY" if at < code.co_posonlyargcount else "POSITIONAL_OR_KEYWORD"
        found.append(_Parameter(name, kind, at < code.co_argcount - len(defaults)))
    if code.co_flags & _VARARGS:
        found.append(_Parameter(next(extra), "VAR_POSITIONAL", required=False))
    for name in names[code.co_argcount :]:
        found.append(_Parameter(name, "KEYWORD_ONLY", name not in by_name))
    if code.co_flags & _VARKEYWORDS:
        found.append(_Parameter(next(extra), "VAR_KEYWORD", required=False))
    return found


def _inside(function: Any) -> Callable[..., Any] | None:
    """The function that a decorator has wrapped, bound as the decorated one is; None if it is not decorated."""
    if isinstance(function, functools.partial):
        inside = _inside(function.func)
        return None if inside is None else functools.partial(inside, *function.args, **function.keywords)
    if isinstance(function, types.MethodType):
        inside = _inside(function.__func__)
        return None if inside is None else types.MethodType(inside, function.__self__)
    inside = getattr(function, "__wrapped__", None)
    if inside is None and not isinstance(function, types.FunctionType | type):
        method = function.__call__  # a callable object: its method may be the decorated one
        inside = _inside(method) if isinstance(method, types.MethodType) else None
    return inside if callable(inside) else None


def _bound(function: Callable[..., Any]) -> frozenset[str]:
    keywords: set[str] = set()
    while isinstance(function, functools.partial):
        keywords.update(function.keywords)
        function = function.func
    return frozenset(keywords)


def _only_passes_on(parameters: list[_Parameter]) -> bool:
    return {p.kind for p in parameters} == {"VAR_POSITIONAL", "VAR_KEYWORD"}


def _takes_position(p: _Parameter) -> bool:
    return p.kind in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD", "VAR_POSITIONAL")
