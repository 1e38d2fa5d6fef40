"""What a task says does no harm where it is shown: no markup, no script, no formula, no terminal command."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from made_logs import due, failed, log

from worker_dispatcher import get_tps, report
from worker_dispatcher.reports.safe_text import printable, shown

NASTY = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "--><b>",
    '" onmouseover="alert(1)',
    "'; alert(1); '",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "http://evil.example/",
    "_x0041_",
    "\x1b[2J\x1b]0;title\x07",
    "\x00\x01\x08\x7f\x85\x9b",
    "right\u202eto left",
    "line\u2028break\u2029",
    "\ud800 alone",
    "\ufeffmark",
    "a,b;c\"d'e",
    "${7*7} {{7*7}} %s %d",
    "😀 漢字",
    "x" * 100_000,
]
HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\ufeff\ud800-\udfff]")


class Rude:
    """Its repr is whatever it is made with, or raises it."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def __repr__(self) -> str:
        if isinstance(self.said, BaseException):
            raise self.said
        return self.said


def rude_logs() -> list[dict[str, Any]]:
    """Every nasty text in every place that a report shows, each also as another's repr."""
    logs = []
    for number, text in enumerate(NASTY):
        error = {"type": text, "message": text, "traceback": f'  File "{text}", line 3, in f\n'}
        more: dict[str, Any] = {"task_id": text, "worker": text, "status": text, "error": error}
        logs.append(log(1, number, 0.5, metadata={"note": text}) | more | {"result": None})
        logs.append(log(2, number, 0.5, result=text, metadata={"note": Rude(text)}))
        logs.append(log(3, number, 0.5, result=Rude(text), metadata={Rude(text): text}))
    logs += [log(6, number, 0.1, phase=text) for number, text in enumerate(NASTY)]
    logs += [log(4, 1, 0.1, result=Rude(ValueError("no"))), log(5, 1, 0.1, result=Rude(SystemExit(3)))]
    return [due(one, one["started_at"] - logs[0]["started_at"]) for one in logs]


LOGS = rude_logs()


@pytest.mark.parametrize("text", NASTY)
def test_shown_text_is_one_line_that_says_what_was_there(text: str) -> None:
    for seen in (shown(text), shown(Rude(text)), printable(text, 300)):
        assert seen.isprintable()
        assert len(seen) <= 300
    assert shown("plain text") == "plain text"


def test_what_cannot_be_shown_is_named() -> None:
    texts = [shown(value) for value in (Rude(SystemExit()), [Rude(SystemExit())])]
    assert texts == ["<Rude>", "<list>"]
    assert "Rude" in shown(Rude(ValueError()))


def test_the_terminal_gets_no_command() -> None:
    text = report(LOGS, title=NASTY[15]).text()
    assert all(line.isprintable() for line in text.splitlines())
    assert not HARMFUL.search(text.replace("\n", ""))


