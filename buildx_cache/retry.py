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

    def pauses(self, *, factor: float = 1.0) -> Iterator[float]:
        """Give the pause before each further try, longer each time.

        A random part keeps the jobs of one pipeline from coming back together. ``factor`` lengthens each pause, up to
        ``longest``.
        """
        waited = 0.0
        for number in range(self.tries - 1):
            jitter = random.uniform(0, self.first)  # noqa: S311 -- no secret
            pause = min((self.first * 2**number + jitter) * factor, self.longest)
            waited += pause
            if waited > self.total:
                return
            yield pause
