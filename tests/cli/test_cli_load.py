"""`load`: a rate or stages, checks that decide, and the files it writes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker_dispatcher.cli.commands.load import stages
from worker_dispatcher.dispatch.progress_display import Progress
from worker_dispatcher.reports import outputs

Call = Callable[..., Any]
SHORT = ["--rate", "100/s", "--duration", "0.2"]


def test_a_load_ends_in_its_report(call: Call, logs: Call) -> None:
    said = call("load", "orders:visit", *SHORT, "--log", "run.jsonl", "--csv", "run.csv", "--json", "run.json")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("loading orders:visit with 100/s for 0.2 s ...\n\n")
    assert "\n\n20 tasks in " in said.out
    assert "from due time" in said.out
    assert said.out.endswith("\nwritten: run.jsonl, run.csv, run.json\n")
    assert len(logs("run.jsonl")) == 20


@pytest.mark.parametrize(("check", "code"), [("p99<10s", 0), ("p99<1us", 99), ("tps>1000000", 99)])
def test_checks_decide(call: Call, check: str, code: int) -> None:
    said = call("load", "orders:visit", *SHORT, "--check", "error_rate<1%", "--check", check)
    assert said.code == code
    assert f"{'FAIL' if code else 'ok  '}  {check}" in said.out


def test_without_checks_a_failed_task_is_a_failure_and_with_them_it_is_theirs(call: Call, folder: Path) -> None:
    (folder / "list.txt").write_text("one\nbad\n")
    asked = ["load", "orders:fetch", *SHORT, "--list", "list.txt", "--quiet"]
    assert call(*asked) == (1, "", "worker-dispatcher load: 10 of 20 tasks failed\n")
    assert call(*asked, "--check", "error_rate<60%") == (0, "", "")
    said = call(*asked, "--check", "error_rate<1%")
    assert said == (99, "", "worker-dispatcher load: FAIL  error_rate<1%   observed 50 %\n")


def test_a_list_ends_a_load_without_duration_and_begins_again_within_one(call: Call, folder: Path, logs: Call) -> None:
    (folder / "list.txt").write_text("one\ntwo\n")
    assert call("load", "orders:fetch", "--rate", "100", "--list", "list.txt", "--log", "run.jsonl").code == 0
    assert [log["result"][0] for log in logs("run.jsonl")] == ["one", "two"]
    assert call("load", "orders:fetch", *SHORT, "--list", "list.txt", "--log", "run.jsonl").code == 0
    assert [log["result"][0] for log in logs("run.jsonl")] == ["one", "two"] * 10


@pytest.mark.parametrize("shape", [["--max-workers", "3"], ["--grid", "1x3"], ["--processes", "--max-workers", "2"]])
def test_stages_run_in_every_shape(program: Call, logs: Call, shape: list[str]) -> None:
    process = program(
        "load", "orders:whoami", "--stages", "0.1s:=100/s,0.1s:=200/s", "--log", "run.jsonl", "--quiet", *shape
    )
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert len(logs("run.jsonl")) == 30
    assert (process.pid in {log["result"][1] for log in logs("run.jsonl")}) == (shape[0] == "--max-workers")


def test_stages_are_read_as_the_config_has_them() -> None:
    assert stages("30s:200/s,1min:=90/min, 500ms : 0/s") == [
        {"duration": 30, "rate": "200/s", "step": False},
        {"duration": 60, "rate": "90/min", "step": True},
        {"duration": 0.5, "rate": 0, "step": False},
    ]


@pytest.mark.parametrize("text", ["", "30s", "30s:", ":200", "30x:200", "30s:200,,10s:1", "30s=200"])
def test_stages_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be"):
        stages(text)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--rate", "10"], "a --rate has no end of its own: give --duration, or a --list"),
        (["--duration", "1"], "one of the arguments --rate --stages is required"),
        (["--rate", "10", "--stages", "1s:1", "--duration", "1"], "not allowed with argument"),
        (["--rate", "10x", "--duration", "1"], "--rate (worker.frequency_mode.rate)  must be a rate, got str '10x'"),
        (["--rate", "10", "--duration", "0"], "--duration (worker.frequency_mode.duration)  must be > 0"),
        (["--stages", "1s:fast"], "--stages (worker.frequency_mode.stages)"),
        ([*SHORT, "--pacing", "odd"], "--pacing (worker.frequency_mode.pacing)  must be 'burst'"),
        ([*SHORT, "--max-workers", "0"], "--max-workers (worker.frequency_mode.max_workers)  must be >= 1"),
        ([*SHORT, "--grid", "2x2", "--max-workers", "2"], "leave --max-workers out"),
        ([*SHORT, "--check", "p99<1x"], "check 'p99<1x'"),
        ([*SHORT, "--check", "p98.5"], "check 'p98.5': it cannot be read"),
        ([*SHORT, "--html", "no/where.html"], "--html no/where.html: there is no folder no"),
    ],
)
def test_a_usage_that_is_none_is_told_and_nothing_is_started(
    call: Call, folder: Path, options: list[str], told: str
) -> None:
    said = call("load", "orders:fetch", *options)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
    assert "Traceback" not in said.err
    assert not (folder / "begun").exists()


@pytest.mark.parametrize(("form", "extra"), [("html", "report"), ("png", "report"), ("xlsx", "xlsx")])
def test_an_output_whose_package_is_missing_is_refused_before_the_load(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, form: str, extra: str
) -> None:
    module = outputs.FORMS[form][0]

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(outputs, "import_module", missing)
    said = call("load", "orders:fetch", *SHORT, f"--{form}", "out")
    assert (said.code, said.out) == (2, "")
    assert f"needs {module.partition('.')[0]}, which is not there: pip install 'worker-dispatcher[{extra}]'" in said.err
    assert not (folder / "begun").exists()


def test_a_page_and_a_workbook_are_written(call: Call, folder: Path) -> None:
    assert call("load", "orders:visit", *SHORT, "--html", "run.html", "--xlsx", "run.xlsx").code == 0
    assert (folder / "run.html").read_text().startswith("<!DOCTYPE html>")
    assert (folder / "run.xlsx").read_bytes().startswith(b"PK")


@pytest.mark.parametrize(
    ("body", "code"),
    [("return None", 0), ("return 0", 0), ("return False", 1), ("return answer(503)", 1), ("return answer(201)", 0)],
)
@pytest.mark.parametrize("command", [["load", *SHORT], ["run", "--list", "3"]])
def test_what_is_no_success_ends_a_command_with_1(
    call: Call, folder: Path, command: list[str], body: str, code: int
) -> None:
    source = "import requests\ndef answer(status):\n    made = requests.Response()\n    made.status_code = status\n"
    (folder / "shop.py").write_text(f"{source}    return made\ndef visit(id):\n    {body}\n")
    name, *options = command
    assert call(name, "shop:visit", *options, "--quiet").code == code
    assert call(name, "shop:visit", *options).code == code


def test_stages_that_end_before_the_duration_are_told(call: Call) -> None:
    said = call("load", "orders:whoami", "--stages", "0s:20,200ms:20", "--duration", "1m30s", "--quiet")
    assert said == (
        0,
        "",
        "worker-dispatcher load: the load ends with its stages, after 0.2 s; --duration 90 s is longer\n",
    )


def test_the_last_live_line_is_gone_before_the_summary(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr(
        "worker_dispatcher.dispatch.progress_display.Progress.__init__",
        lambda self, *of, keep, made=Progress.__init__: kept.append(keep) or made(self, *of, keep=keep),
    )
    assert call("load", "orders:whoami", "--rate", "20", "--duration", "100ms").code == 0
    assert kept == [False]
