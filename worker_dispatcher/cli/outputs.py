"""The files that a command writes: --log, --html and their like."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from worker_dispatcher.cli.ending import CannotRun
from worker_dispatcher.cli.streams import reason_lost
from worker_dispatcher.reports.outputs import FORMS, expect_name, load

if TYPE_CHECKING:
    from worker_dispatcher.dispatch.run import Run
    from worker_dispatcher.reports.report import Report

# In this order they are written, after the log, without which a result could not be had again.
_OUTPUTS = {
    "log": (
        "",
        "a line of JSON for each task, with its result; `report` reads it again; - is standard output, x.gz is gzipped",
    ),
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
    """Raise CannotRun, before anything starts, for outputs that cannot be written, such as to a folder that is not
    there, or to the file that the tasks come from."""
    taken = {
        os.path.realpath(path): name for name in _INPUTS if (path := getattr(given, name, None)) not in (None, "-")
    }
    for name, path in _asked(given).items():
        if path == "-":
            if name == "log":
                continue
            raise CannotRun(f"--{name} -: only --log can go to standard output; give the name of a file")
        if (other := taken.setdefault(os.path.realpath(path), f"--{name}")) != f"--{name}":
            raise CannotRun(f"--{name} {path}: is the file of {_INPUTS.get(other, other)}; give it another name")
        try:
            expect_name("jsonl" if name == "log" else name, path)
        except ValueError as error:
            raise CannotRun(f"--{name} {error}") from None
        folder = Path(path).parent
        if not folder.is_dir():
            raise CannotRun(f"--{name} {path}: there is no folder {folder}")
        if Path(path).is_dir() or not os.access(path if os.path.exists(path) else folder, os.W_OK):
            raise CannotRun(f"--{name} {path}: cannot be written")
        if name in FORMS:
            try:
                load(name)
            except ImportError as error:
                raise CannotRun(f"--{name} {path}: {error}") from None


class Written:
    """What became of the files that were asked for: files: those that there are now; problems: of the others."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._paths = _asked(given)
        self._output: TextIO | None = getattr(given, "output_of_log", None)
        self.files: list[str] = []
        self.problems: list[str] = []

    @property
    def path_of_log(self) -> str | None:
        return self._paths.get("log")

    def log(self, run: Run) -> None:
        """Write the log, if it is wanted. It is made of the records alone, so that no error in a report can cost it."""
        if "log" in self._paths:
            self._write("log", lambda path: self._write_log(run, path))

    def rest(self, report: Report) -> None:
        """Write all but the log."""
        for name in self._paths:
            if name != "log":
                self._write(name, getattr(report, _OUTPUTS[name][0]))

    def _write(self, name: str, write: Callable[[str], object]) -> None:
        try:
            write(self._paths[name])
            self.files.append(self._paths[name])
        except OSError as error:
            self.problems.append(f"--{name} {self._paths[name]}: {error.strerror or error}")

    def _write_log(self, run: Run, path: str) -> None:
        from worker_dispatcher.reports.outputs.json_lines import write_jsonl
        from worker_dispatcher.zipped import open_to_write

        logged = run.each_log(), run.info, run.dropped  # no more of its logs are there at a time than one
        if self._output is None:
            with open_to_write(path) as file:
                write_jsonl(file, *logged)
            return
        write_jsonl(self._output, *logged)
        self._output.flush()
        if reason := reason_lost(self._output):
            raise OSError(reason)
