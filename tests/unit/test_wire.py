"""Values as bytes: what is plain, what travels beside the pickle, what stands on shared pages, and who closes what."""

from __future__ import annotations

import datetime
import enum
import errno
import mmap
import os
import pickle
import resource
import sys
import threading
import types
from fractions import Fraction

import numpy as np
import pytest

from worker_dispatcher.script import main_module
from worker_dispatcher.wire import (
    LARGE,
    LARGE_PICKLE,
    Packed,
    from_parts,
    is_plain,
    map_buffers,
    pack,
    pack_large,
    share_buffers,
    to_parts,
    unpack,
)


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    pass


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def across(value):
    """The value as another process would get it."""
    packed = pack(value)
    parts, fds = to_parts(packed)
    return unpack(*from_parts([memoryview(bytes(part)) for part in parts], fds))


@pytest.mark.parametrize("values", [[], [None, True, 1, 1.5, "a", b"b", 2j], (2**200, "\ud800")])
def test_builtin_scalars_are_plain(values):
    assert is_plain(values)


@pytest.mark.parametrize("value", [Number.ONE, Text("a"), [1], (), {}, bytearray(b"a"), np.float64(1), int, object()])
def test_anything_else_is_not_plain(value):
    assert not is_plain([1, value])


@pytest.mark.parametrize("value", [None, [], {"a": (1, [2.5, {3}])}, frozenset({1}), bytearray(b"ab"), "\udcff", b""])
def test_containers_of_builtins_are_packed_plain(value):
    packed = pack(value)
    assert packed.plain
    assert not packed.buffers
    loaded = unpack(packed.head)
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    "value", [Number.ONE, Fraction(1, 3), [datetime.date(2020, 1, 2)], {"f": len}, ValueError("x")]
)
def test_what_names_a_class_or_function_is_not_packed_plain(value):
    packed = pack(value)
    assert not packed.plain
    assert repr(unpack(packed.head, packed.buffers)) == repr(value)


@pytest.mark.parametrize("value", ["x" * 0x93, b"\x93" * 10, 0x93, "\u0493"])
def test_the_byte_that_marks_a_name_may_be_in_the_data(value):
    assert across(value) == value


def test_functions_and_classes_that_have_no_module_travel_by_value():
    class Local:
        def __init__(self, x):
            self.x = x

    factor = 3
    packed = pack([Local(2), lambda x: x * factor])
    assert not packed.plain
    loaded, function = pickle.loads(packed.head, buffers=packed.buffers)
    assert loaded.x == 2
    assert function(5) == 15


def test_what_can_be_imported_is_named_and_cloudpickle_is_left_out_of_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)  # whoever imports it fails
    packed = pack([Fraction(1, 3), Number.ONE, across])
    assert (packed.plain, packed.libraries) == (False, [])
    assert unpack(packed.head) == [Fraction(1, 3), Number.ONE, across]


def in_another_main(monkeypatch):
    """As in a worker, which has nothing of the script yet."""
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    for name in ("given", "_made"):
        monkeypatch.setattr(main_module, name, {})


