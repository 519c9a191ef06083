"""Several figures of the same thing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of seconds, the lowest and the highest, which are shown where they differ."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        return cls(median=statistics.median(seconds), low=min(seconds), high=max(seconds))

    def __str__(self) -> str:
        low, high = f"{self.low:.2f}", f"{self.high:.2f}"
        return f"{self.median:.2f}s ({low} to {high})" if low != high else f"{self.median:.2f}s"
