"""A traceback shows the lines of the user's own code: in plain Python with one of ours between, in pytest with none."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from staging import SHAPES

import worker_dispatcher as wd

pytestmark = pytest.mark.above_the_pools

HOME = str(Path(wd.__file__).parent)
QUIET = {"verbose": False}


def fetch(task):
    return {"a": 1}[task]


def failing_list():
    yield "a"
    raise OSError("no rows")


def config(shape, **task):
    return {"task": {"list": ["b"], "function": fetch, **task}, "worker": {"number": 1, **shape.worker}, **QUIET}


def files_of(error):
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


def test_what_leaves_start_has_one_frame_of_ours(shape):
    with pytest.raises(KeyError) as caught:
        wd.start(config(shape, on_error="raise"))
    files = files_of(caught.value)
    assert files[0] == __file__
    assert sum(name.startswith(HOME) for name in files) == 1
    if shape.in_processes:
        first = re.findall(r'File "([^"]+)"', str(caught.value.__cause__))[0]
        assert first == __file__
    else:
        assert files[-1] == __file__


async def awaited(run):
    await run


async def followed(run):
    async for _ in run:
        pass


WAYS = {
    "wait": lambda run: run.wait(),
    "loop": list,
    "await": lambda run: asyncio.run(awaited(run)),
    "async loop": lambda run: asyncio.run(followed(run)),
}


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "handed over"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_launched_run_raises_has_one_frame_of_ours(way, kept):
    run = wd.launch(config(SHAPES["threads"], on_error="raise"), keep_records=kept)
    with pytest.raises(KeyError) as caught:
        WAYS[way](run)
    files = [name for name in files_of(caught.value) if "asyncio" not in name]
    assert sum(name.startswith(HOME) for name in files) == 1
    assert files[-2].startswith(HOME)
    assert files[-1] == __file__


def test_what_a_search_for_a_rate_raises_has_one_frame_of_ours():
    with pytest.raises(KeyError) as caught:
        wd.find_max_rate({"task": {"list": ["b"], "function": fetch, "on_error": "raise"}}, "p99<1s", duration=0.1)
    assert [name.startswith(HOME) for name in files_of(caught.value)] == [False, True, False]


def test_the_traceback_in_a_log_begins_with_the_users_code(shape):
    wd.start(config(shape) | {"verbose": True})
    text = wd.get_logs()[0]["error"]["traceback"]
    assert re.findall(r'File "([^"]+)"', text) == [__file__]


def test_a_config_that_is_none_and_a_list_that_fails_show_one_frame_of_ours(shape):
    for call in (lambda: wd.start({"worker": {"nubmer": 1}}), lambda: wd.launch({"worker": {"nubmer": 1}})):
        with pytest.raises(wd.ConfigError) as caught:
            call()
        assert [name.startswith(HOME) for name in files_of(caught.value)] == [False, False, True]
    with pytest.raises(OSError, match="no rows") as failed:
        wd.start(config(shape, list=failing_list()))
    assert [name.startswith(HOME) for name in files_of(failed.value)] == [False, True, False]


def test_a_fault_of_ours_keeps_all_frames(monkeypatch, shape):
    monkeypatch.setattr("worker_dispatcher.dispatch.run.Execution", None)
    with pytest.raises(TypeError, match="not callable") as caught:
        wd.start(config(shape))
    assert sum(name.startswith(HOME) for name in files_of(caught.value)) >= 2


THEIR_TESTS = """
import pytest
import worker_dispatcher as wd

def fetch(task):
    return {"a": 1}[task]

def failing():
    yield "a"
    raise OSError("no rows")

def config(**task):
    return {"task": {"list": ["b"], "function": fetch, "on_error": "raise", **task}, "verbose": False}

async def awaited(run):
    await run

def waits():
    import asyncio
    async def main():
        await wd.launch(config())
    asyncio.run(main())

CALLS = {
    "start": lambda: wd.start(config()),
    "processes": lambda: wd.start(config() | {"worker": {"use_processing": True}}),
    "list": lambda: wd.start(config(list=failing())),
    "init": lambda: wd.start(config() | {"worker": {"init": lambda: 1 / 0}}),
    "config": lambda: wd.start({"worker": {"nubmer": 1}}),
    "launch": lambda: wd.launch({"worker": {"nubmer": 1}}),
    "wait": lambda: wd.launch(config()).wait(),
    "await": waits,
    "loop": lambda: list(wd.launch(config(), keep_records=False)),
    "report": lambda: wd.report(3),
    "report of checks": lambda: wd.report([], checks=["p95<200"]),
    "file": lambda: wd.report("nothing.jsonl"),
    "check": lambda: wd.check([], "p95<200"),
    "compare": lambda: wd.compare(3, []),
    "fields": lambda: wd.report([]).to_csv("x.csv", raw_fields=3),
    "journal": lambda: wd.read_journal(__file__),
    "in use": lambda: wd.start(config() | {"journal": __file__}),
    "rate": lambda: wd.find_max_rate({}, ["p99<300"]),
    "tps": lambda: wd.get_tps([], interval=-1),
    "logs": lambda: wd.get_tps(3),
}

@pytest.mark.parametrize("call", CALLS)
def test_it(call):
    CALLS[call]()
"""


def test_pytest_shows_no_frame_of_ours(tmp_path):
    (tmp_path / "test_theirs.py").write_text(THEIR_TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_theirs.py"]
    ended = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=120, check=False)
    assert "20 failed" in ended.stdout
    blocks = re.split(r"^_+ test_it\[(.+)\] _+$", ended.stdout, flags=re.MULTILINE)
    shown = dict(zip(blocks[1::2], blocks[2::2], strict=True))
    places = {name: re.findall(r"^(\S+\.py):\d+: ", text, re.MULTILINE) for name, text in shown.items()}
    ours = {name: [place for place in found if "worker_dispatcher" in place] for name, found in places.items()}
    assert {name: found for name, found in ours.items() if found} == {}
    assert all("test_theirs.py" in found for found in places.values())
