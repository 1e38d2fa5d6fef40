#!/bin/sh
# Every check of the project: style, types, tests (the slow ones are in stress.sh).
# Sets itself up on a machine that has only Python >= 3.11. Arguments go to pytest: sh scripts/test.sh tests/parity -x
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. scripts/environment.sh

prepare .venv-test test
"$ENV_PYTHON" -m ruff check .
"$ENV_PYTHON" -m ruff format --check .
# Meanwhile the tests are compiled, once: all sessions would do so at the same time.
"$ENV_PYTHON" -m pytest --collect-only -q "$@" >/dev/null 2>&1 &
"$ENV_PYTHON" -m mypy
wait
# Three times as many at a time as there are cores (tests/conftest.py): most tests wait rather than work, and each keeps
# to itself.
"$ENV_PYTHON" -m pytest -n auto --dist worksteal "$@"
