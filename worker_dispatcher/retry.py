"""When a failed attempt is tried again, and after how long; floor 1."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from worker_dispatcher.named_tuple import NamedTuple

if TYPE_CHECKING:
    from random import Random


class Backoff(NamedTuple):
    """Exponential waits with jitter.

    initial: seconds before the second attempt, 0 for none; factor: growth per further attempt, >= 1;
    maximum: longest wait in seconds; jitter: share of the wait, 0 to 1, by which it is spread at random
    (0.1 gives 0.9 to 1.1 times the wait), so that tasks that failed together do not come back together.
    """

    initial: float = 0.0
    factor: float = 2.0
    maximum: float = 60.0
    jitter: float = 0.1

    def __call__(self, attempt: int) -> float:
        """The same as `wait`: whatever maps the number of an attempt to seconds may stand in its place."""
        return self.wait(attempt)

    def wait(self, attempts: int) -> float:
        """Seconds to wait after this many attempts (>= 1) have failed."""
        if self.initial <= 0:
            return 0.0
        try:
            plain = self.initial * self.factor ** (attempts - 1)
        except OverflowError:
            plain = self.maximum
        plain = min(plain, self.maximum)
        return plain * (1 + self.jitter * (2 * _dice().random() - 1))


@cache
def _dice() -> Random:
    """Our own: the numbers of the module `random` are the user's, and come as his seed says."""
    from random import Random  # 3 ms, for those who wait only

    return Random()


class RetryPolicy(NamedTuple):
    """retries: attempts after the first, at most; backoff: the waits between them."""

    retries: int = 0
    backoff: Backoff = Backoff()

    def again(self, attempts: int) -> bool:
        """True if a task that failed `attempts` times may be tried once more."""
        return attempts <= self.retries
