#!/bin/sh
# The long rounds: the slow tests once, then the tests of faults and promises again and again, since a race shows itself
# only now and then. STRESS_ROUNDS=20 sh scripts/stress.sh   Arguments go to pytest.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. scripts/environment.sh

prepare .venv-test test
"$ENV_PYTHON" -m pytest -m slow "$@"

suites=
for suite in tests/faults tests/parity tests/contract; do
    if [ -d "$suite" ]; then suites="$suites $suite"; fi
done
round=1
while [ "$round" -le "${STRESS_ROUNDS:-5}" ]; do
    echo "round $round of ${STRESS_ROUNDS:-5}"
    # shellcheck disable=SC2086  # a list of folders
    "$ENV_PYTHON" -m pytest -x $suites "$@"
    round=$((round + 1))
done
