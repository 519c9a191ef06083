"""Retry a build that failed only over what comes after its steps, such as a push: the builder has all the steps."""

from __future__ import annotations

from collections.abc import Mapping

from buildx_cache.buildkit import BuildTrace, classify
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.recovery import Attempt, Strategy
from buildx_cache.run.retry import Fault, Phase, Retrying, fault

# What writes to a registry, by what of a build it is; a strict call's build fails over its cache.
_WRITING: Mapping[str, Phase] = {"image-export": "push", "push": "push", "cache-export": "export"}


class WriteRetry(Strategy):
    """Write again what a registry did not take over a fault that may pass; steps are not run again."""

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
    if trace.failed:
        return None
    failed = next((transfer for transfer in trace.transfers if transfer.error and transfer.error == trace.error), None)
    phase = _WRITING.get(failed.kind) if failed else None
    return fault(phase, classify(trace.error)) if phase else None
