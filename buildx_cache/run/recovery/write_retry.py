"""Retry a build that failed only over a pull, or over what comes after its steps, such as a push."""

from __future__ import annotations

from buildx_cache.buildkit import BuildTrace, failure
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.recovery import Attempt, Strategy
from buildx_cache.run.retry import Fault, Retrying, fault


class WriteRetry(Strategy):
    """Pull or write again what failed over a fault that may pass; the builder runs no step again."""

    keeps_steps = True

    def __init__(self, planned: BuildInvocation, retrying: Retrying) -> None:
        self._planned = planned
        self._retrying = retrying

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Build again after a pause, with the builder's cache."""
        found = _fault(attempt.trace)
        if found is None or not self._retrying.pause(found):
            return None
        return attempt.build.reusing(self._planned)


def _fault(trace: BuildTrace) -> Fault | None:
    failed = failure(trace)
    return fault(failed.work, failed.problem) if failed.work else None
