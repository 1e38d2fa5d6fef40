"""`report` and `compare`: runs on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher
from worker_dispatcher.clock import Anchor
from worker_dispatcher.journal.journal import Journal

Call = Callable[..., Any]


def log_file(path: Path, durations: list[float], failed: int = 0) -> None:
    """A log of tasks one after the other; the first `failed` of them raised."""
    at, lines = 1_700_000_000.0, []
    for task_id, duration in enumerate(durations, 1):
        bad = task_id <= failed
        entry = {"task_id": task_id, "started_at": at, "ended_at": at + duration, "duration": duration}
        entry |= {"result": None if bad else True, "status": "error" if bad else "ok", "metadata": {}}
        entry["error"] = {"type": "E", "message": "m", "traceback": ""} if bad else None
        lines.append(json.dumps(entry))
        at += duration
    path.write_text("\n".join(lines))


@pytest.fixture
def base(folder: Path) -> Path:
    log_file(folder / "base.jsonl", [0.1] * 200)
    return folder / "base.jsonl"


def test_a_log_is_shown(call: Call, base: Path) -> None:
    said = call("report", "base.jsonl")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("200 tasks in 20.0 s")
    assert said.out == f"{worker_dispatcher.report('base.jsonl', verbose=False)}\n"


def test_the_text_fits_80_columns(call: Call, folder: Path, base: Path) -> None:
    log_file(folder / "bad.jsonl", [0.1234] * 20 + [12.5], failed=2)
    assert call("load", "orders:visit", "--rate", "200", "--duration", "0.5", "--log", "load.jsonl").code == 0
    for path in ("base.jsonl", "bad.jsonl", "load.jsonl"):
        assert max(map(len, call("report", path, "--check", "p99<300ms").out.splitlines())) < 80
    assert max(map(len, call("compare", "base.jsonl", "bad.jsonl").out.splitlines())) < 80


@pytest.mark.parametrize(("check", "code"), [("p99<150ms", 0), ("p99<50ms", 99)])
def test_checks_decide(call: Call, base: Path, check: str, code: int) -> None:
    said = call("report", "base.jsonl", "--check", check)
    assert said.code == code
    assert check in said.out


def test_failed_tasks_in_a_log_are_no_failure_of_the_report(call: Call, folder: Path) -> None:
    log_file(folder / "bad.jsonl", [0.1] * 10, failed=3)
    assert call("report", "bad.jsonl").code == 0


def test_outputs_are_written_and_said(call: Call, folder: Path, base: Path) -> None:
    said = call("report", "base.jsonl", "--csv", "out.csv", "--html", "out.html", "--json", "out.json")
    assert said.code == 0
    assert said.out.endswith("written: out.csv, out.json, out.html\n")
    assert all((folder / name).stat().st_size > 1000 for name in ("out.csv", "out.html", "out.json"))


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        (["--csv", "base.jsonl"], "--csv base.jsonl: is the file of RUN; give it another name"),
        (["--csv", "out", "--json", "out"], "--json out: is the file of --csv; give it another name"),
    ],
)
def test_no_output_overwrites_what_is_read_or_another(
    call: Call, folder: Path, base: Path, outputs: list[str], told: str
) -> None:
    before = base.read_bytes()
    assert call("report", "base.jsonl", *outputs) == (2, "", f"worker-dispatcher report: {told}\n")
    assert base.read_bytes() == before
    assert not (folder / "out").exists()


def test_a_journal_is_known_by_its_content(call: Call, folder: Path) -> None:
    anchor = Anchor.take()
    journal = Journal(folder / "run.anything", work, anchor)
    journal.seen(1, ["a", "b"])
    journal.record_run(1, [anchor.monotonic] * 2, [anchor.monotonic + 0.5] * 2, ["A", "B"], 1)
    journal.commit()
    journal.close()
    said = call("report", "run.anything", "--csv", "run.csv")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("2 tasks in 500 ms")
    assert (folder / "run.csv").read_text().endswith(",B,\n")


def work(task: str) -> str:
    return task


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "run: No such file or directory"),
        (b"1\n", "run, line 1: a log is an object, got int"),
        (b"<html>", "run, line 1: this is no JSON line"),
        (b"PK\x03\x04\xff\xfe", "run: neither JSON lines nor a journal"),
        (b"SQLite format 3\0" + bytes(2000), "journal "),
    ],
)
def test_a_file_that_is_no_run_is_told(call: Call, folder: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        (folder / "run").write_bytes(content)
        (folder / "run").chmod(0o600)
    for arguments in (["report", "run"], ["compare", "run", "run"]):
        said = call(*arguments)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"worker-dispatcher {arguments[0]}: {told}")
        assert "Traceback" not in said.err


def test_two_runs_are_compared(call: Call, folder: Path, base: Path) -> None:
    log_file(folder / "new.jsonl", [0.125] * 200)
    said = call("compare", "base.jsonl", "new.jsonl")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("a  base.jsonl\nb  new.jsonl\n")
    assert "+25.0 %  clear" in said.out


@pytest.mark.parametrize(
    ("change", "code", "observed"),
    [
        ("p95>+10%", 99, "observed 25 %"),
        ("p95>+30%", 0, "observed 25 %"),
        ("p95 > 10ms", 99, "observed 25 ms"),
        ("p95>30ms", 0, "observed 25 ms"),
        ("tps<-5%", 99, "observed -20 %"),
        ("tps<-2.5/s", 0, "observed -2/s"),
        ("error_rate>+0.01", 0, "observed 0"),
        ("error_rate>+1%", 0, "observed 0 %"),
        ("response.p95>+10%", 99, "observed no data"),
    ],
)
def test_a_change_beyond_its_limit_fails(
    call: Call, folder: Path, base: Path, change: str, code: int, observed: str
) -> None:
    log_file(folder / "new.jsonl", [0.125] * 200)
    said = call("compare", "base.jsonl", "new.jsonl", "--fail-if", change)
    assert said.code == code
    assert said.out.splitlines()[-1] == f"{'FAIL' if code else 'ok  '}  {change}   {observed}"


def test_errors_where_there_were_none_are_infinitely_more(call: Call, folder: Path, base: Path) -> None:
    log_file(folder / "new.jsonl", [0.1] * 200, failed=1)
    assert call("compare", "base.jsonl", "new.jsonl", "--fail-if", "error_rate>+1000%").code == 99
    assert call("compare", "base.jsonl", "new.jsonl", "--fail-if", "error_rate>+0.01").code == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("p95", "it cannot be read"),
        ("p95==1%", "it cannot be read"),
        ("p98>1%", "there is no 'p98'"),
        ("p95>10", "it has no unit"),
        ("p95>1/s", "p95 does not change by '/s'"),
        ("tps>1s", "tps does not change by 's'"),
        ("tps>1", "it has no unit"),
        ("error_rate>1ms", "error_rate does not change by 'ms'"),
    ],
)
def test_a_change_that_is_none_is_refused_with_the_grammar(call: Call, base: Path, change: str, told: str) -> None:
    said = call("compare", "base.jsonl", "base.jsonl", "--fail-if", change)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"worker-dispatcher compare: change '{change}': {told}\n")
    assert "operators < <= > >=" in said.err


def test_a_check_of_what_no_log_knows_is_refused_in_words(call: Call, base: Path) -> None:
    said = call("report", "base.jsonl", "--check", "not_run==0")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("worker-dispatcher report: check 'not_run==0': not_run is in no log")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--xlsx", "x.xls"], "--xlsx x.xls: what is written is xlsx, not xls; name it x.xlsx"),
        (["--csv", "x.csv.gz"], "--csv x.csv.gz: what is written is csv, not gz; name it x.csv"),
        (["--json", "x.jsonl"], "--json x.jsonl: what is written is json, not jsonl; name it x.json"),
    ],
)
def test_an_output_whose_name_says_another_form_is_refused(
    call: Call, base: Path, arguments: list[str], told: str
) -> None:
    assert call("report", "base.jsonl", *arguments) == (2, "", f"worker-dispatcher report: {told}\n")


@pytest.mark.parametrize("command", ["report", "compare"])
def test_the_help_of_what_reads_runs_knows_no_exit_code_for_failed_tasks(call: Call, command: str) -> None:
    said = call(command, "--help").out
    assert "\n  99 " in said
    assert "\n  1 " not in said
