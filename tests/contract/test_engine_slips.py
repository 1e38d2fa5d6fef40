"""What newcomers mistake for something else: it works, or is told where it is said, with the value and the fix."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import ConfigError, WorkerWarning
from worker_dispatcher.engine import (
    CronJob,
    Engine,
    EngineSetting,
    InvalidStateError,
    Job,
    ProcessJob,
    SubprocessJob,
    ThreadJob,
    every,
)
from worker_dispatcher.engine.conditions import AfterAnother, AfterOthers, AllSatisfied, AnySatisfied, Condition

QUIET = EngineSetting(print_traceback=False)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def job(**said: Any) -> ThreadJob:
    return ThreadJob(abs, (-1,), **said)


# Conditions


def test_a_job_or_its_future_in_a_condition_stands_for_its_id() -> None:
    a, b = job(), job()
    assert AfterAnother(a) == AfterAnother(a.id) == AfterAnother(a.future)  # type: ignore[arg-type]
    assert AfterOthers((a, b.future)) == AfterOthers([a.id, b.id])  # type: ignore[arg-type]
    with Engine() as engine:
        last = job(condition=AfterAnother(a) & AfterOthers([b]))  # type: ignore[arg-type, list-item]
        engine.submit(last, a, b)
        assert engine.wait_job(last, 60) == 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: AfterAnother(None), "expected a job, or the id of one, got None"),  # type: ignore[arg-type]
        (lambda: AfterOthers("a"), "job_ids: expected a list of jobs, or of their ids, got 'a'"),
        (lambda: AfterOthers(job()), "job_ids: expected a list of jobs"),  # type: ignore[arg-type]
        (lambda: AfterOthers("a", "b"), "job_ids: expected a list of jobs"),
        (lambda: AfterOthers([3]), "expected a job, or the id of one, got 3"),  # type: ignore[list-item]
        (lambda: AfterAnother("a", "done"), r"expected a list of statuses, such as \['done'\], got 'done'"),
        (lambda: AfterAnother("a", ["finished"]), "expected some of created, .*, cancelled, got 'finished'"),
        (lambda: AfterOthers(["a"], ["don"]), "got 'don'"),
        (lambda: AllSatisfied([AfterAnother("a"), job()]), "expected a list of conditions, got <ThreadJob"),  # type: ignore[list-item]
        (lambda: AnySatisfied([AfterAnother]), "expected a list of conditions, got <class"),  # type: ignore[list-item]
        (lambda: AllSatisfied(AfterAnother("a")), "expected a list of conditions, got AfterAnother"),  # type: ignore[arg-type]
    ],
)
def test_a_condition_of_what_is_none_is_refused_where_it_is_made(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.parametrize("wrong", [job(), AfterAnother, lambda: True, "a"], ids=["job", "class", "lambda", "text"])
def test_what_is_no_condition_cannot_be_combined_with_one(wrong: Any) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        AfterAnother("a") & wrong
    with pytest.raises(TypeError, match="unsupported operand"):
        AfterAnother("a") | wrong


def test_the_class_of_a_condition_is_told_from_a_condition() -> None:
    with pytest.raises(ConfigError, match=r"the class AfterAnother; make one: AfterAnother\(\.\.\.\)"):
        job(condition=AfterAnother)


def test_a_star_import_of_the_conditions_leaves_the_modules_of_the_user_alone() -> None:
    names: dict[str, Any] = {}
    exec("from worker_dispatcher.engine.conditions import *", names)
    assert not {"time", "datetime", "timedelta"} & names.keys()
    assert "AfterTimepoint" in names


class Raises(Condition):
    """Raises the same three times, then something else, then is true."""

    def __init__(self) -> None:
        self.asked = 0

    def satisfy(self, engine: Engine) -> bool:
        self.asked += 1
        if self.asked <= 4:
            raise ValueError("same" if self.asked <= 3 else "another")
        return True


def test_a_condition_that_raises_the_same_at_each_question_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), Engine() as engine:
        waiting = job(condition=Raises(), wait_time_delta=0.001, name="waits")
        engine.submit(waiting)
        assert engine.wait_job(waiting, 60) == 1
    told = [record.exc_info and str(record.exc_info[1]) for record in caplog.records]
    assert told == ["same", "another"]
    assert waiting.id in caplog.text


# Jobs, and what is asked of them


@pytest.mark.parametrize("kind", [ThreadJob, ProcessJob])
@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: {"a": (1, one)}])
def test_a_job_in_the_place_of_its_future_is_told(kind: type[Job], wrap: Any) -> None:
    with Engine() as engine:
        first = job(name="first")
        for second in (kind(str, (wrap(first),)), kind(str, kwargs={"object": wrap(first)})):
            with pytest.raises(TypeError, match=r"<ThreadJob .*func=first> is among .*give its `future` there"):
                engine.submit(first, second)
            assert (first.status, second.status) == ("created", "created")
        right = kind(abs, (first.future,))
        engine.submit(first, right)
        assert engine.wait_job(right, 60) == 1


@pytest.mark.parametrize("args", [-1, "abc", b"abc", {"a": 1}, {1}, job()], ids=lambda args: type(args).__name__)
def test_arguments_that_are_not_several_are_refused(args: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        ThreadJob(len, args)
    assert "args" in str(caught.value)
    assert f"got {args!r}; for this one alone: ({args!r},)" in str(caught.value)


def test_arguments_may_be_any_sequence_or_generator() -> None:
    for args in ([-1], (-1,), iter([-1]), range(-1, 0)):
        assert ThreadJob(abs, args).args == (-1,)  # type: ignore[arg-type]
    assert ThreadJob(abs).args == () and ThreadJob(int, (), {"x": 1}).kwargs == {"x": 1}  # noqa: PT018


def test_keyword_arguments_and_callbacks_of_wrong_types_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"kwargs .*expected a dict of arguments by name, got 3"):
        ThreadJob(abs, (1,), 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"error_callback .*expected a function, got 'x'"):
        job(error_callback="x")


def test_what_is_no_job_is_told_by_each_verb() -> None:
    with Engine() as engine:
        for verb, call in (("submit", engine.submit), ("cancel", engine.cancel), ("wait_job", engine.wait_job)):
            with pytest.raises(TypeError, match=f"{verb}: expected .* got 'x'$"):
                call("x")  # type: ignore[operator]
            with pytest.raises(TypeError, match=f"{verb}: expected .*; of several: {verb}"):
                call([job()])  # type: ignore[operator]


def test_a_job_in_the_place_of_a_timeout_is_told() -> None:
    one = job()
    with Engine() as engine:
        with pytest.raises(TypeError, match=r"timeout: expected seconds, or None, got <ThreadJob .* wait_job"):
            engine.wait(one)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="timeout: expected seconds"):
            asyncio.run(engine.wait_async(one))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [4, {"max_jobs": 3}, EngineSetting, 0, {}], ids=repr)
def test_what_are_no_settings_is_told(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected an EngineSetting, such as"):
        Engine(wrong)


def test_a_result_that_is_not_there_says_why() -> None:
    may_end = threading.Event()
    created, failed, running = job(), ThreadJob(int, ("x",)), ThreadJob(may_end.wait, (60,))
    with Engine(QUIET) as engine:
        engine.submit(failed, running)
        engine.wait_job(failed)
        for one, why in (
            (created, "submit it first"),
            (failed, "it failed with ValueError(\"invalid literal for int() with base 10: 'x'\")"),
            (running, "wait for it first, as engine.wait_job(job) and job.future.result() do"),
        ):
            with pytest.raises(InvalidStateError) as caught:
                one.result()
            assert str(caught.value).endswith(f"should be done for that: {why}")
            assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        may_end.set()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("retrys", "did you mean retries?"),
        ("tiemout", "did you mean timeout?"),
        ("max_retries", "did you mean retries?"),
        ("depends_on", "give futures of jobs as arguments, or condition=AfterOthers"),
        ("number", "arguments of its function go into args="),
    ],
)
def test_what_is_said_of_a_job_in_a_wrong_word_is_warned_of_at_its_line(name: str, told: str) -> None:
    def half(number: int) -> float:
        return number / 2

    for make in (ThreadJob, ProcessJob, CronJob):
        more = (every("1h"),) if make is CronJob else ()
        with pytest.warns(
            WorkerWarning, match=f"Job: {name} is only kept, in the attrs of the job; .*{told[:20]}"
        ) as caught:
            make(half, *more, **{name: 1})
        assert {warning.filename for warning in caught} == {__file__}
        assert told in str(caught[0].message)


def test_words_of_the_users_own_are_kept_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert job(tags=["a"], owner="me", attempt_of=3).attrs == {"tags": ["a"], "owner": "me", "attempt_of": 3}
    assert not recwarn.list


@pytest.mark.parametrize("cmd", [print, 3, b"true", ["sleep", 1], ["echo", job().future]], ids=lambda cmd: str(cmd)[:9])
def test_a_command_that_is_none_is_refused(cmd: Any) -> None:
    with pytest.raises(ConfigError, match=r"cmd .*expected a command, or a list of its arguments as texts, got "):
        SubprocessJob(cmd)


def test_paths_are_arguments_of_commands() -> None:
    assert SubprocessJob(["cat", Path("a b")]).cmd == "cat 'a b'"


def stuck(how: Callable[[Engine], None]) -> list[str]:
    """What is warned of where a job waits for another that has failed to be done."""
    bad = ThreadJob(int, ("x",), name="compile", id="c")
    link = job(name="link", id="l", condition=AfterAnother(bad, ["done"]))  # type: ignore[arg-type]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Engine(QUIET) as engine:
            engine.submit(bad, link)
            how(engine)
    return [str(warning.message).splitlines()[-1] for warning in caught]


def test_jobs_that_can_never_begin_are_told_once_by_name_with_what_they_wait_for() -> None:
    told = "  link (l) waits for compile (c) to be done; it is failed"
    assert stuck(lambda engine: engine.wait(60)) == [told]
    assert stuck(lambda engine: None) == [told]
    assert stuck(lambda engine: (engine.wait(60), engine.wait(60))) == [told, told]  # type: ignore[arg-type, func-returns-value, return-value]


def values(count: int) -> Iterator[int]:
    yield from range(count)


@pytest.mark.parametrize("kind", [ThreadJob, ProcessJob])
def test_a_job_that_waits_for_the_end_of_values_that_nobody_asks_for_is_warned_of(kind: type[Job]) -> None:
    with Engine() as engine:
        given = kind(values, (3,), name="gives")
        waits = ThreadJob(id, (given.future,), name="waits")
        with pytest.warns(WorkerWarning, match=r"func=waits> begins once .* values of .*func=gives>.*return a list"):
            engine.submit(waits, given)
        assert list(given.result()) == [0, 1, 2]


def test_words_for_a_shell_in_a_command_that_none_runs_are_warned_of(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.warns(
        WorkerWarning, match=r"^SubprocessJob: \| is a plain argument in 'echo a \| wc'.*shell"
    ) as caught:
        SubprocessJob("echo a | wc")
    assert caught[0].filename == __file__
    recwarn.clear()
    SubprocessJob("echo a | wc", popen_kwargs={"shell": True})
    SubprocessJob(["echo", "|"])
    SubprocessJob("sh -c 'echo a | wc'")
    assert not recwarn.list
