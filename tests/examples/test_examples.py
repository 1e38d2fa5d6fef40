"""Each script in scripts/examples runs offline, says what it found, and has its line in the README beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "scripts" / "examples"
HELPERS = {"shop.py"}  # what examples use, and no example itself
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if path.name not in HELPERS)
SECONDS = r"\d+\.\d+ s"

# What a script prints, as patterns of its lines in order; others may lie between them.
CASES: dict[str, tuple[list[str], list[str]]] = {
    "code_survey.py": (
        [],
        [
            rf"\d+ files, [\d,]+ lines in {SECONDS} with \d+ processes",
            r"[\d,]{5,} functions; those with the most branches:",
            *[r" +\d+  \w+\.py:\d+ +\w+"] * 5,
        ],
    ),
    "stress_test.py": (
        ["page.html"],
        [
            r"  ├─ Rate: 150/s",
            r"first failures",
            r"  #(\d+)  \1  HTTPError: HTTP Error 503: Service Unavailable +stress_test\.py:\d+  \(\+\d like it\)",
            r"450 tasks in .*",
            r"  (ok  |FAIL)  p95<200ms   observed .*",
            r"  ok    error_rate<5%   observed 1\.56 %",
            r"charts: page\.html",
        ],
    ),
    "async_http.py": (
        [],
        [
            r"60 customers owe 1,949\.40 in all",
            rf"\d+ requests in {SECONDS}, \d+/s; [1-9]\d* customers were asked for again",
            r"  customer  3 owes  51\.51",
        ],
    ),
    "shared_array.py": (
        [],
        [
            r"median 22,0\d\d; of a sample it is 21,[678]\d\d to 22,[23]\d\d in 95 of 100 cases",
            rf"400 samples in {SECONDS} with \d+ processes",
            r"the array has 80 MB, each process up to [1-6]?\d MB of its own",
        ],
    ),
    "etl.py": (
        [],
        [
            r"the first run was ended by SIGKILL",
            r"the second run found [1-4]\d of 60 days in the journal, and read the others",
            r"  coffee +20,424\.44",
            r"  cocoa +20,035\.32",
            r"  tea +19,534\.17",
        ],
    ),
    "build.py": (
        [],
        [
            r"check gamma +Process +failed +1 .*",
            r"7 jobs: 5 done, 1 failed, 1 cancelled",
            r"check gamma failed: FileNotFoundError\('gamma\.licence'\)",
            r"did: check alpha, check beta, check gamma, generate alpha, generate beta, generate gamma",
            r"check gamma +Process +done +2 .*",
            r"report: \{'alpha': 20, 'beta': 20, 'gamma': 20\}",
            r"did: check gamma",
        ],
    ),
    "shared_cluster.py": (
        [],
        [rf"{name}: 60 orders billed, [1-9]\d* here and [1-9]\d* on the cluster" for name in ("north", "south")],
    ),
    "slow_imports.py": (
        ["json", "asyncio", "nt"],
        [
            rf"3 interpreters in {SECONDS}; the slowest imports:",
            r"  asyncio +\d+\.\d ms +\d+ modules",
            r"not to be had on this system: nt",
        ],
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_runs_and_says_what_it_found(name: str, tmp_path: Path) -> None:
    arguments, patterns = CASES[name]
    environment = {**os.environ, "NO_PROXY": "*", "no_proxy": "*", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), *arguments],
        check=False,  # the output is the better message
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == "", done.stdout
    assert done.returncode == int("  FAIL  " in done.stdout), done.stdout  # a busy machine may miss a time objective
    lines = iter(done.stdout.splitlines())
    for pattern in patterns:
        assert any(re.fullmatch(pattern, line) for line in lines), f"no line for {pattern!r} in\n{done.stdout}"
    assert {path.name for path in tmp_path.iterdir()} == set(arguments) - {"json", "asyncio", "nt"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_is_short_and_has_its_line_in_the_readme_beside_it(name: str) -> None:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    assert 20 <= len(lines) <= 60
    assert f"| `scripts/examples/{name}` |" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"python scripts/examples/{name}" in "\n".join(lines[:5])
