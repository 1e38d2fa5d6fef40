"""What an engine shows: its graph, its table, its log."""

from __future__ import annotations

import io
import logging
import threading
from pathlib import Path

import pytest

from worker_dispatcher.engine import Engine, EngineSetting, ThreadJob
from worker_dispatcher.engine.conditions import AfterAnother
from worker_dispatcher.engine.log import logger
from worker_dispatcher.engine.pictures import Node, dot, mermaid

NODES = [Node("a-1", 'say "hi" <now>', "done", []), Node("b-2", "b", "pending", ["a-1", "who?"])]


def test_a_graph_for_mermaid() -> None:
    text = mermaid(NODES)
    assert text.splitlines()[:6] == [
        "graph LR",
        '    j1["say #quot;hi#quot; #lt;now#gt;<br/>done"]:::done',
        '    j2["b<br/>pending"]:::pending',
        '    j3["who?<br/>unknown"]:::unknown',
        "    j1 --> j2",
        "    j3 --> j2",
    ]
    assert "classDef done fill" in text
    assert "classDef failed" not in text


def test_a_graph_for_graphviz() -> None:
    lines = dot(NODES).splitlines()
    assert lines[0] == "digraph jobs {"
    assert '    j1 [label="say \\"hi\\" <now>\\ndone", fillcolor="#c3e6c3"];' in lines
    assert "    j1 -> j2;" in lines
    assert lines[-1] == "}"


def test_the_graph_of_an_engine_has_arguments_and_conditions() -> None:
    with Engine(EngineSetting(print_traceback=False)) as engine:
        a = ThreadJob(abs, (-1,), name="first")
        b = ThreadJob(abs, (a.future,), name="second")
        c = ThreadJob(int, ("x",), name="third", condition=AfterAnother(b.id) & AfterAnother(a.id))
        engine.submit(c, b, a)
        engine.wait()
        text = engine.to_mermaid()
        assert 'j1["third<br/>failed"]:::failed' in text
        assert text.count("-->") == 3
        assert engine.to_dot().count(" -> ") == 3
        table = engine.table()
    assert table.splitlines()[0].split() == ["job", "kind", "status", "attempts", "took"]
    assert "third   Thread  failed  1" in table
    assert table.splitlines()[-1] == "3 jobs: 2 done, 1 failed"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rich", [True, False])
def test_a_live_table_shows_how_it_stands(rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setattr("worker_dispatcher.engine.table.find_spec", lambda name: None)
    monkeypatch.setenv("TERM", "xterm")
    screen, go = _Terminal(), threading.Event()
    with Engine() as engine, engine.live(screen):
        engine.submit(ThreadJob(go.wait, (20,), name="waits"), ThreadJob(abs, (-1,)))
        engine.wait(0.4)
        go.set()
        engine.wait()
    assert "2 jobs: 2 done" in screen.getvalue()
    assert ("waits" in screen.getvalue()) == rich


def test_nothing_is_shown_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with Engine() as engine, engine.live(stream):
        engine.submit(ThreadJob(abs, (-1,)))
    assert stream.getvalue() == ""


def test_the_log_is_silent_but_for_failures(capfd: pytest.CaptureFixture[str]) -> None:
    with Engine() as engine:
        engine.submit(ThreadJob(abs, (-1,)))
        engine.wait()
        assert capfd.readouterr() == ("", "")
    assert isinstance(logger, logging.Logger)
    assert logging.getLogger("worker_dispatcher.engine") is logger


def test_the_log_can_be_sent_somewhere(tmp_path: Path) -> None:
    lines: list[str] = []

    def parse(text: str) -> int:
        return int(text)

    numbers = [
        logger.add(lines.append, format="<green>{level}</green> {message}", level="INFO", colorize=True),
        logger.add(str(tmp_path / "log.txt"), level="ERROR"),
    ]
    try:
        with Engine() as engine:
            engine.submit(ThreadJob(parse, ("x",), name="wrong"))
            engine.wait()
    finally:
        for number in numbers:
            logger.remove(number)
        logger.setLevel(logging.NOTSET)
    assert "submit <ThreadJob status=created" in lines[0]
    told = (tmp_path / "log.txt").read_text()
    assert "wrong" in told
    assert "worker_dispatcher" not in told, "the traceback has the user's own frames"
    with pytest.raises(ValueError, match="no handler"):
        logger.remove(numbers[0])
