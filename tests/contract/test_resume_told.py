"""What is said of a run that goes on: how far it is, how much is there already, and what is another than before."""

from __future__ import annotations

import argparse
import datetime
import decimal
import enum
import os
import pathlib
import sqlite3
import subprocess
import sys
import threading
import types
import uuid
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import worker_dispatcher as wd
from worker_dispatcher.errors import JournalError
from worker_dispatcher.journal import file, fingerprint

pytestmark = pytest.mark.above_the_pools


def same(task: Any) -> Any:
    return task


def start(path: Path, items: Any, function: Any = same, top: Any = None, **task: Any) -> list[Any]:
    given = {"list": items, "function": function, **task}
    return wd.start({"task": given, "worker": {"number": 2}, "journal": path, "verbose": False, **(top or {})})


# ---- how far it is


def test_a_report_and_the_logs_of_a_run_that_goes_on_say_how_many_tasks_there_are(
    path, shape, make_config, tmp_path, wait_until
):
    gate = str(tmp_path / "gate")

    def work(id):
        while id > 4 and not os.path.exists(gate):
            threading.Event().wait(0.01)
        return id

    run = wd.launch(make_config(shape, work, 2000, top={"journal": path}))
    try:
        wait_until(lambda: path.exists() and len(wd.read_journal(path)) >= 4)
        logs = wd.read_journal(path)
        assert logs.total == 2000 > len(logs)
        for source in (path, logs):
            assert f"{len(logs)} of 2,000 tasks in" in str(wd.report(source, verbose=False))
        made = wd.report(path, verbose=False)
        assert made.as_data()["total"] == 2000
        assert "of 2" in made._repr_html_()
    finally:
        pathlib.Path(gate).touch()
        run.wait(60)
    assert len(wd.read_journal(path)) == wd.read_journal(path).total == 2000
    whole = wd.report(path, verbose=False)
    assert " of 2" not in str(whole).splitlines()[0]
    assert whole.as_data()["total"] is None


def test_a_list_that_has_grown_counts_as_it_is_now(path):
    start(path, 3)
    assert wd.read_journal(path).total == 3
    start(path, 5)
    assert wd.read_journal(path).total == 5


def test_a_list_of_unknown_length_has_no_total(path):
    start(path, iter("abc"))
    assert wd.read_journal(path).total is None
    assert "3 tasks in" in str(wd.report(path, verbose=False))


# ---- how much is there already


def test_a_resumed_run_says_at_its_start_how_much_is_there(path, plain_shape, make_config, capsys):
    def begun(items: Any, **top: Any) -> str:
        wd.start(make_config(plain_shape, same, items, top={"journal": path, "verbose": True, **top}))
        return capsys.readouterr().out.partition("--- Start to dispatch")[0]

    assert "Journal" not in begun([1, 2, 3])
    assert "- Tasks Count: 5\n- Journal: 3 of 5 tasks are done already\n" in begun([1, 2, 3, 4, 5])
    assert "- Journal: 5 tasks are done already\n" in begun(iter([1, 2, 3, 4, 5]))
    assert begun([1, 2, 3, 4, 5], verbose=False) == ""


# ---- another config


class Color(enum.Enum):
    RED = 1


class Loud(dict):
    def __iter__(self):
        raise RuntimeError("nobody iterates me")


class Client:
    """As many are: no two are equal, and it cannot be pickled."""

    def __init__(self) -> None:
        self.lock, self.token = threading.Lock(), uuid.uuid4().hex


class Salted:
    """Its pickle is another each time."""

    def __reduce__(self):
        return (str, (uuid.uuid4().hex,))


@dataclass
class Settings:
    name: str
    seen: list[int] = field(default_factory=list, compare=False)


def config(**changed: Any) -> dict[str, Any]:
    """What people put into a config, made anew."""
    itself: list[Any] = [1]
    itself.append(itself)
    return {
        "url": "https://example.org",
        "retry": {"times": 3, "wait": 0.5, "big": 1 << 20_000},
        "tags": {"a", "b", ("c", frozenset("xyz"))},
        "color": Color.RED,
        "client": Client(),
        "salted": Salted(),
        "object": object(),
        "function": lambda: 1,
        "module": os,
        "kind": Client,
        "settings": Settings("a", [id(itself)]),
        "loud": Loud(a=1),
        "names": types.SimpleNamespace(a=1, b=argparse.Namespace(c=2)),
        "values": [None, True, 1j, b"x", range(3), decimal.Decimal("1.0"), datetime.date(2026, 1, 2), Path("a")],
        "itself": itself,
        **changed,
    }


def resumed(path: Path, given: Any, top: Any = None) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start(path, 3, lambda id: id, top=top, config=given)
    assert {one.filename for one in caught} <= {__file__}
    return [str(one.message) for one in caught]