class Tags(HTMLParser):
    """The tags of a page, and its visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        (self.scripts if self.tags and self.tags[-1] == "script" else self.text).append(data)


def parsed(page: str) -> Tags:
    found = Tags()
    found.feed(page)
    found.close()
    return found


def test_the_page_has_only_its_own_tags(tmp_path: Path) -> None:
    path = report(LOGS, title=NASTY[1], checks=["p99<1s"]).to_html(tmp_path / "run.html")
    page = path.read_text(encoding="utf-8")
    harmless = parsed(report([log(1, 0, 1)], checks=["p99<1s"]).to_html(tmp_path / "plain.html").read_text())
    found = parsed(page)
    assert found.tags.count("script") == harmless.tags.count("script") == 3
    assert set(found.tags) - set(harmless.tags) <= {"b", "span", "td", "th", "tr", "p", "wbr"}
    assert "img" not in found.tags
    assert not {name for name in found.attributes if name.startswith("on")}
    own = page.replace("\n", "").partition("<script>")[0]  # without plotly.js, which is not ours
    assert not HARMFUL.search(own)
    assert "<script>alert(1)</script>" in "".join(found.text)  # seen as text


def test_the_pages_data_cannot_end_its_script_and_its_charts_show_no_markup(tmp_path: Path) -> None:
    page = report(LOGS).to_html(tmp_path / "run.html").read_text(encoding="utf-8")
    data = page.partition('id="figures">')[2].partition("</script>")[0]
    assert "<" not in data
    assert data.isascii()
    strings: list[str] = []
    collect(json.loads(data), strings)
    assert strings
    allowed = re.compile(r"%\{[yz]\}|<extra></extra>")
    assert not [text for text in strings if re.search("[<>]", allowed.sub("", text))]


def collect(value: Any, strings: list[str]) -> None:
    if isinstance(value, str):
        strings.append(value)
    elif isinstance(value, dict):
        for key, one in value.items():
            strings.append(key)
            collect(one, strings)
    elif isinstance(value, list):
        for one in value:
            collect(one, strings)


def test_the_notebook_piece_has_only_its_own_tags() -> None:
    tags = set(parsed(report(LOGS)._repr_html_()).tags)
    assert tags <= {"div", "p", "b", "table", "tr", "th", "td", "svg", "title", "rect"}


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    with report(LOGS).to_csv(tmp_path / "run.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert len(rows) == len(LOGS) + 1
    assert {len(row) for row in rows} == {len(rows[0])}
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "@", "\t", "\r", "\n"))
        assert not cell.startswith("-") or float(cell)
        assert cell.isprintable()


def test_no_cell_of_the_workbook_is_a_formula_or_a_link(tmp_path: Path) -> None:
    fields = {"note": "note", "=col": "note", "<b>": lambda metadata: Rude(NASTY[6])}
    path = report(LOGS, title="=1+1").to_xlsx(tmp_path / "run.xlsx", raw_fields=fields)
    book = openpyxl.load_workbook(path)
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} <= {"s", "n", "b", "d"}  # "f" is a formula
    assert not [cell for cell in cells if cell.hyperlink]
    # Inline texts are written as the format wants it, but openpyxl leaves _x005F_ in them.
    texts = {cell.value.replace("_x005F_", "_") for cell in cells if isinstance(cell.value, str)}
    assert {text for text in NASTY if text.isprintable() and len(text) < 1000} <= texts
    assert not [text for text in texts if HARMFUL.search(text)]


def test_json_is_ascii_and_gives_every_text_back(tmp_path: Path) -> None:
    made = report(LOGS)
    assert json.loads(made.to_json(tmp_path / "run.json").read_bytes().decode("ascii"))
    lines = made.to_jsonl(tmp_path / "run.jsonl").read_bytes().decode("ascii").splitlines()
    assert len(lines) == len(LOGS)
    said = [json.loads(line)["result"] for line in lines]
    assert said[1 : 3 * len(NASTY) : 3] == NASTY


def test_a_text_in_place_of_a_result_makes_no_success_of_a_failure(tmp_path: Path) -> None:
    class Nothing:
        def __bool__(self) -> bool:
            return False

        def __repr__(self) -> str:
            return "<nothing>"

    made = report([log(1, 0, 1, result=Nothing()), log(2, 0, 1, result=float("nan")), failed(3, 0, 1)])
    path = made.to_jsonl(tmp_path / "run.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["result_text"] == "<nothing>"
    assert report(path).rows.ok.tolist() == made.rows.ok.tolist() == [True, True, False]
    assert get_tps(lines)["count"]["success"] == get_tps(made.run.logs)["count"]["success"] == 1


def test_the_users_own_config_and_items_are_not_shown(tmp_path: Path) -> None:
    import worker_dispatcher

    secret = "hunter2"
    task = {"list": [secret] * 3, "config": {"password": secret}, "function": lambda task: True}
    run = worker_dispatcher.launch({"task": task, "verbose": False}).wait()
    made = report(run)
    for write in ("to_html", "to_json", "to_csv", "to_jsonl", "to_xlsx"):
        assert secret.encode() not in getattr(made, write)(tmp_path / write).read_bytes()
    assert secret not in made.text()
    assert "worker.number" in (tmp_path / "to_html").read_text()
