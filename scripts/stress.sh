#!/bin/sh
# The long rounds, each in a world of its own: sh scripts/stress.sh [ROUND ...] [-- ARGUMENTS FOR PYTEST]
#
#     slow      the tests that are marked slow
#     long      all combinations of parameters, and many examples of what must hold for any input (tests/thinned.py)
#     again     the tests of faults and promises again and again: a race shows itself only now and then
#     load      the same once, while twice as many processes as there are cores do nothing but count
#     lowest    every check with the lowest version of each package that pyproject.toml allows, on Python 3.11
#     user      as an ordinary user with a home of its own; needs root, and does nothing where it is not given
#     files     with no more than 1 024 open files
#     flags     python -O -X dev: no assert of the package runs, and what is done twice or never closed is told
#     sigpipe   started with SIGPIPE at its default, as nothing but Python ignores it
#     nohup     started with SIGHUP ignored
#
# Without a name all of them run, each to its end; the exit code is 1 if any has failed.
# STRESS_ROUNDS=20: how often `again` runs. STRESS_TESTS=tests/faults/test_host.py: these instead of what a round takes.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. scripts/environment.sh

ALL="slow long again load lowest user files flags sigpipe nohup"
PROMISES=${STRESS_TESTS:-tests/faults tests/parity tests/contract}
BESIDES=${STRESS_TESTS:-tests/unit tests/cli tests/examples}

tests() {
    "$ENV_PYTHON" -m pytest -n auto --dist worksteal "$@"
}

round_slow() {
    "$ENV_PYTHON" -m pytest -m slow "$@"
}

round_long() {
    # shellcheck disable=SC2086
    tests -m combination ${STRESS_TESTS:-tests} "$@" && LONG_ROUNDS=1 tests ${STRESS_TESTS:-tests/property tests/reports} "$@"
}

round_again() {
    turn=1
    while [ "$turn" -le "${STRESS_ROUNDS:-5}" ]; do
        echo "again: $turn of ${STRESS_ROUNDS:-5}"
        # shellcheck disable=SC2086  # a list of folders, here and below
        "$ENV_PYTHON" -m pytest -x $PROMISES "$@" || return 1
        turn=$((turn + 1))
    done
}

round_load() (
    busy=
    trap 'kill $busy' EXIT
    trap 'exit 130' INT TERM
    for _ in $(seq $((2 * $(nproc)))); do
        "$ENV_PYTHON" -c 'while True: pass' &
        busy="$busy $!"
    done
    # shellcheck disable=SC2086
    tests $PROMISES "$@"
)

# On the oldest Python, for which there are wheels of all of them.
round_lowest() (
    PYTHON=python3.11
    prepare .venv-lowest test || return 1
    lowest="lowest of: $(cksum <pyproject.toml)"
    if [ "$(cat .venv-lowest/lowest 2>/dev/null)" != "$lowest" ]; then
        "$ENV_PYTHON" -m pip install --quiet --disable-pip-version-check uv
        "$ENV_PYTHON" -m uv pip install --quiet --python "$ENV_PYTHON" --upgrade --resolution lowest-direct --editable '.[test]'
        printf '%s\n' "$lowest" >.venv-lowest/lowest
    fi
    "$ENV_PYTHON" -m ruff check . && "$ENV_PYTHON" -m ruff format --check . && "$ENV_PYTHON" -m mypy || return 1
    # shellcheck disable=SC2086
    tests ${STRESS_TESTS:-tests} "$@"
)

# A copy that the user owns: what pip and the tests write is the user's, and nothing of ours can be.
round_user() (
    if [ "$(id -u)" != 0 ]; then
        echo "user: not root, so every other round is one as an ordinary user"
        return 0
    fi
    home=$(mktemp -d)
    trap 'rm -rf "$home"' EXIT
    mkdir "$home/project"
    tar --exclude='./.venv-*' --exclude=./.git --exclude=./build -cf - . | tar -xf - -C "$home/project"
    chown -R nobody "$home"
    as_user() {
        setpriv --reuid nobody --clear-groups env -i HOME="$home" TMPDIR="$home" PATH="$PATH" LANG=C.UTF-8 "$@"
    }
    cd "$home/project"
    # shellcheck disable=SC2086
    as_user sh scripts/test.sh $PROMISES $BESIDES "$@"
)

round_files() (
    ulimit -n 1024
    # shellcheck disable=SC2086
    tests $PROMISES "$@"
)

round_flags() {
    # shellcheck disable=SC2086
    "$ENV_PYTHON" -O -X dev -m pytest -n auto --dist worksteal $PROMISES $BESIDES "$@"
}

round_sigpipe() {
    # shellcheck disable=SC2086
    PYTHONPATH=tests/worlds tests -p sigpipe_at_its_default $PROMISES "$@"
}

round_nohup() {
    # shellcheck disable=SC2086
    nohup "$ENV_PYTHON" -m pytest -n auto --dist worksteal $PROMISES "$@" </dev/null
}

rounds=
while [ $# -gt 0 ]; do
    case "$1" in
        --) shift; break ;;
        -*) break ;;
    esac
    case " $ALL " in
        *" $1 "*) rounds="$rounds $1" ;;
        *) echo "there is no round '$1' among: $ALL" >&2; exit 2 ;;
    esac
    shift
done

prepare .venv-test test
failed=
for name in ${rounds:-$ALL}; do
    echo "round: $name"
    "round_$name" "$@" || failed="$failed $name"
done
if [ -n "$failed" ]; then
    echo "failed:$failed" >&2
    exit 1
fi
