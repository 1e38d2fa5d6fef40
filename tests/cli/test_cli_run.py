"""`run`: the list, the function, the shape, the log, and what is refused before anything starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher

Call = Callable[..., Any]


def test_each_line_is_a_task_and_the_log_has_the_results(call: Call, folder: Path, logs: Call) -> None:
    (folder / "list.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n\nfour")
    said = call("run", "orders:fetch", "--list", "list.txt", "--log", "run.jsonl", "--workers", "2")
    assert (said.code, said.err) == (0, "")
    assert [log["result"][0] for log in logs("run.jsonl")] == ["one", "two", "", "four"]
    assert [log["metadata"]["length"] for log in logs("run.jsonl")] == [3, 3, 0, 4]
    assert "- Tasks Count: 4" in said.out
    assert "Total Concurrency: 2 Active" in said.out
    assert said.out.endswith("written: run.jsonl\n")
    assert len(worker_dispatcher.report("run.jsonl", verbose=False).run.logs) == 4


def test_a_count_makes_that_many_tasks(call: Call, logs: Call) -> None:
    assert call("run", "orders:whoami", "--list", "3", "--log", "run.jsonl").code == 0
    assert [log["result"][0] for log in logs("run.jsonl")] == [1, 2, 3]


def test_a_function_of_items_is_refused_beside_a_count(call: Call, folder: Path) -> None:
    (folder / "seeds.py").write_text("def visit(seed):\n    return seed\n")
    said = call("run", "seeds:visit", "--list", "5")
    assert (said.code, said.out) == (2, "")
    assert "parameter 'seed' would get an item, but task.list is a count, so there are no items" in said.err


def test_quiet_says_nothing_but_what_went_wrong(call: Call, folder: Path) -> None:
    (folder / "list.txt").write_text("one\nbad\nbad\n")
    said = call("run", "orders:fetch", "--list", "list.txt", "--quiet")
    assert said == (1, "", "worker-dispatcher run: 2 of 3 tasks failed\n")
    assert call("run", "orders:visit", "--list", "2", "--quiet") == (0, "", "")


def test_failed_tasks_end_with_1_and_are_shown(call: Call, folder: Path) -> None:
    (folder / "list.txt").write_text("one\nbad\n")
    said = call("run", "orders:fetch", "--list", "list.txt")
    assert said.code == 1
    assert "no such order" in said.out


@pytest.mark.parametrize(
    ("checks", "code", "seen"),
    [
        (["error_rate<60%"], 0, ["ok    error_rate<60%   observed 50 %"]),
        (["failed==0", "p99<10s"], 99, ["FAIL  failed==0   observed 1", "ok    p99<10s   observed 0"]),
        (["error==1", "not_run==0"], 0, ["ok    error==1   observed 1", "ok    not_run==0   observed 0"]),
    ],
)
@pytest.mark.parametrize("journal", [[], ["--journal", "run.db"]])
def test_checks_of_a_run_decide_and_are_shown(
    call: Call, folder: Path, checks: list[str], code: int, seen: list[str], journal: list[str]
) -> None:
    (folder / "list.txt").write_text("one\nbad\n")
    asked = [word for check in checks for word in ("--check", check)]
    said = call("run", "orders:fetch", "--list", "list.txt", *asked, *journal)
    assert (said.code, said.err) == (code, "")
    found = said.out.splitlines()
    found = found[found.index("checks") + 1 :]
    assert len(found) == len(seen)
    assert all(line.startswith(start) for line, start in zip(found, seen, strict=True))
    quiet = call("run", "orders:fetch", "--list", "list.txt", *asked, "--quiet", *journal)
    failed = [f"worker-dispatcher run: {line}" for line in seen if line.startswith("FAIL")]
    assert (quiet.code, quiet.out, quiet.err.splitlines()) == (code, "", failed)


def test_checks_of_a_resumed_run_are_of_the_whole(call: Call, folder: Path) -> None:
    whole = ["run", "orders:whoami", "--list", "4", "--journal", "run.db", "--check", "total==4"]
    assert call(*whole).code == 0
    assert call(*whole).code == 0  # nothing is left to run


def test_a_check_that_is_none_is_refused_before_a_task_runs(call: Call, folder: Path) -> None:
    said = call("run", "orders:whoami", "--list", "4", "--log", "run.jsonl", "--check", "error_rate<1")
    assert said.code == 2
    assert "perhaps 1% is meant" in said.err
    assert not (folder / "run.jsonl").exists()


@pytest.mark.parametrize("command", ["run", "load", "report", "compare", "demo"])
def test_a_help_speaks_of_no_option_that_there_is_not(call: Call, command: str) -> None:
    said = call(command, "--help").out
    wrote = {"--log"} if command in ("report", "compare") else set()  # of what another command has written
    own = said.partition("\n\n")[2]
    options = {word for line in own.splitlines() if line.startswith("  -") for word in re.findall(r"--[a-z-]+", line)}
    assert set(re.findall(r"--[a-z-]+", said)) - options <= wrote


@pytest.mark.parametrize("shape", [["--processes", "--workers", "2"], ["--grid", "2x2"]])
def test_processes_and_grids_run_a_module_of_the_current_folder(program: Call, logs: Call, shape: list[str]) -> None:
    process = program("run", "orders:whoami", "--list", "8", "--log", "run.jsonl", *shape)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert ("4 (2p x 2t)" if "--grid" in shape else "2 Process(es)") in out
    assert process.pid not in {log["result"][1] for log in logs("run.jsonl")}


@pytest.mark.parametrize("target", ["orders:fetch", "orders.py:fetch", "./orders.py:fetch", "orders:Shop.close"])
def test_functions_of_modules_files_and_classes_are_found(call: Call, folder: Path, target: str) -> None:
    (folder / "list.txt").write_text("one\n")
    assert call("run", target, "--list", "list.txt", "--quiet") == (0, "", "")


def test_a_file_elsewhere_is_imported_with_what_lies_beside_it(call: Call, folder: Path, logs: Call) -> None:
    (folder / "tools").mkdir()
    (folder / "tools" / "beside.py").write_text("WORD = 'beside'")
    (folder / "tools" / "shrink-it.py").write_text("import beside\ndef f(id): return beside.WORD")
    assert call("run", "tools/shrink-it.py:f", "--list", "1", "--log", "run.jsonl").code == 0
    assert logs("run.jsonl")[0]["result"] == "beside"


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("orders", "'orders' names no function; write module:function, as in orders:fetch"),
        ("orders.nap", "write module:function, as in orders:nap"),
        ("ordres:fetch", "there is no module 'ordres' in .* or installed; did you mean 'orders'?"),
        ("orders.more:fetch", "there is no module 'orders.more'"),
        ("orders:ftech", "orders has no function 'ftech'; did you mean 'fetch'?"),
        ("orders:zzz", "orders has no function 'zzz'; it has Shop, fetch, nap, visit, whoami$"),
        ("orders:Shop.open", "orders has no function 'Shop.open'"),
        ("orders:NUMBER", "orders:NUMBER is of type int, not a function"),
        ("or-ders:fetch", "'or-ders' is no name of a module"),
        ("ordres.py:fetch", "there is no file ordres.py; did you mean 'orders.py'?"),
        ("nowhere/orders.py:fetch", "there is no file nowhere/orders.py"),
    ],
)
def test_a_function_that_is_not_there_is_one_clear_line(call: Call, target: str, told: str) -> None:
    said = call("run", target, "--list", "2")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("worker-dispatcher run: ")
    assert re.search(told, said.err.strip()), said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_raises_shows_its_own_lines_only(call: Call, folder: Path, code: str, told: str) -> None:
    (folder / "faulty.py").write_text(code)
    said = call("run", "faulty:f", "--list", "2")
    assert said.code == 2
    assert said.err.startswith("worker-dispatcher run: 'faulty' raised this while it was imported:\n")
    assert f'{folder}/faulty.py", line 1' in said.err
    assert told in said.err.splitlines()[-1]
    assert "worker_dispatcher/" not in said.err
    assert "importlib" not in said.err


def test_a_file_whose_name_is_taken_by_another_module_is_refused(call: Call, folder: Path) -> None:
    (folder / "json.py").write_text("def f(id): return 1")
    said = call("run", "json.py:f", "--list", "2")
    assert said.code == 2
    assert "json.py has the name of a module of the standard library, which is imported instead; rename it" in said.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--list", "nope.txt"], "--list nope.txt: No such file or directory; give a file with one task on each line"),
        (["--list", "."], "--list .: Is a directory"),
        (["--list", "1.5"], "--list 1.5: No such file"),
        (["--list", "3", "--log", "no/where.jsonl"], "--log no/where.jsonl: there is no folder no"),
        (["--list", "3", "--log", "."], "--log .: cannot be written"),
        (["--list", "orders.py", "--log", "./orders.py"], "--log ./orders.py: is the file of --list; give it another"),
        (["--list", "3", "--journal", "a", "--log", "a"], "--log a: is the file of --journal; give it another name"),
        (["--list", "3", "--grid", "2x2", "--workers", "3"], "--grid 2x2 says how many tasks run at a time"),
        (["--list", "3", "--grid", "2x"], "--grid: must be PROCESSESxTHREADS such as 4x8, got '2x'"),
        (["--list", "3", "--grid", "0x2"], "--grid: must be PROCESSESxTHREADS"),
        (["--list", "3", "--grid", "2x2", "--processes"], "not allowed with argument"),
        (
            ["--list", "3", "--timeout", "5x"],
            "--timeout: must be a time such as 10, 250ms, 90s, 5min or 1m30s, got '5x'",
        ),
        (["--list", "3", "--workers", "many"], "--workers: invalid int value: 'many'"),
        (["--list", "3", "--journal", "orders.py"], "orders.py: is not a journal of worker_dispatcher"),
        ([], "the following arguments are required: --list"),
    ],
)
def test_a_usage_that_is_none_is_told_and_nothing_is_started(
    call: Call, folder: Path, options: list[str], told: str
) -> None:
    said = call("run", "orders:fetch", *options)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
    assert "Traceback" not in said.err
    assert not (folder / "begun").exists()


def test_problems_of_the_config_are_all_told_by_the_names_that_were_typed(call: Call) -> None:
    said = call("run", "orders:fetch", "--list", "3", "--workers", "0", "--retries", "-1", "--timeout", "0")
    assert said.code == 2
    lines = said.err.splitlines()
    assert lines[0] == "worker-dispatcher run: 3 problems in the config"
    assert sorted(line.split()[0] for line in lines[1:-1]) == ["--retries", "--timeout", "--workers"]
    assert any("(worker.number)" in line and "must be >= 1, got 0" in line for line in lines)
    assert lines[-1] == "all options: worker-dispatcher options"


def test_timeout_and_retries_reach_the_run(call: Call, folder: Path, logs: Call) -> None:
    (folder / "twice.py").write_text("def f(id): raise OSError('no')")
    assert call("run", "twice:f", "--list", "1", "--retries", "2", "--log", "run.jsonl").code == 1
    assert logs("run.jsonl")[0]["attempts"] == 3


@pytest.mark.leaves_threads
def test_a_task_over_its_timeout_fails(call: Call, folder: Path, logs: Call) -> None:
    (folder / "list.txt").write_text("slow\n")
    said = call("run", "orders:nap", "--list", "list.txt", "--timeout", "50ms", "--quiet", "--log", "run.jsonl")
    assert said.code == 1
    assert logs("run.jsonl")[0]["status"] == "timeout"


def test_a_warning_is_one_line(call: Call, folder: Path) -> None:
    command = ["run", "changing:f", "--list", "2", "--journal", "run.db", "--quiet"]
    (folder / "changing.py").write_text("def f(id): return 1")
    assert call(*command) == (0, "", "")
    del sys.modules["changing"]
    (folder / "changing.py").write_text("def f(id): return 1 + 1")
    said = call(*command)
    assert (said.code, said.out) == (0, "")
    assert re.fullmatch(r"worker-dispatcher run: journal \S+/run.db: the function was another .*\n", said.err)


def test_a_line_that_is_no_text_ends_the_run_and_keeps_what_is_done(call: Call, folder: Path, logs: Call) -> None:
    (folder / "list.txt").write_bytes(b"one\ntw\xe9\nthree\n")
    said = call("run", "orders:fetch", "--list", "list.txt", "--log", "run.jsonl")
    assert said.code == 2
    assert "list.txt, line 2: byte 0xe9 is not UTF-8; convert it with iconv; 1 task ended\n" in said.err
    assert [log["result"][0] for log in logs("run.jsonl")] == ["one"]


def test_a_file_that_is_cut_while_it_is_read_is_no_success(call: Call, folder: Path, logs: Call) -> None:
    (folder / "list.txt").write_text("".join(f"{n}\n" for n in range(100_000)))  # more than is read at once
    (folder / "cutter.py").write_text("def f(id):\n    if id == 1: open('list.txt', 'w').close()\n    return id\n")
    said = call("run", "cutter:f", "--list", "list.txt", "--workers", "1", "--quiet", "--log", "run.jsonl")
    done = len(logs("run.jsonl"))
    assert 0 < done < 100_000
    told = f"list.txt had 100,000 lines and ended after {done:,}: it was cut while it was read"
    assert (said.code, said.err) == (2, f"worker-dispatcher run: {told}; {done:,} tasks ended\n")


def test_the_first_line_of_a_pipe_runs_while_the_next_is_still_to_come(program: Call, folder: Path, logs: Call) -> None:
    process = program("run", "orders:nap", "--list", "-", "--log", "run.jsonl", stdin=subprocess.PIPE)
    process.stdin.write("quick-1\n")
    process.stdin.flush()
    wait_for(folder / "running-quick-1")
    _, err = process.communicate("quick-2\n", timeout=30)
    assert (process.returncode, err) == (0, "")
    assert [log["result"] for log in logs("run.jsonl")] == ["quick-1", "quick-2"]


def test_a_named_pipe_is_opened_once_and_read_to_its_end(call: Call, folder: Path, logs: Call) -> None:
    os.mkfifo(folder / "pipe")
    writer = threading.Thread(target=(folder / "pipe").write_text, args=("one\ntwo\n",))
    writer.start()
    try:
        assert call("run", "orders:fetch", "--list", "pipe", "--log", "run.jsonl").code == 0
    finally:
        writer.join(10)
    assert [log["result"][0] for log in logs("run.jsonl")] == ["one", "two"]


def test_a_log_that_cannot_be_written_at_the_end_is_told(call: Call, folder: Path) -> None:
    (folder / "cuts.py").write_text("import os\ndef f(id): os.rename('logs', 'gone')")
    (folder / "logs").mkdir()
    said = call("run", "cuts:f", "--list", "1", "--log", "logs/run.jsonl", "--quiet")
    assert said == (2, "", "worker-dispatcher run: --log logs/run.jsonl: No such file or directory\n")


def wait_for(path: Path, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} did not appear"
        time.sleep(0.01)
