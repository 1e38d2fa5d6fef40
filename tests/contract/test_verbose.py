"""The block on the terminal, line by line as 1.x shows it."""

from __future__ import annotations

import os
import re
import time

import pytest
from staging import Shape, runtimes

import worker_dispatcher as wd

pytestmark = [
    pytest.mark.above_the_pools,
    pytest.mark.differs_on_a_cluster("the block names the cluster, and what tasks print is not here"),
]

MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d"


def expected_opening(shape, tasks, runtime="Unlimited", queue="Off"):
    cores = len(os.sched_getaffinity(0))
    kind = {"threads": "Threading", "processes": "Processing"}.get(shape.name.split("-")[-1], "Parallel Processing")
    kind = "Parallel Processing" if shape.is_grid else kind
    processes = min(4, cores)
    lines = [
        "",
        "Worker Dispatcher Configuration:",
        f"- Local CPU core: {cores}",
        f"- Tasks Count: {tasks}",
        f"- Runtime: {runtime}",
        "- Dispatch Mode: Fixed Workers (Default)",
        "- Concurrency Info:",
        f"  ├─ Execution Type: {kind}",
    ]
    if shape.is_grid:
        lines += [
            f"  ├─ Task Queue: {queue}",
            "  ├─ Configured Workers: 4 Worker(s)",
            "  ├─ Pool Structure:",
            f"  │  └─ Main Pool : {processes} Process(es)",
            f"  │     └─ Sub Pool : {-(-4 // processes)} Thread(s)",
            f"  └─ Total Concurrency: 4 ({processes}p x {-(-4 // processes)}t) Active Worker(s)",
        ]
    else:
        unit = "Process(es)" if shape.in_processes else "Thread(s)"
        lines += [
            "  ├─ Configured Workers: 4 Worker(s)",
            "  ├─ Pool Structure:",
            f"  │  └─ Main Pool : 4 {unit}",
            "  └─ Total Concurrency: 4 Active Worker(s)",
        ]
    return lines


def split_block(text):
    """(lines before the start line, lines from the end line on) of what was printed."""
    lines = text.split("\n")
    start = next(at for at, line in enumerate(lines) if line.startswith("--- Start"))
    end = next(at for at, line in enumerate(lines) if line.startswith("--- End"))
    assert re.fullmatch(f"--- Start to dispatch workers at {MOMENT} ---", lines[start])
    assert re.fullmatch(f"--- End of worker dispatch at {MOMENT}---", lines[end])
    assert lines[start - 1] == lines[start + 1] == lines[end - 1] == lines[end + 1] == ""
    return lines[: start - 1], lines[end + 2 :]


def test_the_block_of_a_finished_run(shape, run, capfd):
    run(shape, lambda id: id, 6, top={"verbose": True})

    opening, closing = split_block(capfd.readouterr().out)
    assert opening == expected_opening(shape, 6)
    assert re.fullmatch(r"Spend Time: \d+\.\d{6} sec", closing[0])
    assert closing[1:4] == ["Completed Tasks Count: 6", "Uncompleted Tasks Count: 0", "Undispatched Tasks Count: 0"]


def test_use_queue_changes_the_block_alone(run, capfd):
    shape = Shape("grid", {"parallel_processing": {"enabled": True, "use_queue": True}})
    assert run(shape, lambda id: id, 6, top={"verbose": True}) == [1, 2, 3, 4, 5, 6]
    assert split_block(capfd.readouterr().out)[0] == expected_opening(shape, 6, queue="On")


@pytest.mark.leaves_threads(4)
def test_the_counts_of_a_run_that_was_cut_short_add_up(shape, run, notes, capfd):
    def stays(id):
        if id > 2:
            yield notes.has("the end")
        return id

    for runtime in runtimes(0.5):
        run(shape, stays, 20, top={"verbose": True, "runtime": runtime})
        counts = wd.get_result_info()["counts"]
        opening, closing = split_block(capfd.readouterr().out)
        assert opening == expected_opening(shape, 20, runtime=f"{runtime} sec")
        if counts["cancelled"] == 4:
            break
    notes.add("the end")

    assert closing[1:4] == [
        f"Completed Tasks Count: {counts['ok']}",
        "Uncompleted Tasks Count: 4",
        f"Undispatched Tasks Count: {counts['not_run']}",
    ]
    assert counts["ok"] + 4 + counts["not_run"] == 20


