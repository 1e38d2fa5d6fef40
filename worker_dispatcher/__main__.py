"""`python -m worker_dispatcher` is the command `worker-dispatcher`."""

import sys

from worker_dispatcher.cli import main

sys.exit(main())
