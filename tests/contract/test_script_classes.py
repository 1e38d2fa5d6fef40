"""Classes of a script are in a worker what they are in the script: their slots, an enum's members and values."""

from __future__ import annotations


def test_instances_of_classes_with_slots_have_no_dict_in_a_worker_and_come_back(holds):
    holds("""
from dataclasses import dataclass
class Cell:
    __slots__ = ("value", "__hidden", "__weakref__")
    def __init__(self, value): self.value = self.__hidden = value
    def hidden(self): return self.__hidden
class Wide(Cell):
    __slots__ = {"more": "documented"}
class Open(Wide): pass
class Single:
    __slots__ = "value"
@dataclass(slots=True)
class Line:
    name: str
    count: int = 1

def task(item):
    single, line = Single(), Line("a")
    single.value = 5
    with_dict = [type(one).__name__ for one in (item, single, line, Open(1)) if hasattr(one, "__dict__")]
    assert with_dict == ["Open"] and item.hidden() == item.value
    assert Cell.__slots__ == ("value", "__hidden", "__weakref__") and Wide.__slots__ == {"more": "documented"}
    return item, single, line

for item in (Cell(1), Wide(2)):
    back, single, line = run(task, [item])[0]
    assert type(back) is type(item) and (back.value, back.hidden()) == (item.value, item.value)
    assert single.value == 5 and line == Line("a")
""")


def test_enums_of_a_script_have_all_their_members_with_their_attributes_in_a_worker(holds):
    holds("""
import enum
class Planet(enum.Enum):
    EARTH, MARS = (1, 2), (3, 4)
    def __init__(self, mass, radius): self.mass, self.radius = mass, radius
    @property
    def gravity(self): return self.mass / self.radius
class Labelled(enum.Enum):
    def __new__(cls, value, label):
        made = object.__new__(cls)
        made._value_, made.label = value, label
        return made
class Level(Labelled):
    LOW, HIGH, TOP = (1, "low"), (2, "high"), (2, "again")
class Code(bytes, enum.Enum):
    FIRST = 7, "first"
    def __new__(cls, value, label):
        made = bytes.__new__(cls, [value])
        made._value_, made.label = value, label
        return made
class Step(enum.Enum):
    ADD = enum.member(lambda a, b: (Step.__name__, a + b))
    STEPS = [1, 2]
    def __call__(self, *values): return self.value(*values)
class Right(enum.Flag):
    READ, WRITE, BOTH = 4, 2, 6
class Color(enum.Enum):
    RED, ROT = 1, 1
    @classmethod
    def _missing_(cls, value): return cls.RED
class Pair(tuple, enum.Enum):
    A = 1, 2

def values():
    return [
        Planet.MARS.mass, Planet.EARTH.gravity, Planet((1, 2)).name, Level.TOP.name, Level(2).label, Level["TOP"].label,
        Code.FIRST.label, bytes(Code.FIRST), Code(7).name, Step.ADD(1, 2), Step([1, 2]).name, Right["BOTH"].name,
        (Right.READ | Right.WRITE).name, list(Right.__members__), Color["ROT"].name, Color("x").name,
        list(Color.__members__), Pair.A[1], Pair((1, 2)).name,
    ]

MEMBERS = [one for kind in (Planet, Level, Code, Step, Right, Color, Pair) for one in kind.__members__.values()]
def task(item):
    assert item is MEMBERS[0]
    return values(), MEMBERS

found, members = run(task, [Planet.EARTH])[0]
assert found == values(), found
assert all(one is other for one, other in zip(members, MEMBERS, strict=True))
""")