def test_the_number_of_tasks_of_a_lazy_list_is_unknown(shape, run, capfd):
    run(shape, lambda id: id, iter(range(3)), top={"verbose": True})

    opening, closing = split_block(capfd.readouterr().out)
    assert opening == expected_opening(shape, "Unknown")
    assert "Completed Tasks Count: 3" in closing


def test_a_quiet_run_prints_nothing(shape, run, capfd):
    run(shape, lambda id: id, 3)

    assert capfd.readouterr() == ("", "")


def test_what_tasks_print_is_not_lost(shape, run, capfd):
    def say(id):
        print(f"task {id} speaks")

    run(shape, say, 20)

    said = re.findall(r"task \d+ speaks", capfd.readouterr().out)  # threads may share a line: that is Python's print
    assert sorted(said) == sorted(f"task {n} speaks" for n in range(1, 21))


def test_debug_tells_names_and_types_and_never_values(shape, run, capfd):
    run(shape, lambda id: id, ["secret item"], config={"password": "secret config"}, top={"debug": True})

    said = capfd.readouterr().out
    assert "secret" not in said
    assert "[debug]" in said


def test_an_output_that_cannot_show_the_lines_gets_plain_ones(script, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code = "import worker_dispatcher as w; w.start({'task': {'list': 2, 'function': lambda id: id}})"

    done = script("-c", code)

    assert (done.returncode, done.stderr) == (0, "")
    assert "|- Execution Type: Threading" in done.stdout


RATE = {"frequency_mode": {"enabled": True, "rate": 100, "duration": 0.05, "max_workers": 7}}
BURSTS = {"number": 2, "frequency_mode": {"enabled": True, "interval": 0.01}}
GRID = {"parallel_processing": {"enabled": True, "processes": 2}}


@pytest.mark.parametrize(
    ("tasks", "worker", "figures"),
    [
        (None, RATE, ("7 Worker(s)", "7 Thread(s)", "7 Active Worker(s)")),
        (None, RATE | {"use_processing": True}, ("7 Worker(s)", "7 Process(es)", "7 Active Worker(s)")),
        (3, {"number": 20}, ("20 Worker(s), but no more than tasks", "3 Thread(s)", "3 Active Worker(s)")),
        (1, {}, ("1 Worker(s)", "1 Thread(s)", "1 Active Worker(s)")),
        (6, BURSTS, ("2 Worker(s) per interval", "6 Thread(s)", "6 Active Worker(s)")),
        (2, BURSTS, ("2 Worker(s)", "2 Thread(s)", "2 Active Worker(s)")),
        (9, GRID | {"number": 5}, ("5 Worker(s)", "2 Process(es)", "2-3 Thread(s)", "5 (2p x 2-3t) Active Worker(s)")),
    ],
)
def test_the_numbers_of_workers_in_the_block_agree_or_say_why_not(capfd, tasks, worker, figures):
    wd.start({"task": {"list": tasks, "function": lambda id: id}, "worker": worker})

    opening, _ = split_block(capfd.readouterr().out)
    told = [
        line.partition(": ")[2] for line in opening if re.search("Configured Workers|Pool :|Total Concurrency", line)
    ]
    assert told == list(figures)


def test_the_blocks_go_to_stdout_and_progress_and_warnings_to_stderr(capfd):
    task = {"list": [1, 0], "function": lambda task: 1 / task}
    wd.start({"task": task, "progress": True})
    blocks = capfd.readouterr()
    assert "Worker Dispatcher Configuration:" in blocks.out
    assert "Completed Tasks Count: 2" in blocks.out
    with pytest.warns(wd.TaskFailuresWarning):
        wd.start({"task": task, "verbose": False})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("options", "why"), [({"runtime": 0.05}, "runtime"), ({}, "failures")])
def test_a_run_that_ends_early_says_that_its_journal_goes_on(tmp_path, capfd, options, why):
    def work(task):
        return 1 / 0 if why == "failures" else time.sleep(0.1)

    path = str(tmp_path / "run.db")
    task = {"list": range(50), "function": work, "max_failures": 2}
    wd.start({"task": task, "worker": {"number": 2}, "journal": path, **options})
    said = f"{path} has what was done: run it again to go on"
    assert f"Stopped early: {why}; {said}\n" in capfd.readouterr().out
    if why == "failures":
        with pytest.raises(ZeroDivisionError) as caught:
            wd.start({"task": {**task, "on_error": "raise"}, "worker": {"number": 2}, "journal": path})
        assert caught.value.__notes__[-1] == f"  {said}"
        capfd.readouterr()
    wd.start({"task": {**task, "list": 1}, "worker": {"number": 2}, **options})
    assert "run it again" not in capfd.readouterr().out
