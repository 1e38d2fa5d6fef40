#!/bin/sh
# A first look: all files of this machine's Python library hashed and their words counted, in threads and in processes.
# Sets itself up on a machine that has only Python >= 3.11.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. scripts/environment.sh

# Without the extra for reports there is still one as text and CSV.
prepare .venv-demo report || {
    echo "going on without the page of charts" >&2
    prepare .venv-demo
}
"$ENV_PYTHON" scripts/demo.py "$@"
