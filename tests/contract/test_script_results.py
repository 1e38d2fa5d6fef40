"""What a script has defined, when it comes back out of a worker process: the parent's own objects, left as they are."""

from __future__ import annotations


def test_a_class_that_comes_back_is_the_parents_and_unchanged(holds):
    holds("""
class Box:
    count, registry = 0, []
    def __init__(self, x): self.x = x
    def name(self): return "as written"

def patched(self): return "by the parent"
Box.name = patched

def task(id, metadata):
    Box.count += 1
    Box.registry.append(id)
    Box.name = lambda self: "by a task"
    metadata["box"] = Box(-id)
    return Box(id)

results = run(task, 3)
notes = [log["metadata"]["box"] for log in worker_dispatcher.get_logs()]
assert [type(one) for one in results + notes] == [Box] * 6
assert [one.x for one in results + notes] == [1, 2, 3, -1, -2, -3]
assert (Box.count, Box.registry, Box.name) == (0, [], patched)
""")


def test_a_class_of_a_grid_comes_back_as_the_parents_too(script, tmp_path):
    (tmp_path / "grid.py").write_text("""
import worker_dispatcher
class Box:
    count = 0
def task(id):
    Box.count += 1
    return Box()
results = worker_dispatcher.start({"task": {"list": 9, "function": task}, "verbose": False,
    "worker": {"number": 4, "parallel_processing": {"enabled": True, "processes": 2}}})
print({type(one) is Box for one in results}, Box.count)
""")
    assert script("grid.py").stdout == "{True} 0\n"


def test_a_class_inside_a_function_comes_back_as_the_parents_and_unchanged(holds):
    holds("""
def make():
    class Local:
        count = 0
    def task(id):
        Local.count += 1
        return Local(), Local
    return Local, task

Local, task = make()
for instance, cls in run(task, 3):
    assert type(instance) is cls is Local
assert Local.count == 0
""")


def test_what_follows_the_making_of_a_class_happens_once_in_the_parent(holds):
    holds("""
import abc
class Meta(type):
    made = []
    def __init__(cls, name, bases, body):
        super().__init__(name, bases, body)
        Meta.made.append(name)
class First(metaclass=Meta): pass
class Second(First): pass
class Plugin:
    made = []
    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        Plugin.made.append(cls.__name__)
class Mine(Plugin): pass
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): pass
@Shape.register
class Square: pass
def inside():
    class Hidden(Plugin): pass
    return Hidden
Hidden = inside()

def task(id):
    return First(), Second(), Mine(), Square(), Hidden(), isinstance(Square(), Shape)

before = list(Meta.made), list(Plugin.made)
for result in run(task, 2):
    assert [type(one) for one in result[:5]] == [First, Second, Mine, Square, Hidden]
    assert result[5] and isinstance(result[3], Shape)
assert (Meta.made, Plugin.made) == before
""")


def test_values_of_all_kinds_of_classes_come_back_as_what_they_were(holds):
    holds("""
import collections, enum, typing
from dataclasses import dataclass, field

T = typing.TypeVar("T")
P = typing.ParamSpec("P")
UserId = typing.NewType("UserId", int)
class Color(enum.Enum):
    RED = 1
    GREEN = "g"
class Mode(enum.IntFlag):
    READ, WRITE = 4, 2
@dataclass
class Order:
    id: int
    lines: list = field(default_factory=list)
@dataclass(frozen=True, slots=True)
class Line:
    name: str
class Point(typing.NamedTuple):
    x: int
    y: int = 0
Pair = collections.namedtuple("Pair", "a b")
class Stack(typing.Generic[T]):
    pass
class Outer:
    class Inner:
        def method(self): return "inner"
class Names(str):
    __slots__ = ()

def values():
    return [
        Color.RED, Mode.READ | Mode.WRITE, Order(1, [Line("a")]), Point(1), Pair(1, 2), Names("x"), Stack[int],
        T, P, UserId, Color, Outer.Inner, Outer.Inner.method,
    ], [Stack(), Outer.Inner()]

def task(id):
    return values()

for values_of_task, instances in run(task, 2):
    assert values_of_task == values()[0]
    assert [type(one) for one in values_of_task] == [type(one) for one in values()[0]]
    assert values_of_task[0] is Color.RED and values_of_task[7] is T and values_of_task[9] is UserId
    assert [type(one) for one in instances] == [Stack, Outer.Inner]
""")


