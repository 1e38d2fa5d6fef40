"""What the tests of runs that keep no records share."""

from __future__ import annotations

import worker_dispatcher as wd


def streamed(config):
    return wd.launch(config, keep_records=False)