def test_a_config_that_changed_warns_and_shows_nothing_of_it(path):
    assert resumed(path, {"key": "secret-1"}) == []
    (said,) = resumed(path, {"key": "secret-2"})
    assert said.startswith(f"journal {path}: task.config was another when it began: what it has stays as it is")
    assert "secret" not in said
    assert resumed(path, {"key": "secret-1"}) == []
    for tail in ("", "-wal"):
        assert b"secret" not in Path(f"{path}{tail}").read_bytes() if os.path.exists(f"{path}{tail}") else True


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "https://example.com"},
        {"retry": {"times": 4, "wait": 0.5, "big": 1 << 20_000}},
        {"retry": {"times": 3, "wait": 0.5, "big": 1 << 20_001}},
        {"tags": {"a"}},
        {"client": None},
        {"settings": Settings("b")},
        {"names": types.SimpleNamespace(a=1, b=argparse.Namespace(c=3))},
        {"values": [None]},
        {"loud": Loud(a=2)},
        {"more": 1},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_each_plain_part_of_a_config_counts(changed):
    assert fingerprint.config_of(config(**changed)) != fingerprint.config_of(config())


def test_a_config_that_says_the_same_never_warns(path):
    assert resumed(path, config()) == []
    assert resumed(path, dict(reversed(config().items()))) == []


def test_a_config_says_the_same_in_every_process(tmp_path):
    code = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "import test_resume_told as told\nprint(told.fingerprint.config_of(told.config()))"
    )
    worlds = [{**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2")]
    ran = [subprocess.run([sys.executable, "-c", code], env=world, capture_output=True, check=True) for world in worlds]
    assert ran[0].stdout == ran[1].stdout != b""


def test_a_config_that_nobody_can_look_at_never_warns(path):
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert fingerprint.config_of(deep) == fingerprint.config_of(list(range(200_000))) == ""
    assert resumed(path, list(range(200_000))) == []
    assert resumed(path, list(range(300_000))) == []
    while deep:  # layer by layer: some versions of Python free a deep list by recursion
        deep = deep[0]


def test_a_journal_from_before_there_were_digests_of_configs_is_read_and_never_warns(path, monkeypatch):
    image = file._image

    def older(*given: Any) -> bytes:
        monkeypatch.setattr(file.json, "dumps", lambda known: text({k: v for k, v in known.items() if k != "config"}))
        try:
            return image(*given)
        finally:
            monkeypatch.setattr(file.json, "dumps", text)

    text = file.json.dumps
    monkeypatch.setattr(file, "_image", older)
    assert resumed(path, {"a": 1}) == []
    with sqlite3.connect(path) as db:
        assert b"config" not in db.execute("SELECT text FROM about").fetchone()[0]
    db.close()
    assert resumed(path, {"a": 2}) == []
    assert [log["result"] for log in wd.read_journal(path)] == [1, 2, 3]


# ---- another item


@pytest.mark.parametrize("status", ["ok", "error"])
@pytest.mark.parametrize("kind", [list, iter])
def test_both_items_are_shown_where_they_are_short(path, kind, status):
    def work(task):
        return task if status == "ok" else 1 / 0

    cases = [
        ("b", "X", "'X' now, 'b' in the journal"),
        (2, 3, "3 now, 2 in the journal"),
        ("2", 2, "2 now, '2' in the journal"),
        ("a\0ü\n", "\ud800", r"'\ud800' now, 'a\x00ü\n' in the journal"),
    ]
    for nth, (before, after, said) in enumerate(cases):
        here = path.with_name(f"{nth}.db")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start(here, kind(["a", before, "c"]), work)
        with pytest.raises(JournalError) as caught:
            start(here, kind(["a", after, "c"]), work)
        assert f"is of another task list: the item of task #2 differs ({said}); run the same list" in str(caught.value)


@pytest.mark.parametrize(("before", "after"), [("b", "x" * 81), ("x" * 81, "b"), ("b", {"b": 1}), ({"b": 1}, "b")])
def test_neither_is_shown_where_one_of_them_is_long(path, before, after):
    start(path, ["a", before])
    with pytest.raises(JournalError, match="the item of task #2 differs; run the same list"):
        start(path, ["a", after])


def test_items_that_are_not_to_be_shown_are_neither_shown_nor_kept(path):
    start(path, ["secret-1", "secret-2"], lambda task: 1, show_input=False)
    assert b"secret" not in path.read_bytes()
    with pytest.raises(JournalError, match="the item of task #1 differs; run the same list"):
        start(path, ["secret-3", "secret-2"], lambda task: 1, show_input=False)
    with pytest.raises(JournalError, match="the item of task #1 differs; run the same list"):
        start(path, ["secret-3", "secret-2"], lambda task: 1)
