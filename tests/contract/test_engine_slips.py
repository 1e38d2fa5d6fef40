"""What newcomers mistake for something else: it works, or is told where it is said, with the value and the fix."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher import ConfigError
from worker_dispatcher.engine import Engine, EngineSetting, ThreadJob
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
