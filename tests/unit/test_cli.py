"""The command, as a program."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker_dispatcher.cli import main
from worker_dispatcher.config import option_table


def test_options_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options"]) == 0
    assert capsys.readouterr().out.strip() == option_table().strip()


@pytest.mark.parametrize("arguments", [[], ["optoins"], ["options", "more"]])
def test_a_usage_that_is_none_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_the_package_can_be_run_as_a_module() -> None:
    command = [sys.executable, "-m", "worker_dispatcher", "options"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert "`worker.frequency_mode.rate`" in done.stdout