def test_functions_and_marks_of_a_script_come_back_as_the_same_objects(holds):
    holds("""
import functools, contextvars
NOTHING = object()
DEPTH = contextvars.ContextVar("depth", default=1)
def plain(): pass
def counted(function):
    @functools.wraps(function)
    def wrapper(*args): return function(*args)
    return wrapper
@counted
def decorated(): pass
@functools.cache
def cached(): pass
@functools.singledispatch
def dispatched(x): pass

class Absent:
    def __reduce__(self): return "ABSENT"
ABSENT = Absent()

def task(item):
    same = item is NOTHING or item is ABSENT
    return same, NOTHING, DEPTH, plain, decorated, cached, dispatched, task, ABSENT

for same, *found in run(task, [NOTHING, ABSENT]):
    assert same
    for one, own in zip(found, [NOTHING, DEPTH, plain, decorated, cached, dispatched, task, ABSENT], strict=True):
        assert one is own, own
""")


def test_an_exception_of_a_script_is_caught_by_its_class(holds):
    holds("""
class Refused(Exception):
    seen = 0
    def __init__(self, code):
        super().__init__(code)
        self.code = code

def task(id):
    Refused.seen += 1
    raise Refused(id)

try:
    run(task, 1, on_error="raise")
except Refused as error:
    assert (error.code, Refused.seen) == (1, 0)
else:
    raise AssertionError
""")


def test_what_a_task_defines_comes_back_by_value_and_uses_the_parents_globals(holds):
    holds("""
rate = 2
def double(x): return x * rate

class Base:
    pass

def task(id):
    global rate
    rate = 100
    class Made(Base):
        def get(self): return id
    def made(x): return double(x) + id
    return Made(), made

for id, (instance, function) in enumerate(run(task, 2), 1):
    assert isinstance(instance, Base) and type(instance).__name__ == "Made" and instance.get() == id
    assert function(10) == 20 + id
    assert function.__globals__ is globals()
assert rate == 2
""")


def test_an_item_that_comes_later_fills_in_what_is_missing_and_leaves_what_tasks_have_changed(holds):
    holds("""
counter, limit = 0, 7
class Item:
    made = 0
    def use(self):
        Item.made += 1
        return count_on(), limit
def count_on():
    global counter
    counter += 1
    return counter

def task(item):
    global counter
    counter += 10
    if item is None:
        return counter
    return item.use(), type(item).made

def items():
    yield None
    yield None
    yield Item()
    yield Item()

assert run(task, items()) == [10, 20, ((31, 7), 1), ((42, 7), 2)]
assert (counter, Item.made) == (0, 0)
""")


def test_a_worker_that_starts_workers_gets_its_own_objects_back_and_hands_them_on(holds):
    holds("""
class Box:
    count = 0
def inner(id):
    Box.count += 1
    return Box(), Box.count
def outer(id):
    found = run(inner, 2)
    return [type(one) is Box for one, _ in found], [one for one, _ in found], Box.count

for same, boxes, count in run(outer, 2):
    assert same == [True, True] and count == 0
    assert [type(one) for one in boxes] == [Box, Box]
assert Box.count == 0
""")


def test_a_class_has_in_a_worker_what_it_has_in_the_parent_also_where_its_making_sets_that(holds):
    holds("""
class Meta(type):
    def __init__(cls, name, bases, body):
        super().__init__(name, bases, body)
        cls.complete = True
class Model(metaclass=Meta): pass
Model.complete = False
class Order(Model): pass
Order.complete = False

def task(id): return Model.complete, Order.complete
assert run(task, 1) == [(False, False)]
""")
