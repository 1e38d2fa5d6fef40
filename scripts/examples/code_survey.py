"""Which functions of Python's own library branch most? Each file is parsed in one of several processes.

python scripts/examples/code_survey.py [FOLDER]

Parsing keeps Python itself busy, so threads would take turns; processes use all cores.
"""

import ast
import sys
import sysconfig
from pathlib import Path

import worker_dispatcher

BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.BoolOp, ast.comprehension, ast.match_case)


def survey(task, metadata):
    """(branches, place, name) of each function in one file."""
    source = task.read_bytes()
    metadata["lines"] = source.count(b"\n")
    functions = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [(sum(isinstance(n, BRANCHES) for n in ast.walk(f)), f"{task.name}:{f.lineno}", f.name) for f in functions]


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib"))
    files = sorted(folder.glob("*.py"))
    surveys = worker_dispatcher.start(
        {"task": {"list": files, "function": survey}, "worker": {"use_processing": True}, "verbose": False}
    )
    logs, seconds = worker_dispatcher.get_logs(), worker_dispatcher.get_duration()
    lines = sum(log["metadata"]["lines"] for log in logs)
    workers = len({log["pid"] for log in logs})
    print(f"{len(files)} files, {lines:,} lines in {seconds:.2f} s with {workers} processes")
    found = [function for one in surveys for function in one or ()]  # a file that cannot be parsed gives a falsy result
    print(f"{len(found):,} functions; those with the most branches:")
    for branches, place, name in sorted(found, reverse=True)[:5]:
        print(f"  {branches:>4}  {place:<24} {name}")


if __name__ == "__main__":
    main()
