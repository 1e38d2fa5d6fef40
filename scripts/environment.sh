# Sourced by the scripts beside it. On a machine that has only Python >= 3.11 and a package registry it makes a
# virtual environment inside the project, once, and makes it anew when what it was made from has changed.
#
#     prepare FOLDER [EXTRA]      leaves the environment's interpreter in $ENV_PYTHON
#
# PYTHON=python3.12 in the environment asks for one interpreter by name.

# Tests and benchmarks start some thousand interpreters: what they import is compiled once and not by each of them.
unset PYTHONDONTWRITEBYTECODE

# True if the command runs at all (a version manager's shim may not), is new enough, and can make environments
# (some distributions ship Python without the parts that do).
suitable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if suitable "$candidate"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    echo "no suitable Python among: ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}" >&2
    echo "needed: Python 3.11 or newer with the venv and ensurepip modules (Debian: apt install python3-venv)" >&2
    return 1
}

prepare() {
    folder=$1
    extra=${2:-}
    base=$(find_python)
    # What the environment was made from: an environment does not survive a move of the project or of its Python.
    made_from="$("$base" -c 'import sys; print(sys.version, sys.base_prefix)') | $(pwd -P) | [$extra] | $(cksum <pyproject.toml)"
    ENV_PYTHON="$folder/bin/python"
    if [ -x "$ENV_PYTHON" ] && [ "$(cat "$folder/made-from" 2>/dev/null)" = "$made_from" ]; then
        return 0
    fi
    echo "making $folder (once)" >&2
    rm -rf "$folder"
    "$base" -m venv "$folder"
    # The stamp comes last: an installation that was cut short is begun again. What is never imported is not compiled.
    if ! "$ENV_PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile --editable ".${extra:+[$extra]}"; then
        echo "could not install the project into $folder; is a package registry within reach?" >&2
        return 1
    fi
    printf '%s\n' "$made_from" >"$folder/made-from"
}
