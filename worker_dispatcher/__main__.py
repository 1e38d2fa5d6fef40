"""`python -m worker_dispatcher` is the command `worker-dispatcher`."""

import sys

if not sys.flags.safe_path:
    # The current folder, which `-m` puts first: a random.py in it is not what the command means by random. The commands
    # that import from it give it its place. It stays, for this package itself may lie there.
    sys.path.append(sys.path.pop(0))

from worker_dispatcher.cli import main

sys.exit(main())
