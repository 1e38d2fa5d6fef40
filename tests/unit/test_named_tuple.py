"""Named tuples of ours are those of typing, to whoever uses them."""

from __future__ import annotations

import pickle
import typing

import pytest

from worker_dispatcher.named_tuple import NamedTuple


class Ours(NamedTuple):
    """A point."""

    x: int
    names: tuple[str, ...] = ("a",)

    @property
    def double(self) -> int:
        return 2 * self.x

    @staticmethod
    def zero() -> Ours:
        return Ours(0)


class Theirs(typing.NamedTuple):
    """A point."""

    x: int
    names: tuple[str, ...] = ("a",)


def test_it_has_fields_defaults_and_methods() -> None:
    assert Ours(3) == (3, ("a",)) == Ours(x=3, names=("a",))
    assert (Ours(3).double, Ours.zero().x) == (6, 0)
    assert Ours(1)._replace(x=2).x == 2
    with pytest.raises(TypeError):
        Ours()  # type: ignore[call-arg]


def test_it_is_what_typing_makes() -> None:
    for name in ("_fields", "_field_defaults", "__doc__", "__module__", "__slots__", "__bases__", "__match_args__"):
        assert getattr(Ours, name) == getattr(Theirs, name), name
    assert typing.get_type_hints(Ours) == typing.get_type_hints(Theirs)
    assert repr(Ours(1)) == repr(Theirs(1)).replace("Theirs", "Ours")
    assert not hasattr(Ours(1), "__dict__")


def test_it_travels() -> None:
    assert type(pickle.loads(pickle.dumps(Ours(1)))) is Ours


def test_a_name_of_an_inner_class_says_where_it_is() -> None:
    class Inner(NamedTuple):
        x: int

    assert Inner.__qualname__.endswith("<locals>.Inner")
