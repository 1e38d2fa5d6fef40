"""The page in a real browser: it draws its charts, without an error and without a network, for every odd run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from made_logs import ALL_FAILED, EMPTY, MIXED, failed, many

from worker_dispatcher import report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None,
    reason=f"no browser: looked for {', '.join(BROWSERS)} (Debian: apt install chromium)",
)


def opened(page: Path, tmp_path: Path, *options: str) -> str:
    """The page's elements as text, after its scripts have run."""
    profile = tmp_path / "profile"
    done = subprocess.run(
        [
            str(BROWSER),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *(f"--user-data-dir={profile}", "--window-size=1280,900", "--virtual-time-budget=10000"),
            *("--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", *options),
            *("--dump-dom", page.as_uri()),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert (done.returncode, complaints) == (0, [])
    return done.stdout.partition("<head>")[0] + re.sub(r"(?s)<script.*?</script>", "", done.stdout)


NASTY = "</script><img src=x onerror='document.documentElement.dataset.error=1'>"
RUNS = {
    "empty": (EMPTY, 0),
    "all failed": ([*ALL_FAILED, failed(21, 2.1, 0.05, NASTY)], 5),
    "mixed": (MIXED, 5),
    "large": (many(20_000), 5),
}


@pytest.mark.parametrize(("logs", "charts"), RUNS.values(), ids=RUNS.keys())
def test_the_page_draws_in_a_browser(logs: list[dict[str, Any]], charts: int, tmp_path: Path) -> None:
    page = report(logs, title="Orders", checks=["p99<1s"]).to_html(tmp_path / "run.html")
    elements = opened(page, tmp_path)
    root = re.search(r"<html[^>]*>", elements)
    assert root
    assert "data-error" not in root[0]
    assert f'data-charts="{charts}"' in root[0] or not charts
    assert elements.count('class="main-svg"') >= 2 * charts
    assert elements.count("<h2>") >= charts
    assert "<img" not in elements


def test_the_page_asks_for_nothing_but_itself(tmp_path: Path) -> None:
    page = report(MIXED).to_html(tmp_path / "run.html").read_text()
    own = page.partition("<script>")[0]
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", own)
    assert "default-src 'none'" in own
