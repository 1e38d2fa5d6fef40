"""Which modules of Python's own library take longest to import? Each is imported by an interpreter of its own.

python scripts/examples/slow_imports.py [MODULE ...]

The work is in the processes that the tasks start, so the workers are threads: they only wait.
"""

import subprocess
import sys
import warnings

import worker_dispatcher

NOT_ASKED = {"antigravity", "idlelib", "this", "turtledemo"}  # these open windows, or talk


def import_time(task):
    """Milliseconds that the import takes, and how many modules it loads. Raises if the interpreter fails or hangs."""
    command = [sys.executable, "-I", "-X", "importtime", "-c", f"import {task}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    lines = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    return int(lines[-1][1]) / 1000, len(lines) - 1


def main():
    every = sorted(name for name in sys.stdlib_module_names - NOT_ASKED if not name.startswith("_"))
    names = sys.argv[1:] or every
    warnings.simplefilter("ignore", worker_dispatcher.TaskFailuresWarning)  # what failed is told below
    results = worker_dispatcher.start({"task": {"list": names, "function": import_time}, "verbose": False})
    good = [(*result, name) for name, result in zip(names, results, strict=True) if result]
    failed = [name for name, result in zip(names, results, strict=True) if not result]  # a TaskFailure is falsy
    seconds = worker_dispatcher.get_duration()
    print(f"{len(names)} interpreters in {seconds:.1f} s; the slowest imports:")
    for took, modules, name in sorted(good, reverse=True)[:5]:
        print(f"  {name:<16}{took:8.1f} ms  {modules:>4} modules")
    print("not to be had on this system:", ", ".join(failed) or "none")


if __name__ == "__main__":
    main()
