"""How often something is tried again that failed for a reason that passes, and after which pauses."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """``tries`` in all, and the seconds between them: at first, at most, and at most in all."""

    tries: int
    first: float
    longest: float
    total: float = math.inf

    def pause(self, tried: int, waited: float = 0.0, *, factor: float = 1.0) -> float | None:
        """Return the seconds to wait after so many tries and so many seconds; None where that was enough.

        A random part keeps the jobs of one pipeline from coming back together. ``factor`` lengthens the pause, up to
        ``longest``.
        """
        jitter = random.uniform(0, self.first)  # noqa: S311 -- no secret
        seconds = min((self.first * 2 ** (tried - 1) + jitter) * factor, self.longest)
        return seconds if tried < self.tries and waited + seconds <= self.total else None

    def pauses(self) -> Iterator[float]:
        """Give the pause before each further try, longer each time."""
        waited = 0.0
        for tried in range(1, self.tries):
            if (pause := self.pause(tried, waited)) is None:
                return
            waited += pause
            yield pause
