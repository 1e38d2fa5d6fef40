"""README stays true: its option table is the one of the code, its Python blocks run, their output is what stands there.

Each Python block is a whole script and runs in a process of its own, in an empty folder, offline: the address
https://your.name/ is a server of this test. A `text` block that follows, before the next heading or block of another
kind, is how the script's output ends. A block that cannot run has `<!-- not run: reason -->` on the line before it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from worker_dispatcher.config.table import option_table

README = Path(__file__).resolve().parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
OPENING, CLOSING = "<!-- options -->\n", "<!-- /options -->"
PLACEHOLDER = "https://your.name/"
MARK = re.compile(r"<!-- not run: (?P<reason>\S.*) -->")


class Script(NamedTuple):
    """A Python block. line: of its fence in README; ending: how its output must end, or None; reason: why not run."""

    line: int
    code: str
    ending: str | None
    reason: str | None


def scripts(text: str) -> list[Script]:
    found: list[Script] = []
    last_is_python = False
    before = ""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if line.startswith("```"):
            body = _body(lines)
            if line == "```python":
                mark = MARK.fullmatch(before)
                found.append(Script(number, body, None, mark["reason"] if mark else None))
            elif line == "```text" and last_is_python:
                found[-1] = found[-1]._replace(ending=body)
            last_is_python = line == "```python"
        elif line.startswith("#"):
            last_is_python = False
        before = line
    return found


def _body(lines: Iterator[tuple[int, str]]) -> str:
    inner = []
    for _, line in lines:
        if line == "```":
            return "\n".join(inner) + "\n"
        inner.append(line)
    raise AssertionError("a block of README is not closed")


SCRIPTS = scripts(TEXT)
RUN = [pytest.param(script, id=f"line {script.line}") for script in SCRIPTS if script.reason is None]


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of a local web server that answers every path."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"order {self.path}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http:
        serving = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        serving.join()


def run(script: Script, site: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(script.code.replace(PLACEHOLDER, site), encoding="utf-8")
    environment = {**os.environ, "NO_PROXY": "*", "no_proxy": "*", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, str(path)],
        check=False,  # the output is the better message
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"README.md:{script.line}\n{done.stdout}{done.stderr}"
    assert done.stderr == "", f"README.md:{script.line}"
    return done


@pytest.mark.parametrize("script", RUN)
def test_each_python_block_runs_and_prints_what_readme_says(script: Script, site: str, tmp_path: Path) -> None:
    done = run(script, site, tmp_path)
    if script.ending is not None:
        assert done.stdout.endswith(script.ending), f"README.md:{script.line} prints\n{done.stdout}"
    if "ORD_AH001" in script.code:
        assert "order /orders/ORD_AH001" in done.stdout


def test_the_script_with_a_journal_does_nothing_again_when_it_is_run_again(site: str, tmp_path: Path) -> None:
    (script,) = [script for script in SCRIPTS if '"journal"' in script.code]
    first, second = (run(script, site, tmp_path).stdout.splitlines() for _ in range(2))
    assert second == [first[-1]] * 2


def test_the_option_table_is_the_one_of_the_code() -> None:
    assert TEXT.count(OPENING) == TEXT.count(CLOSING) == 1
    table = TEXT.partition(OPENING)[2].partition(CLOSING)[0]
    assert table.strip("\n") == option_table().strip("\n"), "copy config.table.option_table() to README.md"


def test_the_table_of_benchmarks_is_the_one_of_their_results() -> None:
    command = [sys.executable, "-m", "benchmarks.how_fast"]
    done = subprocess.run(command, cwd=README.parent, capture_output=True, text=True, check=True, timeout=60)
    table = TEXT.partition("<!-- how fast -->\n")[2].partition("<!-- /how fast -->")[0]
    assert table.strip("\n") == done.stdout.strip("\n"), "copy what `python -m benchmarks.how_fast` prints to README.md"


def test_the_blocks_of_a_page_are_told_apart() -> None:
    page = """
```python
print(1)
```
so that
```text
1
```
<!-- not run: needs a cluster -->
```python
import cluster
```
# next
```text
not an output
```
"""
    assert scripts(page) == [
        Script(2, "print(1)\n", "1\n", None),
        Script(10, "import cluster\n", None, "needs a cluster"),
    ]


def test_every_path_that_readme_names_exists() -> None:
    root = README.parent
    named = set(re.findall(r"`((?:sh )?(?:scripts|tests|worker_dispatcher)/[\w./]+)`", TEXT))
    assert named
    missing = [name for name in sorted(named) if not (root / name.removeprefix("sh ")).exists()]
    assert not missing
