"""A build as a graph of jobs, kept on disk: one branch fails, and the next run does what is missing.

python scripts/examples/build.py
"""

import ast
import tempfile
from pathlib import Path

from worker_dispatcher.engine import Engine, EngineSetting, ProcessJob, ThreadJob

MODULES = ("alpha", "beta", "gamma")


def generate(folder, name):
    note(folder, f"generate {name}")
    path = folder / f"{name}.py"
    path.write_text("\n".join(f"def {name}_{number}():\n    return {number}\n" for number in range(20)))
    return path


def check(folder, path):
    note(folder, f"check {path.stem}")
    if not path.with_suffix(".licence").exists():
        raise FileNotFoundError(f"{path.stem}.licence")
    return sum(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_text())))


def note(folder, text):
    with (folder / "log.txt").open("a") as log:
        log.write(f"{text}\n")


def build(folder):
    """The ids are the same in each run: what is done is taken from the store, all else runs."""
    (folder / "log.txt").write_text("")
    with Engine(EngineSetting(print_traceback=False), store=folder / "build.jobs", resume=True) as engine:
        counts = {}
        for name in MODULES:
            made = ThreadJob(generate, (folder, name), id=f"generate {name}", name=f"generate {name}")
            checked = ProcessJob(check, (folder, made.future), id=f"check {name}", name=f"check {name}")
            engine.submit(made, checked)
            counts[name] = checked.future
        report = ThreadJob(dict, (counts,), id="report", name="report")
        engine.submit(report)
        engine.wait()
        print(engine.table())
    for job in engine.jobs.failed.values():
        print(f"{job.name} failed: {job.exception()!r}")
    print("report:", report.result() if report.status == "done" else report.status)
    print("did:", ", ".join(sorted((folder / "log.txt").read_text().splitlines())))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for run, module in (("first", "alpha"), ("first", "beta"), ("second", "gamma")):
            Path(name, f"{module}.licence").touch()  # gamma's comes too late for the first run
            if module != "alpha":
                print(f"The {run} run\n")
                build(Path(name))
