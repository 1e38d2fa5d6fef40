"""How a command ends: interrupted, by signals, with nobody reading, and the bare command."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher
from worker_dispatcher.cli.commands import doctor

Call = Callable[..., Any]
SHAPES = {"threads": ["--workers", "4"], "processes": ["--processes", "--workers", "4"], "grid": ["--grid", "2x2"]}
TASKS = "quick-1\nquick-2\na\nb\nc\nd\ne\nf\n"


def await_running(folder: Path, count: int = 6) -> None:
    until = time.monotonic() + 30
    while len(list(folder.glob("running-*"))) < count:
        assert time.monotonic() < until, "the tasks did not begin"
        time.sleep(0.01)


def await_rest(pid: int) -> None:
    """Until a program only waits: all its threads sleep, and none of them has run for a while."""
    until, seen = time.monotonic() + 30, ["R"]
    while seen != (seen := _threads(pid)) or not all("(sleeping)" in thread for thread in seen):
        assert time.monotonic() < until, "it does not come to rest"
        time.sleep(0.1)


def _threads(pid: int) -> list[str]:
    """Of each thread, what it does and how often it was put to sleep and woken."""
    statuses = [path.read_text().splitlines() for path in sorted(Path(f"/proc/{pid}/task").glob("*/status"))]
    return ["".join(line for line in lines if "switches" in line or "State" in line) for lines in statuses]


@pytest.mark.parametrize("presses", [1, 10])
@pytest.mark.parametrize("to", ["the group", "the parent"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ctrl_c_writes_the_log_says_so_and_ends_with_130(
    program: Call, folder: Path, logs: Call, shape: str, to: str, presses: int
) -> None:
    (folder / "list.txt").write_text(TASKS)
    process = program("run", "orders:nap", "--list", "list.txt", "--log", "run.jsonl", "--quiet", *SHAPES[shape])
    await_running(folder)
    for _ in range(presses):
        os.killpg(process.pid, signal.SIGINT) if to == "the group" else process.send_signal(signal.SIGINT)
        time.sleep(0.001 if presses > 1 else 0)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err == "worker-dispatcher run: interrupted: 2 tasks ended, 4 stopped; written: run.jsonl\n"
    assert [log["status"] for log in logs("run.jsonl")] == ["ok", "ok", *["cancelled"] * 4]


@pytest.mark.parametrize("arguments", [["report", "slow.jsonl"], ["compare", "slow.jsonl", "slow.jsonl"]])
def test_ctrl_c_ends_a_command_that_reads(program: Call, folder: Path, arguments: list[str]) -> None:
    os.mkfifo(folder / "slow.jsonl")
    process = program(*arguments)
    await_rest(process.pid)  # it opens the file, which waits for somebody to write to it
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, f"worker-dispatcher {arguments[0]}: interrupted\n")


def test_ctrl_c_ends_the_doctor(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_shared_memory", lambda: os.kill(os.getpid(), signal.SIGINT))
    said = call("doctor")
    assert (said.code, said.err) == (130, "worker-dispatcher doctor: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_ends_from_outside_write_the_log_too(program: Call, folder: Path, logs: Call, number: int) -> None:
    (folder / "list.txt").write_text(TASKS)
    process = program("run", "orders:nap", "--list", "list.txt", "--log", "run.jsonl", "--quiet", *SHAPES["threads"])
    await_running(folder)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert err.endswith("written: run.jsonl\n")
    assert len(logs("run.jsonl")) == 6


def test_sigterm_ends_a_background_job_that_ignores_ctrl_c(program: Call, folder: Path, logs: Call) -> None:
    (folder / "list.txt").write_text(TASKS)
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    process = program("run", "orders:nap", "--list", "list.txt", "--log", "run.jsonl", *SHAPES["threads"], **ignore)
    await_running(folder)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert len(logs("run.jsonl")) == 6


def test_ctrl_c_reaches_a_run_that_waits_for_its_next_line(program: Call, folder: Path, logs: Call) -> None:
    process = program("run", "orders:nap", "--list", "-", "--log", "run.jsonl", "--quiet", stdin=subprocess.PIPE)
    process.stdin.write("quick-1\n")
    process.stdin.flush()
    await_running(folder, 1)
    await_rest(process.pid)
    process.send_signal(signal.SIGINT)
    process.wait(20)
    assert process.returncode == 130
    assert process.stderr.read() == "worker-dispatcher run: interrupted: 1 task ended; written: run.jsonl\n"
    assert len(logs("run.jsonl")) == 1


def test_ctrl_c_in_a_load_writes_what_there_is(program: Call, folder: Path, logs: Call) -> None:
    (folder / "list.txt").write_text("quick-1\n")
    wanted = ["--rate", "50", "--duration", "60", "--list", "list.txt", "--log", "run.jsonl", "--csv", "run.csv"]
    process = program("load", "orders:nap", *wanted)
    await_running(folder, 1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.fullmatch(
        r"worker-dispatcher load: interrupted: \d+ tasks? ended(, \d+ stopped)?; written: run.jsonl, run.csv\n", err
    )
    assert "stopped early: interrupt" in out
    assert logs("run.jsonl")


def test_ctrl_c_without_a_log_says_what_would_have_kept_results(program: Call, folder: Path) -> None:
    (folder / "list.txt").write_text(TASKS)
    process = program("run", "orders:nap", "--list", "list.txt", "--quiet", *SHAPES["threads"])
    await_running(folder)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert err.endswith("interrupted: 2 tasks ended, 4 stopped; --log FILE would have kept their results\n")


def test_a_run_with_a_journal_is_taken_up_by_the_same_command(program: Call, call: Call, folder: Path) -> None:
    (folder / "list.txt").write_text(TASKS)
    command = ["run", "orders:nap", "--list", "list.txt", "--journal", "run.db", "--workers", "4"]
    process = program(*command, "--quiet")
    await_running(folder)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    rest = "run.db has what was done: the same command again runs the rest"
    assert err.endswith(f"interrupted: 2 tasks ended, 4 stopped; {rest}\n")
    for mark in folder.glob("running-*"):
        mark.unlink()
    (folder / "go").touch()
    assert call(*command, "--quiet") == (0, "", "")
    assert sorted(mark.name[8:] for mark in folder.glob("running-*")) == list("abcdef")
    told = [line.split() for line in call("report", "run.db").out.splitlines()]
    assert told[1][:2] == ["2", "sessions,"]
    assert ["succeeded", "8", "100.0", "%"] in told


def test_ctrl_c_typed_on_a_terminal_ends_the_run(folder: Path, logs: Call) -> None:
    (folder / "list.txt").write_text(TASKS)

    def press(terminal: int) -> None:
        await_running(folder)
        os.write(terminal, b"\x03")

    code, shown = on_a_terminal(
        ["run", "orders:nap", "--list", "list.txt", "--log", "r.jsonl", *SHAPES["processes"]], press
    )
    assert code == 130
    assert "interrupted: 2 tasks ended, 4 stopped; written: r.jsonl" in shown
    assert "Traceback" not in shown
    assert len(logs("r.jsonl")) == 6


@pytest.mark.parametrize(
    ("options", "bar"),
    [([], True), (["--no-progress"], False), (["--quiet"], False), (["--quiet", "--progress"], True)],
)
@pytest.mark.parametrize("command", [["run"], ["load", "--rate", "20"]], ids=["run", "load"])
def test_a_bar_is_there_on_a_terminal_unless_it_is_not_wanted(
    folder: Path, command: list[str], options: list[str], bar: bool
) -> None:
    (folder / "steps.py").write_text("import time\ndef f(id): time.sleep(0.05)")
    name, *rest = command
    wanted = ["--workers", "1"] if name == "run" else []
    code, shown = on_a_terminal([name, "steps:f", "--list", "20", *rest, *wanted, *options])
    assert code == 0
    assert ("\x1b" in shown) == bar
    assert (shown == "") == (options == ["--quiet"])


def on_a_terminal(arguments: list[str], meanwhile: Callable[[int], None] = lambda terminal: None) -> tuple[int, str]:
    """The exit code of the command on a terminal of its own, and all that it wrote there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        termios.tcsetwinsize(0, (24, 80))
        os.execv(sys.executable, [sys.executable, "-m", "worker_dispatcher", *arguments])
    try:
        meanwhile(terminal)
        shown = read_all(terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        pid = 0
    finally:
        os.close(terminal)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return code, shown


def read_all(terminal: int) -> str:
    shown = b""
    until = time.monotonic() + 20
    while select.select([terminal], [], [], max(0, until - time.monotonic()))[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # what a terminal says whose other end is closed
            break
        shown += piece
    return shown.decode()


@pytest.mark.parametrize("command", [["options"], ["run", "--help"], ["run", "orders:whoami", "--list", "3"]])
def test_a_reader_that_has_gone_is_no_failure(program: Call, command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = program(*command, stdout=writing, env=buffered)
    os.close(writing)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


def test_the_bare_command_prints_help_and_ends_with_2(call: Call) -> None:
    said = call()
    assert (said.code, said.err) == (2, "")
    assert all(
        f"\n    {name} " in said.out
        for name in ["run", "load", "report", "compare", "jobs", "options", "doctor", "demo"]
    )


def test_help_fits_80_columns_and_names_the_exit_codes(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ([], ["run"], ["load"], ["report"], ["compare"], ["jobs"], ["options"], ["doctor"], ["demo"]):
        said = call(*command, "--help")
        assert said.code == 0
        assert max(map(len, said.out.splitlines())) < 80
        assert "exit codes" in said.out or command == ["options"]
        assert "%(" not in said.out


def test_the_version_is_the_package_s(call: Call) -> None:
    assert call("--version") == (0, f"worker-dispatcher {worker_dispatcher.__version__}\n", "")


@pytest.mark.parametrize("arguments", [["optoins"], ["options", "more"], ["run"], ["report"]])
def test_a_usage_that_is_none_ends_with_2(call: Call, arguments: list[str]) -> None:
    said = call(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("usage: worker-dispatcher")


@pytest.mark.parametrize(
    ("arguments", "command", "text"),
    [
        (["run", "orders:visit", "--list", "3", "--wokers", "3"], " run ", "--wokers; did you mean --workers?\n"),
        (["report", "run.jsonl", "--htlm=page.html"], " report ", "--htlm=page.html; did you mean --html?\n"),
        (["compare", "a", "b", "c"], " compare ", "unknown argument c\n"),
        (["run", "shop:fetch", "list.txt"], " run ", "unknown argument list.txt; did you mean --list list.txt?\n"),
        (["run", "shop:fetch", "my list.txt", "b"], " run ", "did you mean --list 'my list.txt'?\n"),
        (["run", "shop:fetch", "-"], " run ", "did you mean --list -?\n"),
        (["run", "shop:fetch", "100"], " run ", "did you mean --list 100?\n"),
        (["run", "shop:fetch", "--list", "o.txt", "20"], " run ", "did you mean --workers 20?\n"),
        (["run", "shop:fetch", "--list", "o.txt", "p99<1s"], " run ", "did you mean --check 'p99<1s'?\n"),
        (["run", "shop:fetch", "--list", "o.txt", "b.txt"], " run ", "unknown argument b.txt\n"),
        (["load", "shop:visit", "200"], " load ", "did you mean --rate 200?\n"),
        (["load", "shop:visit", "90/min"], " load ", "did you mean --rate 90/min?\n"),
        (["load", "shop:visit", "30s:200,10s:0"], " load ", "did you mean --stages 30s:200,10s:0?\n"),
        (["load", "shop:visit", "--rate", "9", "5min"], " load ", "did you mean --duration 5min?\n"),
        (["load", "shop:visit", "--stages", "9s:9", "orders.csv"], " load ", "did you mean --list orders.csv?\n"),
        (["load", "shop:visit", "--rate", "9", "page.html"], " load ", "did you mean --html page.html?\n"),
        (["report", "run.jsonl", "page.html"], " report ", "did you mean --html page.html?\n"),
        (["report", "run.jsonl", "run.csv"], " report ", "did you mean --csv run.csv?\n"),
        (["report", "a.jsonl", "b.db"], " report ", "did you mean worker-dispatcher compare a.jsonl b.db?\n"),
        (["report", "a.jsonl", "b.db", "c.db"], " report ", "unknown argument b.db\n"),
        (["doctor", "more"], " doctor ", "unknown argument more\n"),
        (["--versoin"], " ", "--versoin; did you mean --version?\n"),
        (
            ["run", "orders:visit", "--list", "3", "--html", "page.html"],
            " run ",
            "unknown argument --html; it is an option of load, report: give --log run.jsonl here, then "
            "worker-dispatcher report run.jsonl --html FILE\n",
        ),
        (
            ["load", "orders:visit", "--rate", "5", "--workers=3"],
            " load ",
            "unknown argument --workers=3; it is an option of run; did you mean --max-workers?\n",
        ),
        (["report", "run.jsonl", "--retries", "3"], " report ", "--retries; it is an option of run\n"),
        (
            ["--workers=3", "run", "orders:visit", "--list", "3"],
            " run ",
            "it is an option of run, to be given after the name of the command\n",
        ),
    ],
)
def test_an_unknown_argument_is_answered_with_the_nearest_of_its_command(
    call: Call, arguments: list[str], command: str, text: str
) -> None:
    said = call(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"usage: worker-dispatcher{command}")
    assert said.err.endswith(text)


@pytest.mark.parametrize(
    ("given", "meant"), [("reprot", "report"), ("Run", "run"), ("xyz", "one of run, load, report,")]
)
def test_a_command_that_is_none_is_answered_with_the_nearest(call: Call, given: str, meant: str) -> None:
    said = call(given, "run.jsonl")
    assert said.code == 2
    assert f"there is no command {given}; did you mean {meant}" in said.err


def test_every_option_is_listed_within_80_columns(call: Call) -> None:
    said = call("options")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) < 80
    assert "\nworker.frequency_mode.rate  (number > 0" in said.out
    assert "\n    Seconds that one attempt may run before it is stopped.\n" in said.out


def test_an_interrupt_of_a_run_that_is_done_changes_nothing() -> None:
    run = worker_dispatcher.launch({"task": {"list": 3, "function": lambda id: id}, "verbose": False}).wait(20)
    before = run.info
    run.interrupt()
    assert (run.info, run.results) == (before, [1, 2, 3])


def test_signals_are_as_they_were_afterwards(call: Call) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    assert call("run", "orders:visit", "--list", "1", "--quiet").code == 0
    assert [signal.getsignal(number) for number in numbers] == before
