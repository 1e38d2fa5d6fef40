"""The pages stay true: their Python blocks run and print what stands there, their tables are those of the code and the
results, and what they name exists.

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
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks import how_fast
from worker_dispatcher.cli.commands.options import option_table
from worker_dispatcher.config.declare import options
from worker_dispatcher.config.options import Config

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("benchmarks", "scripts", "tests", "worker_dispatcher")
FRONT = "README.md"
FILES = [ROOT / FRONT, *(file for room in ROOMS for file in sorted((ROOT / room).rglob(FRONT)))]
PAGES = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in FILES}
OPTIONS_PAGE = PAGES["worker_dispatcher/config/README.md"]
OPENING, CLOSING = "<!-- options -->\n", "<!-- /options -->"
PLACEHOLDER = "https://your.name/"
MARK = re.compile(r"<!-- not run: (?P<reason>\S.*) -->")


class Script(NamedTuple):
    """A Python block. place: page and line of it; ending: how its output must end, or None; reason: why not run."""

    place: str
    code: str
    ending: str | None
    reason: str | None


def scripts(text: str, page: str) -> list[Script]:
    found: list[Script] = []
    last_is_python = False
    before = ""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if line.startswith("```"):
            body = _body(lines)
            if line == "```python":
                mark = MARK.fullmatch(before)
                found.append(Script(f"{page}:{number}", body, None, mark["reason"] if mark else None))
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
    raise AssertionError("a block of a page is not closed")


SCRIPTS = [script for page, text in PAGES.items() for script in scripts(text, page)]
RUN = [pytest.param(script, id=script.place) for script in SCRIPTS if script.reason is None]


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
    assert done.returncode == 0, f"{script.place}\n{done.stdout}{done.stderr}"
    assert done.stderr == "", script.place
    return done


@pytest.mark.parametrize("script", RUN)
def test_each_python_block_runs_and_prints_what_the_page_says(script: Script, site: str, tmp_path: Path) -> None:
    done = run(script, site, tmp_path)
    if script.ending is not None:
        assert done.stdout.endswith(script.ending), f"{script.place} prints\n{done.stdout}"
    if "ORD_AH001" in script.code:
        assert "order /orders/ORD_AH001" in done.stdout


def test_the_script_with_a_journal_does_nothing_again_when_it_is_run_again(site: str, tmp_path: Path) -> None:
    (script,) = [script for script in SCRIPTS if '"journal"' in script.code]
    first, second = (run(script, site, tmp_path).stdout.splitlines() for _ in range(2))
    assert second == [first[-1]] * 2


def test_the_option_table_is_the_one_of_the_code() -> None:
    assert OPTIONS_PAGE.count(OPENING) == OPTIONS_PAGE.count(CLOSING) == 1
    table = OPTIONS_PAGE.partition(OPENING)[2].partition(CLOSING)[0]
    assert table.strip("\n") == option_table().strip("\n"), "copy option_table() to its README"


def test_the_figures_of_the_pages_are_those_of_the_results_of_benchmarks() -> None:
    for path, text in how_fast.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run `python -m benchmarks.how_fast`"


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
    assert scripts(page, "page") == [
        Script("page:2", "print(1)\n", "1\n", None),
        Script("page:10", "import cluster\n", None, "needs a cluster"),
    ]


def links(page: str) -> list[Path]:
    """Where the relative links of a page lead."""
    return [((ROOT / page).parent / name).resolve() for name in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", PAGES[page])]


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`((?:sh )?(?:scripts|tests|benchmarks|worker_dispatcher)/[\w./]+)`", PAGES[page])
    paths = [ROOT / name.removeprefix("sh ") for name in named]
    paths += links(page)
    assert paths
    assert [path for path in paths if not path.exists()] == []


def test_the_front_page_is_short_and_leads_to_every_guide_and_back() -> None:
    assert len(PAGES[FRONT].splitlines()) <= 450
    guides = [page for page in PAGES if page != FRONT]
    assert [page for page in guides if ROOT / page not in links(FRONT)] == []
    assert [page for page in guides if ROOT / FRONT not in links(page)] == []


def test_every_link_of_the_front_page_leads_into_the_installed_package_or_to_one_of_three_pages() -> None:
    outside = [link for link in links(FRONT) if ROOT / "worker_dispatcher" not in link.parents]
    told = PAGES[FRONT].partition("(this and the next two are in the project's folder only)")[2]
    assert "\n## Changes" in told
    assert set(outside) == {ROOT / room / FRONT for room in ("scripts/examples", "benchmarks", "tests")}


@pytest.mark.parametrize("page", PAGES)
def test_a_link_to_a_heading_names_one_that_is_there(page: str) -> None:
    for name, anchor in re.findall(r"\]\(([^)#:]*)#([\w-]+)\)", PAGES[page]):
        text = ((ROOT / page).parent / name).read_text(encoding="utf-8") if name else PAGES[page]
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in [heading.lower().replace(" ", "-") for heading in headings], name


def test_nothing_stands_in_the_pages_twice() -> None:
    lines = [line for text in PAGES.values() for line in text.splitlines() if len(line) > 70]
    assert [line for line, times in Counter(lines).items() if times > 1] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_a_page_names_exists(page: str) -> None:
    known = set(options(Config))
    sections = {path.rpartition(".")[0] for path in known}
    named = set(re.findall(r"`((?:task|worker)\.[a-z_.]+)[`:]", PAGES[page]))
    assert named - known - sections == set()
