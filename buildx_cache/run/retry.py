"""Retry after a temporary fault: a network error, a server error of a registry, or a limit on requests.

BuildKit does not pass on ``Retry-After``, so the pauses after "too many requests" are longer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from buildx_cache.buildkit.causes import Kind
from buildx_cache.buildkit.classify import Problem, classify
from buildx_cache.report import RetryReport
from buildx_cache.retry_policy import RetryPolicy
from buildx_cache.run.interfaces import Finished

Phase = Literal["builder", "login", "import", "pull", "push", "export"]
Result = TypeVar("Result")

TRIES: Mapping[Phase, int] = {"builder": 3, "login": 4, "import": 3, "pull": 5, "push": 5, "export": 3}

_POLICIES = {phase: RetryPolicy(tries=tries, first=1.0, longest=20.0, total=60.0) for phase, tries in TRIES.items()}
_LIMITED_FACTOR = 4


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A temporary fault, and the phase in which it occurred."""

    phase: Phase
    problem: Problem

    @property
    def words(self) -> str:
        """Return the problem's text in one line."""
        return " ".join(self.problem.words.split())


def fault(phase: Phase, problem: Problem) -> Fault | None:
    """Return the fault of a problem that a retry may solve; else None."""
    return Fault(phase=phase, problem=problem) if problem.retryable else None


def ended_by(phase: Phase, done: Finished) -> Fault | None:
    """Return the temporary fault that a command failed over; None if it succeeded or a retry is useless."""
    return fault(phase, classify(done.stderr)) if done.code != 0 else None


class Retrying:
    """The retries of one call, counted by phase.

    Args:
        sleep: waits for a number of seconds.
        say: shows a line before each pause.
    """

    def __init__(self, sleep: Callable[[float], None], say: Callable[[str], None]) -> None:
        self._counted: dict[Phase, RetryReport] = {}
        self._noted: list[RetryReport] = []
        self._waited: dict[Phase, float] = {}
        self._sleep = sleep
        self._say = say

    @property
    def reports(self) -> tuple[RetryReport, ...]:
        """Return the retries of each phase: first those after a pause, then those without one."""
        return (*self._counted.values(), *self._noted)

    def note(self, phase: str, reason: str) -> None:
        """Record a retry without a pause: it avoids the part that failed."""
        self._noted.append(RetryReport(phase=phase, reason=reason, count=1))

    def pause(self, found: Fault) -> bool:
        """Wait before the next try; return False without waiting when the phase has used up its retries."""
        phase = found.phase
        tried = 1 + (self._counted[phase].count if phase in self._counted else 0)
        waited = self._waited.get(phase, 0.0)
        factor = _LIMITED_FACTOR if found.problem.kind is Kind.THROTTLED else 1
        if (seconds := _POLICIES[phase].pause(tried, waited, factor=factor)) is None:
            return False
        self._waited[phase] = waited + seconds
        self._counted[phase] = RetryReport(phase=phase, reason=found.words, count=tried)
        self._say(f"{phase}: {found.words}; trying again in {seconds:.1f}s")
        self._sleep(seconds)
        return True

    def tried(self, first: Result, again: Callable[[], Result], fault_of: Callable[[Result], Fault | None]) -> Result:
        """Retry while the result has a temporary fault and retries are left; return the last result.

        Args:
            first: the result of the first try.
            again: tries once more.
            fault_of: returns the temporary fault of a result, or None.
        """
        done = first
        while (found := fault_of(done)) and self.pause(found):
            done = again()
        return done
