"""Trying again what failed for a reason that passes: a registry that limits requests or has a fault, the network.

Each pause is longer than the one before, by a random part too, so that the jobs of one pipeline do not come back
together. BuildKit does not tell what a ``Retry-After`` said: where requests are too many, pauses are longer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from buildx_cache.buildkit import Kind, Problem, classify
from buildx_cache.report import RetryReport
from buildx_cache.run.interfaces import Finished

Phase = Literal["builder", "login", "import", "pull", "push", "export"]
Result = TypeVar("Result")

TRIES: Mapping[Phase, int] = {"builder": 3, "login": 4, "import": 3, "pull": 5, "push": 5, "export": 3}
"""How often a phase is begun at most."""

_LIMITED_FACTOR = 4


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a call waits for a fault to pass, in seconds: at first, at most between two tries, and in all."""

    first: float = 1.0
    longest: float = 20.0
    total: float = 60.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What failed and may not fail the next time."""

    phase: Phase
    problem: Problem

    @property
    def words(self) -> str:
        """Return the reason in one line."""
        return " ".join(self.problem.words.split())


def fault(phase: Phase, problem: Problem) -> Fault | None:
    """Return what to try again for; None where the next try would end like this one."""
    return Fault(phase=phase, problem=problem) if problem.retryable else None


def ended_by(phase: Phase, done: Finished) -> Fault | None:
    """Return what a command failed over that may not fail it the next time."""
    return fault(phase, classify(done.stderr)) if done.code != 0 else None


class Retrying:
    """The retries of one call, counted by phase."""

    def __init__(self, patience: Patience, say: Callable[[str], None]) -> None:
        self._counted: dict[Phase, RetryReport] = {}
        self._noted: list[RetryReport] = []
        self._waited: dict[Phase, float] = {}
        self._patience = patience
        self._say = say

    @property
    def reports(self) -> tuple[RetryReport, ...]:
        """Return how often what was tried again: first those after a pause."""
        return (*self._counted.values(), *self._noted)

    def note(self, phase: str, reason: str) -> None:
        """Note a retry that waits for nothing, since it goes around what failed."""
        self._noted.append(RetryReport(phase=phase, reason=reason, count=1))

    def pause(self, found: Fault) -> bool:
        """Wait before the next try; False where its phase has been tried for long enough."""
        phase, patience = found.phase, self._patience
        count = self._counted[phase].count if phase in self._counted else 0
        factor = _LIMITED_FACTOR if found.problem.kind is Kind.THROTTLED else 1
        jitter = random.uniform(0, patience.first)  # noqa: S311 -- nothing secret hangs on it
        seconds = min((patience.first * 2**count + jitter) * factor, patience.longest)
        waited = self._waited.get(phase, 0.0) + seconds
        if count + 1 >= TRIES[phase] or waited > patience.total:
            return False
        self._waited[phase] = waited
        self._counted[phase] = RetryReport(phase=phase, reason=found.words, count=count + 1)
        self._say(f"{phase}: {found.words}; trying again in {seconds:.1f}s")
        patience.sleep(seconds)
        return True

    def tried(self, first: Result, again: Callable[[], Result], fault_of: Callable[[Result], Fault | None]) -> Result:
        """Return the last result of what is done ``again`` after the ``first`` time, as long as that is worth it."""
        done = first
        while (found := fault_of(done)) and self.pause(found):
            done = again()
        return done
