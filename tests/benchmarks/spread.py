"""Several figures of the same thing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of seconds, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        return cls(median=statistics.median(seconds), low=min(seconds), high=max(seconds))

    def __str__(self) -> str:
        return f"{self.median:.2f}s ({self.low:.2f} to {self.high:.2f})"
