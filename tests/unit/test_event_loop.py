"""The loop that coroutines run on: its timers do what asyncio's do."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import selectors
import socket
import threading
import time
import weakref

import pytest

from worker_dispatcher.pools.runners import event_loop
from worker_dispatcher.pools.runners.event_loop import TimerLoop, new_loop

pytestmark = pytest.mark.skipif(not hasattr(selectors, "EpollSelector"), reason="asyncio's own loop serves there")


@pytest.fixture
def loop():
    loop = new_loop()
    yield loop
    loop.close()


@pytest.fixture
def seen():
    return []


def run_until(loop, delay):
    loop.call_later(delay, loop.stop)
    loop.run_forever()


def test_timers_ring_in_the_order_of_their_times_whatever_the_order_they_came_in(loop, seen):
    start = loop.time()
    for delay in (0.02, 0.01, 0.03, 0.015):
        loop.call_later(delay, seen.append, delay)
    run_until(loop, 0.04)
    assert seen == [0.01, 0.015, 0.02, 0.03]
    assert loop.time() - start >= 0.04


def test_timers_for_one_moment_ring_in_the_order_they_came_in(loop, seen):
    at = loop.time() + 0.01
    for nth in range(100):
        loop.call_at(at, seen.append, nth)
    run_until(loop, 0.02)
    assert seen == list(range(100))


def test_a_timer_never_rings_early(loop, seen):
    for nth in range(200):
        at = loop.time() + nth * 1e-4
        loop.call_at(at, lambda at: seen.append(loop.time() - at), at)
    run_until(loop, 0.05)
    assert len(seen) == 200
    assert min(seen) >= 0


def test_what_a_timer_sets_for_now_has_its_turn_and_starves_nobody(loop, seen):
    def again():
        seen.append("again")
        if len(seen) < 1000:
            loop.call_later(0, again)

    loop.call_later(0, again)
    loop.call_soon(lambda: loop.call_soon(seen.append, "other"))
    run_until(loop, 1.0) if not seen else None
    assert seen.index("other") < 10
    assert seen.count("again") >= 999


def test_a_cancelled_timer_never_rings_and_lets_go_of_what_it_held(loop, seen):
    class Thing:
        pass

    thing = Thing()
    alive = weakref.ref(thing)
    timer = loop.call_later(0.01, seen.append, thing)
    assert not timer.cancelled()
    timer.cancel()
    timer.cancel()
    del thing
    gc.collect()
    assert alive() is None
    assert timer.cancelled()
    run_until(loop, 0.02)
    assert seen == []


def test_timers_that_ring_together_can_cancel_each_other(loop, seen):
    at = loop.time() + 0.01
    timers = [loop.call_at(at, lambda: (seen.append("first"), timers[1].cancel()))]
    timers.append(loop.call_at(at, seen.append, "second"))
    run_until(loop, 0.02)
    assert seen == ["first"]
    assert not timers[0].cancelled()
    timers[0].cancel()  # too late, as in asyncio
    assert timers[0].when() == at


def test_cancelled_timers_of_the_far_future_do_not_pile_up(loop):
    kept = loop.call_later(1000, print)
    for _ in range(10_000):
        loop.call_later(1000, print).cancel()
    assert isinstance(loop, TimerLoop)
    assert len(loop._book) < 1000
    assert not kept.cancelled()


def test_what_a_timer_raises_is_told_to_the_handler_and_the_others_ring(loop, seen):
    loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))
    error = ValueError("oops")

    def fails():
        raise error

    loop.call_later(0.01, fails)
    loop.call_later(0.01, seen.append, "next")
    run_until(loop, 0.02)
    assert seen == [error, "next"]


def test_an_exit_goes_out_of_the_loop_and_the_other_timers_are_still_there(loop, seen):
    def leave():
        raise SystemExit(3)

    loop.call_later(0.01, leave)
    loop.call_later(0.01, seen.append, "next")
    with pytest.raises(SystemExit):
        loop.run_forever()
    run_until(loop, 0.01)
    assert seen == ["next"]


def test_a_timer_runs_in_the_context_it_was_set_in_or_is_given(loop, seen):
    name = contextvars.ContextVar("name")
    other = contextvars.copy_context()
    other.run(name.set, "given")
    name.set("own")
    timer = loop.call_later(0.001, lambda: seen.append(name.get()))
    loop.call_later(0.002, lambda: seen.append(name.get()), context=other)
    name.set("later")
    assert timer.get_context()[name] == "own"
    run_until(loop, 0.01)
    assert seen == ["own", "given"]


def test_no_time_and_a_closed_loop_are_refused(loop):
    with pytest.raises(TypeError):
        loop.call_at(None, print)
    with pytest.raises(TypeError):
        loop.call_later(None, print)
    loop.call_later(10, print)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(5, print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(50, print)


def test_descriptors_are_heard_while_a_timer_is_awaited_also_where_select_cannot(loop, monkeypatch):
    def greet(reader, writer):
        writer.write(b"hello")
        writer.close()  # from Python 3.12.1 on, a server is closed once its connections are

    async def echo():
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            said = await asyncio.wait_for(reader.readexactly(5), 10)
            writer.close()
        return said

    assert loop.run_until_complete(echo()) == b"hello"
    monkeypatch.setattr(event_loop, "_SELECT_MOST", 0)
    assert loop.run_until_complete(echo()) == b"hello"


def test_the_loop_of_a_policy_that_the_user_has_set_is_taken():
    class Chosen(asyncio.SelectorEventLoop):
        pass

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self):
            return Chosen()

    asyncio.set_event_loop_policy(Policy())
    try:
        loop = new_loop()
        loop.close()
    finally:
        asyncio.set_event_loop_policy(None)
    assert type(loop) is Chosen


def test_a_timer_for_no_time_is_refused_and_holds_up_no_other(loop, seen):
    with pytest.raises(ValueError, match="NaN"):
        loop.call_later(float("nan"), seen.append, "never")
    loop.call_later(0.01, seen.append, "after it")
    run_until(loop, 0.02)
    assert seen == ["after it"]


# What is to be called soon


def test_what_is_called_soon_has_its_turn_in_the_order_of_the_calls_from_whatever_thread(loop, seen):
    loop.call_soon(seen.append, 1)
    loop.call_soon_threadsafe(seen.append, 2)
    loop.call_soon(seen.append, 3)
    other = threading.Thread(target=loop.call_soon_threadsafe, args=(seen.append, 4))
    other.start()
    other.join()
    loop.call_soon(seen.append, 5)
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, 6)  # in the same turn: it still has it
    loop.run_forever()
    assert seen == [1, 2, 3, 4, 5, 6]


def test_what_comes_while_others_have_their_turn_waits_for_the_next(loop, seen):
    def again():
        seen.append("again")
        if "heard" not in seen:
            loop.call_soon(again)

    reader, writer = socket.socketpair()
    with reader, writer:
        loop.add_reader(reader, lambda: (seen.append("heard"), loop.remove_reader(reader), loop.stop()))
        loop.call_soon(again)
        loop.call_soon(writer.send, b"x")
        run_until(loop, 20)
    assert seen.index("heard") < 5


def test_another_thread_wakes_a_loop_that_waits(loop, seen):
    def other():
        loop.call_soon_threadsafe(seen.append, "woken")
        loop.call_soon_threadsafe(loop.stop)

    at = loop.time()
    never = loop.call_later(600, loop.stop)
    loop.call_soon(threading.Thread(target=other).start)
    loop.run_forever()
    never.cancel()
    assert seen == ["woken"]
    assert loop.time() - at < 60


def test_what_is_cancelled_before_its_turn_is_not_called_and_lets_go_of_what_it_held(loop, seen):
    class Thing:
        pass

    thing, cancelled = Thing(), []
    alive = weakref.ref(thing)
    soon, same = loop.call_soon(seen.append, thing), loop.call_soon(seen.append, "same")
    loop.call_soon(lambda: cancelled.append(last.cancel()))
    last = loop.call_soon(seen.append, "last")
    assert not soon.cancelled()
    soon.cancel()
    soon.cancel()
    del thing
    gc.collect()
    assert alive() is None
    assert soon.cancelled()
    assert not same.cancelled()
    assert len({soon, same, last}) == 3
    assert same != loop.call_soon(seen.append, "same")
    run_until(loop, 0.001)
    assert seen == ["same", "same"]


def test_what_is_called_soon_runs_in_the_context_it_was_set_in_or_is_given(loop, seen):
    name = contextvars.ContextVar("name")
    other = contextvars.Context()  # an empty one is one, too
    name.set("own")
    handle = loop.call_soon(lambda: seen.append(name.get(None)))
    for call in (loop.call_soon, loop.call_soon_threadsafe, functools.partial(loop.call_later, 0)):
        call(lambda: seen.append(name.get(None)), context=other)
    name.set("later")
    assert handle.get_context()[name] == "own"
    run_until(loop, 0.001)
    assert seen == ["own", None, None, None]


def test_what_a_callback_raises_is_told_to_the_handler_and_the_others_have_their_turn(loop, seen):
    loop.set_exception_handler(lambda loop, context: seen.append((context["message"], context["exception"])))
    error = ValueError("oops")

    def fails():
        raise error

    for callback in (fails, lambda: seen.append("next"), fails):
        loop.call_soon(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert [one if one == "next" else one[1] for one in seen] == [error, "next", error]
    assert "fails" in seen[0][0]


def test_an_exit_goes_out_of_the_loop_and_the_others_still_have_their_turn(loop, seen):
    def leave():
        raise KeyboardInterrupt

    for callback in (leave, lambda: seen.append("next"), leave, lambda: seen.append("last")):
        loop.call_soon(callback)
    for said in ([], ["next"]):
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert seen == said
    run_until(loop, 0.001)
    assert seen == ["next", "last"]


def test_a_closed_loop_calls_nothing_and_holds_nothing(loop, seen):
    class Thing:
        pass

    thing = Thing()
    alive = weakref.ref(thing)
    loop.call_soon(seen.append, thing)
    loop.close()
    for call in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(RuntimeError, match="closed"):
            call(seen.append, thing)
    del thing
    gc.collect()
    assert alive() is None


def test_in_debug_mode_asyncio_sees_to_what_is_called(loop, caplog):
    loop.set_debug(True)
    with pytest.raises(TypeError, match="callable"):
        loop.call_soon("not callable")
    loop.slow_callback_duration = 0.001
    loop.call_soon(time.sleep, 0.01)
    loop.call_soon(loop.stop)
    with caplog.at_level("WARNING", logger="asyncio"):
        loop.run_forever()
    assert "sleep" in caplog.text
