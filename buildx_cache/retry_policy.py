"""How often to retry after a transient error, and how long to wait between the attempts."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """The number of attempts, and the pauses in seconds: the first, the longest, and their total."""

    tries: int
    first: float
    longest: float
    total: float = math.inf

    def pause(self, tried: int, waited: float = 0.0, *, factor: float = 1.0) -> float | None:
        """Return the seconds to wait after ``tried`` attempts and ``waited`` seconds; None to give up.

        A random part spreads the retries of the jobs of one pipeline. ``factor`` lengthens the pause, up to
        ``longest``.
        """
        jitter = random.uniform(0, self.first)  # noqa: S311 -- no secret
        seconds = min((self.first * 2 ** (tried - 1) + jitter) * factor, self.longest)
        return seconds if tried < self.tries and waited + seconds <= self.total else None

    def pauses(self) -> Iterator[float]:
        """Yield the pause in seconds before each retry, longer each time."""
        waited = 0.0
        for tried in range(1, self.tries):
            if (pause := self.pause(tried, waited)) is None:
                return
            waited += pause
            yield pause
