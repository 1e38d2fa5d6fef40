"""outputs: a report written down, one module per form; each takes a `ReportData` and gives text or writes one file.

    text      for a terminal                      json_lines   a report as one document; logs, a line each
    csv_file  CSV, a row per task                 workbook     xlsx, with charts (extra [xlsx])
    page      HTML: one offline file; or a piece  picture      PNG, the page's charts (extra [report])
              for a notebook, without scripts     page.css, page.js: the page's looks
    figures   the page's charts as plain data

Every text that came from a task goes through `safe_text.printable` and then through the form's own rule: HTML escapes,
no `</script>` in a script, no formula in a cell, no control character on a terminal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

# Form of output: the module that makes it, the extra that brings it, how a message calls the form.
FORMS: Mapping[str, tuple[str, str, str]] = {
    "html": ("plotly.offline", "report", "an HTML report"),
    "png": ("matplotlib.figure", "report", "a PNG report"),
    "xlsx": ("xlsxwriter", "xlsx", "an xlsx report"),
}


def load(form: str) -> Any:
    """The module that makes one of FORMS; ImportError that names the extra where its package is not there."""
    module, extra, purpose = FORMS[form]
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        text = f"{purpose} needs {package}, which is not there: pip install 'worker-dispatcher[{extra}]'"
        raise ImportError(text, name=package) from error


# What a name ends in that says what is in the file, by form; any other ending says nothing, and is anybody's.
_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "html": (".html", ".htm"),
    "png": (".png",),
    "xlsx": (".xlsx",),
    "csv": (".csv",),
    "json": (".json",),
    "jsonl": (".jsonl", ".ndjson", ".json"),
}
_OF_OTHERS = (
    *(".gz", ".bz2", ".xz", ".zst", ".zip", ".xls", ".xlsm", ".xlsb", ".ods", ".tsv", ".svg", ".pdf", ".jpg"),
    *(".jpeg", ".gif", ".webp", ".xml", ".md", ".parquet", ".db", ".sqlite", ".pickle", ".pkl"),
)


def expect_name(form: str, path: str | os.PathLike[str]) -> None:
    """ValueError for a file whose name says that something else is in it than a form of output: programs that open it
    would go by the name. form: of _ENDINGS; only JSON lines are compressed, where the name ends in .gz."""
    name = os.fsdecode(path)
    whole, ours = name.lower(), _ENDINGS[form]
    if form == "jsonl":
        whole = whole.removesuffix(".gz")
    known = {ending for endings in _ENDINGS.values() for ending in endings} | set(_OF_OTHERS)
    ending = os.path.splitext(whole)[1]
    if ending in known and ending not in ours:
        meant = name[: len(whole) - len(ending)]
        meant = meant if meant.lower().endswith(ours) else meant + ours[0]
        raise ValueError(f"{name}: what is written is {ours[0][1:]}, not {ending[1:]}; name it {meant}")