def test_what_lives_in_main_travels_by_value(monkeypatch):
    main = types.ModuleType("__main__")
    exec("class Own:\n    x = 3\ndef get(own): return own.x", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    packed = pack((main.get, main.Own()))
    assert packed.libraries
    in_another_main(monkeypatch)
    get, own = unpack(packed.head, packed.buffers)
    assert get(own) == 3


def test_a_module_that_cloudpickle_is_told_to_send_travels_by_value():
    import fractions

    import cloudpickle

    assert not pack(Fraction(1, 3)).libraries
    cloudpickle.register_pickle_by_value(fractions)
    try:
        assert pack(Fraction(1, 3)).libraries
    finally:
        cloudpickle.unregister_pickle_by_value(fractions)


def test_the_name_of_main_as_data_changes_nothing():
    assert across(["__main__", "cloudpickle"]) == ["__main__", "cloudpickle"]
    assert pack(["__main__", "cloudpickle"]).plain
    assert not pack(["cloudpickle"]).libraries
    assert across([Fraction(1, 3), "__main__"]) == [Fraction(1, 3), "__main__"]


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.asked = 0

    def __reduce__(self):
        self.asked += 1
        raise self.error


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_the_error_of_a_value_that_cannot_be_packed_is_its_own(error):
    value = Raises(error)
    with pytest.raises(type(error)) as caught:
        pack([value])
    assert caught.value is error
    assert isinstance(error, Exception) or value.asked == 1  # who is told to stop does not try another pickler


def test_what_nobody_can_pack_is_an_error():
    with pytest.raises(TypeError, match="lock"):
        pack(threading.Lock())


def test_the_bytes_of_an_array_are_not_in_its_pickle():
    array = np.arange(1000, dtype="i8")
    packed = pack(array)
    assert len(packed.head) < 500
    assert [len(b) for b in packed.buffers] == [8000]
    assert packed.size == len(packed.head) + 8000
    assert np.shares_memory(np.frombuffer(packed.buffers[0], "i8"), array)
    assert np.shares_memory(unpack(packed.head, packed.buffers), array)


ARRAYS = {
    "empty": np.zeros(0),
    "no dimension": np.array(7),
    "one byte": np.ones(1, "u1"),
    "fortran order": np.arange(12.0).reshape(3, 4).T,
    "every second": np.arange(100)[::2],
    "backwards": np.arange(100)[::-1],
    "large and fortran order": np.arange(40_000).reshape(200, 200).T,
    "large and every second": np.arange(40_000)[::2],
    "large, a block of it": np.arange(90_000).reshape(300, 300)[50:250, 50:250],
    "objects": np.array([1, "a", None], object),
    "fields": np.zeros(3, [("a", "i4"), ("b", "f8")]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_any_layout_arrive_as_they_were(name):
    array = ARRAYS[name]
    loaded = across(array)
    assert (loaded.shape, loaded.dtype) == (array.shape, array.dtype)
    assert np.array_equal(loaded, array)
    assert loaded.flags.writeable


@pytest.mark.parametrize("size", [10, LARGE])
def test_an_array_that_may_not_be_written_to_stays_so(size):
    array = np.zeros(size, "u1")
    array.flags.writeable = False
    assert not across(array).flags.writeable


@pytest.mark.parametrize(("sizes", "shared"), [([LARGE - 1], 0), ([LARGE], 1), ([LARGE - 1, 0, 1], 1), ([1] * 1000, 0)])
def test_buffers_travel_in_the_frame_until_they_are_large_in_sum(sizes, shared):
    buffers = [memoryview(os.urandom(size)) for size in sizes]
    parts, fds = to_parts(Packed(b"head", buffers, True))
    assert len(fds) == shared
    assert (len(parts[2]) == 0) is bool(shared)
    rest = [*fds, -5]
    head, loaded = from_parts([memoryview(p) for p in parts], rest)
    assert bytes(head) == b"head"
    assert loaded == buffers
    assert rest == [-5]


def test_nothing_but_a_pickle_needs_no_descriptor():
    pickled = b"x" * (LARGE_PICKLE - 1)
    parts, fds = to_parts(Packed(pickled, [], True))
    assert (parts, fds) == ([pickled, b"", b""], [])
    spare = [-5]
    assert from_parts([memoryview(p) for p in parts], spare) == (parts[0], [])
    assert spare == [-5]


@pytest.mark.parametrize("copied", [False, True])
def test_shared_buffers_are_where_arrays_may_stand_and_nobody_else_sees_writes(copied, monkeypatch):
    if copied:
        monkeypatch.setattr(resource, "getrlimit", lambda which: (4, 4))
    contents = [os.urandom(size) for size in (1, 0, 63, 64, 65, LARGE)]
    fd = share_buffers([memoryview(c) for c in contents])
    once, again = (map_buffers(os.dup(fd), [len(c) for c in contents]) for _ in range(2))
    assert once == again == contents
    addresses = [np.frombuffer(view, "u1").ctypes.data for view in once if len(view)]
    assert {address % 64 for address in np.diff(addresses)} == {0}
    once[2][0] ^= 0xFF
    assert again[2] == contents[2]
    assert map_buffers(fd, [len(c) for c in contents])[2] == contents[2]


def test_a_mapping_holds_at_most_one_descriptor_as_long_as_it_lives():
    before = open_descriptors()
    (view,) = map_buffers(share_buffers([memoryview(bytes(LARGE))]), [LARGE])
    assert len(open_descriptors()) == len(before) + (sys.version_info < (3, 13))
    part = view[5:9]
    del view
    assert len(open_descriptors()) == len(before) + (sys.version_info < (3, 13))
    del part
    assert open_descriptors() == before


def test_short_reads_and_writes_are_gone_on_with(monkeypatch):
    contents = [os.urandom(10_001), os.urandom(LARGE)]
    real_write, real_read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real_write(fd, data[:4099], at))
    monkeypatch.setattr(os, "preadv", lambda fd, into, at: real_read(fd, [into[0][:4099]], at))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (4, 4))
    assert map_buffers(share_buffers([memoryview(c) for c in contents]), [10_001, LARGE]) == contents


def test_a_descriptor_that_did_not_arrive_is_an_error_that_says_so():
    parts, fds = to_parts(Packed(b"", [memoryview(bytes(LARGE))], True))
    os.close(fds[0])
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)) as caught:
        from_parts([memoryview(p) for p in parts], [])
    assert caught.value.errno == errno.EMFILE


