"""The files that a command writes: --log, --html and their like."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from worker_dispatcher.cli.ending import Refused
from worker_dispatcher.reports.outputs.extras import FORMS, load

if TYPE_CHECKING:
    from worker_dispatcher.reports.report import Report

__all__ = ["add_outputs", "refuse_early", "write"]

# In this order they are written: what could not be had again comes first.
_OUTPUTS = {
    "log": ("to_jsonl", "a line of JSON for each task, with its result; `report` reads it again"),
    "csv": ("to_csv", "a row for each task"),
    "json": ("to_json", "all numbers as one document"),
    "html": ("to_html", "a page of charts; needs the extra [report]"),
    "png": ("to_png", "a picture of four charts; needs the extra [report]"),
    "xlsx": ("to_xlsx", "a workbook; needs the extra [xlsx]"),
}

_INPUTS = {"list": "--list", "journal": "--journal", "run": "RUN"}  # files that a command reads, or that are its memory


def add_outputs(parser: argparse.ArgumentParser, *names: str) -> None:
    group = parser.add_argument_group("files to write")
    for name in names:
        group.add_argument(f"--{name}", metavar="FILE", help=_OUTPUTS[name][1])
    parser.set_defaults(outputs=names)


def _asked(given: argparse.Namespace) -> dict[str, str]:
    """The path of each output that was asked for."""
    return {name: path for name in _OUTPUTS if name in given.outputs and (path := getattr(given, name)) is not None}


def refuse_early(given: argparse.Namespace) -> None:
    """Before anything starts: a run of an hour shall not end in a folder that is not there, or in the file that its
    tasks came from. Refused."""
    taken = {os.path.realpath(path): name for name in _INPUTS if (path := getattr(given, name, None)) is not None}
    for name, path in _asked(given).items():
        if (other := taken.setdefault(os.path.realpath(path), f"--{name}")) != f"--{name}":
            raise Refused(f"--{name} {path}: is the file of {_INPUTS.get(other, other)}; give it another name")
        folder = Path(path).parent
        if not folder.is_dir():
            raise Refused(f"--{name} {path}: there is no folder {folder}")
        if Path(path).is_dir() or not os.access(path if os.path.exists(path) else folder, os.W_OK):
            raise Refused(f"--{name} {path}: cannot be written")
        if name in FORMS:
            try:
                load(name)
            except ImportError as error:
                raise Refused(f"--{name} {path}: {error}") from None


def write(report: Report, given: argparse.Namespace) -> tuple[str, str]:
    """Write what was asked for. In words, '' for nothing: which files there are now, and which could not be written."""
    written, problems = [], []
    for name, path in _asked(given).items():
        try:
            getattr(report, _OUTPUTS[name][0])(path)
            written.append(path)
        except OSError as error:
            problems.append(f"--{name} {path}: {error.strerror or error}")
    return ", ".join(written), "; ".join(problems)
