"""How much memory a result takes, about."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable

_LIKE_THE_FIRST = 8  # items of a container that are weighed
_OF_PYTHON = 1 << 9  # of the flags of a class


def weight_of(result: object) -> float:
    """About how many bytes a result takes, from one look at it. Runs no code of the user: what his classes make is not
    weighed."""
    parts: Iterable[object] = ()
    if type(result) is dict:
        parts = result.values()
    elif type(result) is list or type(result) is tuple:
        parts = result
    some = (result, *itertools.islice(parts, _LIKE_THE_FIRST))
    return max(1, sum(sys.getsizeof(one) for one in some if not type(one).__flags__ & _OF_PYTHON))
