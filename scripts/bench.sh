#!/bin/sh
# All benchmarks against their rivals, in one run, and a table of our ratio to the best rival.
# Sets itself up on a machine that has only Python >= 3.11. Arguments: rows to run (a_noop ...), --repeats N, --quick.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. scripts/environment.sh

prepare .venv-bench bench
"$ENV_PYTHON" -m benchmarks "$@"