def no_memory(*arguments, **named):
    raise OSError(errno.ENOMEM, "no memory")


@pytest.mark.parametrize(("where", "name"), [(os, "ftruncate"), (os, "pwrite"), (os, "preadv")])
def test_no_descriptor_is_left_where_memory_runs_out(where, name, monkeypatch):
    before = open_descriptors()
    parts = [memoryview(b""), memoryview(LARGE.to_bytes(8, "little")), memoryview(b"")]
    fds = [share_buffers([memoryview(bytes(LARGE))])]
    monkeypatch.setattr(where, name, no_memory)
    monkeypatch.setattr(mmap, "mmap", no_memory)
    with pytest.raises(OSError, match="no memory"):
        from_parts(parts, fds) if name == "preadv" else to_parts(Packed(b"", [memoryview(bytes(LARGE))], True))
    for fd in fds:
        os.close(fd)
    assert open_descriptors() == before


def test_inline_buffers_are_the_receivers_own():
    frame = memoryview(b"".join([b"a" * 64, b"b" * 64]))
    _, buffers = from_parts([memoryview(b"head"), memoryview((3).to_bytes(8, "little") * 2), frame], [])
    buffers[0][0] = 0
    assert bytes(buffers[1]) == b"bbb"
    assert frame[0] == ord("a")


def sent(packed):
    """What is sent for a packed value: parts and descriptors."""
    parts, fds = to_parts(packed)
    return [memoryview(bytes(part)) for part in parts], fds


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_large_bytes_is_sent_as_it_stands(kind):
    value = kind(LARGE_PICKLE)
    packed = pack_large([1, {"body": value}])
    assert packed.plain
    assert any(piece is value for piece in packed.rest)
    assert packed.head_size == packed.size > LARGE_PICKLE
    assert b"".join([packed.head, *packed.rest]) == pickle.dumps([1, {"body": value}], 5)


