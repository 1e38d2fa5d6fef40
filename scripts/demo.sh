#!/bin/sh
# A first look: the command `worker-dispatcher demo`. Arguments go to it: sh scripts/demo.sh --to /tmp/reports
# Sets itself up on a machine that has only Python >= 3.11.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. scripts/environment.sh

# Without the extra for reports there is still one as text and CSV.
prepare .venv-demo report || {
    echo "going on without the page of charts" >&2
    prepare .venv-demo
}
"$ENV_PYTHON" -m worker_dispatcher demo --to build/demo "$@"
