"""What a report says where there is little to tell, or where it was asked for something that cannot be."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from made_logs import MIXED, ONE, log

from worker_dispatcher import check, compare, report
from worker_dispatcher.clock import Anchor
from worker_dispatcher.journal.journal import Journal

RunPython = Callable[[str], str]

ASK = """
import worker_dispatcher as wd
try:
    wd.{call}
except wd.RunError as error:
    print(error)
"""


@pytest.mark.parametrize("call", ["report()", "check(None, ['p99<1s'])", "compare([])", "compare([], None)"])
def test_before_any_run_has_ended_a_report_of_the_last_one_says_so_and_what_to_do(
    run_python: RunPython, call: str
) -> None:
    said = run_python(ASK.format(call=call))
    assert said.startswith("no run has ended yet")
    assert "start(config)" in said


def test_get_tps_before_any_run_has_the_keys_that_it_always_has(run_python: RunPython) -> None:
    said = run_python("import worker_dispatcher as wd; print(wd.get_tps()['count']['total'], wd.get_logs())")
    assert said == "0 []\n"


def test_a_report_of_no_task_says_so_instead_of_a_rate(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    Journal(tmp_path / "run.db", print, Anchor.take()).close()
    for source in ([], tmp_path / "empty.jsonl", tmp_path / "run.db"):
        assert str(report(source)) == "No task ran, or none has ended yet: there is nothing to tell."
        assert "none has ended yet" in report(source).to_html(tmp_path / "run.html").read_text()


def test_check_without_checks_holds_the_run_against_those_of_the_report() -> None:
    made = report(ONE, checks=["p99<1s", "total==2"])
    assert [finding.holds for finding in made.check().findings] == [True, False]
    with pytest.raises(ValueError, match="nothing to check: give checks"):
        report(ONE).check()


@pytest.mark.parametrize("given", ["p99<1s", ["p99<1s", "failed==0"], ("total==2",)])
def test_checks_in_the_place_of_the_run_are_told_that_the_run_comes_first(given: object) -> None:
    with pytest.raises(ValueError, match=r"the run comes first: check\(None, ") as caught:
        check(given)
    assert repr(given) in str(caught.value)


@pytest.mark.parametrize("given", [[3, 4], [None], ("a", True), [{"city": "a", "mean": 0.5}]])
def test_results_are_no_logs_and_are_refused_with_the_name_of_what_gives_them(given: object) -> None:
    for ask in (report, compare, lambda results: check(results, "failed==0")):
        with pytest.raises(TypeError, match=r"get_logs\(\) gives the logs"):
            ask(given)


@pytest.mark.parametrize(
    ("form", "name", "meant"),
    [
        ("xlsx", "run.xls", "run.xlsx"),
        ("xlsx", "RUN.CSV", "RUN.xlsx"),
        ("csv", "run.csv.gz", "run.csv"),
        ("csv", "run.xlsx", "run.csv"),
        ("json", "run.jsonl", "run.json"),
        ("jsonl", "run.csv.gz", "run.jsonl"),
        ("png", "run.svg", "run.png"),
        ("html", "run.pdf", "run.html"),
    ],
)
def test_a_file_whose_name_says_that_something_else_is_in_it_is_refused(
    form: str, name: str, meant: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"name it .*/{meant}$"):
        getattr(report(ONE), f"to_{form}")(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("form", "name"),
    [("csv", "run.txt"), ("csv", "run"), ("json", "run.2024"), ("jsonl", "run.jsonl.gz"), ("jsonl", "run.log")],
)
def test_any_other_name_will_do(form: str, name: str, tmp_path: Path) -> None:
    assert getattr(report(ONE), f"to_{form}")(tmp_path / name).stat().st_size


@pytest.mark.parametrize("form", ["csv", "xlsx", "html"])
def test_a_field_that_no_task_has_noted_is_warned_of_with_the_nearest_that_one_has(form: str, tmp_path: Path) -> None:
    made = report([log(1, 0.0, 0.5), log(2, 0.5, 0.5, metadata={"status": 200, "url": "/"})])
    with pytest.warns(UserWarning, match="no task has noted 'staus'.*did you mean 'status'") as seen:
        getattr(made, f"to_{form}")(tmp_path / f"a.{form}", raw_fields={"HTTP": "staus"})
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="noted are status, url"):
        getattr(made, f"to_{form}")(tmp_path / f"b.{form}", raw_fields=["elapsed"])


def test_fields_that_a_task_has_noted_and_those_of_no_task_are_not_warned_of(tmp_path: Path) -> None:
    made = report([*MIXED, log(9999, 0.0, 0.5, metadata={"status": 200})])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.to_csv(tmp_path / "a.csv", raw_fields={"HTTP": "status", "more": lambda notes: notes.get("none")})
        report([]).to_csv(tmp_path / "b.csv", raw_fields=["status"])