@pytest.mark.parametrize(
    "value",
    [
        os.urandom(LARGE_PICKLE),
        (os.urandom(LARGE_PICKLE), None),
        "\u20ac" * LARGE_PICKLE,
        [b"a" * LARGE, "b" * LARGE, bytearray(b"c" * 3 * LARGE), 7],
        [list(range(LARGE)), Fraction(1, 3)],
        {n: str(n) * 9 for n in range(50_000)},
        [],
    ],
    ids=["bytes", "a result", "text", "a mixture", "a long list", "a dict", "nothing"],
)
def test_what_is_packed_in_pieces_arrives_whole(value):
    before = open_descriptors()
    packed = pack_large(value)
    parts, fds = sent(packed)
    assert len(fds) == (packed.head_size >= LARGE_PICKLE)
    assert unpack(*from_parts(parts, fds)) == value
    assert fds == []
    assert open_descriptors() == before


@pytest.mark.parametrize("size", [10, LARGE // 8, LARGE])
def test_a_large_pickle_and_arrays_travel_together(size):
    value = {"text": os.urandom(LARGE_PICKLE), "array": np.arange(size), "own": len}
    parts, fds = sent(pack_large(value))
    assert len(fds) == 1
    loaded = unpack(*from_parts(parts, fds))
    assert loaded["text"] == value["text"]
    assert np.array_equal(loaded["array"], value["array"])
    loaded["array"][0] = 7  # it is the receiver's own


@pytest.mark.parametrize("call", ["memfd_create", "pwrite"])
def test_where_there_are_no_pages_to_be_had_all_travels_in_the_frame(call, monkeypatch):
    before = open_descriptors()

    def refused(*_: object) -> int:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, call, refused)
    value = [os.urandom(LARGE_PICKLE), np.arange(LARGE), np.arange(3)]
    parts, fds = sent(pack_large(value))
    assert fds == []
    loaded = unpack(*from_parts(parts, fds))
    assert loaded[0] == value[0]
    assert all(np.array_equal(a, b) for a, b in zip(loaded[1:], value[1:], strict=True))
    assert open_descriptors() == before


def test_receivers_of_one_descriptor_do_not_read_for_each_other():
    value = [os.urandom(LARGE_PICKLE), "end"]
    parts, (fd,) = sent(pack_large(value))
    readers = [from_parts(parts, [os.dup(fd)])[0] for _ in range(2)]
    assert [reader.read(100) for reader in readers] == [pickle.dumps(value, 5)[:100]] * 2
    for reader in readers:
        reader.close()
    assert unpack(*from_parts(parts, [os.dup(fd)])) == unpack(*from_parts(parts, [fd])) == value


def test_a_large_pickle_that_cannot_be_loaded_holds_no_descriptor():
    before = open_descriptors()
    for raised in (pickle.dumps([b"x" * LARGE_PICKLE, 1], 5)[:-9], b"\x80\x05X" + bytes(LARGE_PICKLE)):
        with pytest.raises((pickle.UnpicklingError, EOFError)):
            unpack(*from_parts(*sent(Packed(raised, [], True))))
    with pytest.raises(OSError, match="Too many open files"):
        from_parts([memoryview(b"")] * 3, [])
    assert open_descriptors() == before


def test_what_lives_in_main_travels_by_value_in_pieces_too(monkeypatch):
    main = types.ModuleType("__main__")
    exec("def get(): return 3", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    packed = pack_large((main.get, b"x" * LARGE_PICKLE))
    assert (packed.libraries, packed.plain) == (["worker_dispatcher.script.pickler"], False)
    in_another_main(monkeypatch)
    get, data = unpack(*from_parts(*sent(packed)))
    assert (get(), len(data)) == (3, LARGE_PICKLE)


def test_an_array_that_stands_twice_in_a_value_travels_once():
    array = np.arange(LARGE)
    value = {"a": array, "again": array, "small": np.ones(2)}
    assert [len(b) for b in pack(value).buffers] == [array.nbytes, 16]
    loaded = across(value)
    assert loaded["a"] is loaded["again"]
    assert np.array_equal(loaded["a"], array)
