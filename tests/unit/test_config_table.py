"""The declarations as a whole: the table made from them, and that nothing is declared twice or half."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker_dispatcher.cli.commands.options import option_table
from worker_dispatcher.config.declare import Option, options, walk
from worker_dispatcher.config.legacy import LEGACY
from worker_dispatcher.config.options import BackoffOptions, Config
from worker_dispatcher.config.parse import merged, parse
from worker_dispatcher.retry import Backoff

OPTIONS = options(Config)


def test_the_table_has_one_row_for_each_option_in_markdown() -> None:
    head, line, *rows = option_table().splitlines()
    assert (head, line) == ("| option | type | default | description |", "| --- | --- | --- | --- |")
    assert [row.split(" | ")[0] for row in rows] == [f"| `{path}`" for path in OPTIONS]
    assert all(row.count("|") == 5 for row in rows)
    assert "| `worker.number` | int >= 1 or None | (auto) | " in option_table()
    assert "| `task.callback.on_done` | callable or False | False | " in option_table()


@pytest.mark.parametrize(("path", "option"), OPTIONS.items(), ids=OPTIONS)
def test_each_description_is_one_short_sentence(path: str, option: Option) -> None:
    assert option.description.endswith(".")
    assert option.description[0].isupper()
    assert ". " not in option.description
    assert len(option.description) <= 120


def test_merged_and_the_declarations_name_the_same_options() -> None:
    def paths(section: dict[str, object], prefix: str = "") -> list[str]:
        found = []
        for name, value in section.items():
            inner = isinstance(value, dict) and prefix + name not in OPTIONS
            found += paths(value, f"{prefix}{name}.") if inner else [prefix + name]  # type: ignore[arg-type]
        return found

    assert paths(merged()) == list(OPTIONS)


def test_each_default_obeys_its_rule_and_is_what_an_empty_config_gives() -> None:
    config = parse()
    for path, option in OPTIONS.items():
        found: object = config
        for name in path.split("."):
            found = getattr(found, name)
        assert found == option.rule.accept(option.fresh_default()), path


def test_a_name_is_either_an_option_or_old() -> None:
    known = {path for path, _ in walk(Config)}
    assert not known & set(LEGACY)
    sections = {path.rpartition(".")[0] for path in LEGACY} - {""}
    assert sections <= known


def test_the_backoff_options_are_those_of_the_backoff_itself() -> None:
    assert Backoff(**vars(BackoffOptions())) == Backoff()
    assert list(BackoffOptions.declared) == list(Backoff._fields)


def test_a_config_is_frozen() -> None:
    with pytest.raises(AttributeError, match="fixed"):
        parse().task.retries = 3  # type: ignore[misc]


def test_the_room_loads_nothing_heavy() -> None:
    heavy = {"numpy", "psutil", "cloudpickle", "multiprocessing", "asyncio", "difflib", "concurrent.futures"}
    script = f"import sys, worker_dispatcher.config; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_section_is_made_by_name_compared_by_value_and_shows_no_payload() -> None:
    assert BackoffOptions(initial=2.0) == BackoffOptions(initial=2.0) != BackoffOptions()
    assert BackoffOptions() != Config()
    with pytest.raises(TypeError, match="no option inital"):
        BackoffOptions(inital=2.0)  # type: ignore[call-arg]
    shown = repr(parse({"task": {"list": ["secret"], "config": "secret"}}))
    assert "secret" not in shown
    assert "retries=0" in shown
