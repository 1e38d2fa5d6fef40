"""Extra columns of a table of tasks, made from what tasks noted in their metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from worker_dispatcher.reports.wording import shown

__all__ = ["Fields", "RawFields", "fields_of", "values_of"]

__tracebackhide__ = True  # see tracebacks

Fields: TypeAlias = Mapping[str, Callable[[dict[Any, Any]], Any]]
"""{column: function of metadata}."""

RawFields: TypeAlias = Mapping[str, str | Callable[[dict[Any, Any]], Any]] | Sequence[str]
"""As users give them: {column: key of metadata, or function of metadata}, or a list of keys."""


def fields_of(given: RawFields | None) -> Fields:
    """TypeError for what is neither a dict nor a list."""
    if given is None:
        return {}
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise TypeError(f"raw_fields must be a dict or a list of keys of metadata, got {given!r}")
    named: Mapping[str, Any] = given if isinstance(given, Mapping) else {key: key for key in given}
    return {str(name): wanted if callable(wanted) else _getter(wanted) for name, wanted in named.items()}


def _getter(key: Any) -> Callable[[dict[Any, Any]], Any]:
    return lambda metadata: metadata.get(key)


def values_of(fields: Fields, log: Mapping[str, Any]) -> Iterator[Any]:
    """One for each column. They are the user's functions, so whatever one raises stands in its cell."""
    metadata = log.get("metadata")
    noted = metadata if isinstance(metadata, dict) else {}
    for wanted in fields.values():
        try:
            yield wanted(noted)
        except Exception as error:
            yield f"{type(error).__name__}: {shown(str(error), 200)}"
