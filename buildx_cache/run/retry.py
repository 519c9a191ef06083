"""Trying again what failed for a reason that passes: a registry that limits requests or has a fault, the network.

Each pause is longer than the one before, by a random part too, so that the jobs of one pipeline do not come back
together. BuildKit does not tell what a ``Retry-After`` said: where requests are too many, pauses are longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from buildx_cache.buildkit import Kind, Problem, classify
from buildx_cache.redaction import redact
from buildx_cache.report import RetryReport
from buildx_cache.run.interfaces import Finished

if TYPE_CHECKING:
    from tenacity import RetryCallState

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
        return " ".join(redact(self.problem.words).split())


def fault(phase: Phase, problem: Problem) -> Fault | None:
    """Return what to try again for; None where the next try would end like this one."""
    return Fault(phase=phase, problem=problem) if problem.retryable else None


def ended_by(phase: Phase, done: Finished) -> Fault | None:
    """What a command failed over that may not fail it the next time."""
    return fault(phase, classify(done.stderr)) if done.code != 0 else None


class Retrying:
    """The tries of one call; ``reports`` tells how many were needed."""

    def __init__(self, patience: Patience, say: Callable[[str], None]) -> None:
        self.reports: list[RetryReport] = []
        self._patience = patience
        self._say = say

    def tried(self, first: Result, again: Callable[[], Result], fault_of: Callable[[Result], Fault | None]) -> Result:
        """The last result of what is done ``again`` after the ``first`` time, as long as that is worth it.

        It is what came of it even where the fault stays.
        """
        found = fault_of(first)
        return self._try(found, first, again, fault_of) if found else first

    def _try(
        self,
        found: Fault,
        first: Result,
        again: Callable[[], Result],
        fault_of: Callable[[Result], Fault | None],
    ) -> Result:
        import tenacity  # most calls need no second try

        patience, done = self._patience, [first]
        backoff = tenacity.wait_exponential_jitter(patience.first, patience.longest, jitter=patience.first)
        factor = _LIMITED_FACTOR if found.problem.kind is Kind.THROTTLED else 1
        tries = TRIES[found.phase]

        def next_one() -> Result:
            return done.pop() if done else again()

        def pause(state: RetryCallState) -> float:
            return min(backoff(state) * factor, patience.longest)

        def is_enough(state: RetryCallState) -> bool:
            return state.attempt_number >= tries or state.idle_for + state.upcoming_sleep > patience.total

        def tell(state: RetryCallState) -> None:
            self._note(found, state.attempt_number)
            self._say(f"{found.phase}: {found.words}; trying again in {state.upcoming_sleep:.1f}s")

        retrying = tenacity.Retrying(
            sleep=patience.sleep,
            stop=is_enough,
            wait=pause,
            retry=tenacity.retry_if_result(lambda result: fault_of(result) is not None),
            before_sleep=tell,
            retry_error_callback=_last,
        )
        return retrying(next_one)

    def _note(self, found: Fault, count: int) -> None:
        if count > 1:
            self.reports.pop()
        self.reports.append(RetryReport(phase=found.phase, reason=found.words, count=count))


def _last(state: RetryCallState) -> Any:  # noqa: ANN401 -- whatever is tried
    return state.outcome.result() if state.outcome else None
