"""Leave out an import that a build failed over, and set a damaged local folder aside.

BuildKit fails the build over a layer that it finds damaged. A failure of the Dockerfile's is none of a cache's.
"""

from __future__ import annotations

import re

from buildx_cache.buildkit import BuildTrace
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.caches import Caches, troubles
from buildx_cache.run.recovery import Attempt, Strategy

# What BuildKit's client puts before the error of a vertex.
_CLIENTS = re.compile(r"\A(?:failed to build: )?(?:failed to solve: )?")


class FailedImport(Strategy):
    """Build without the imports at fault."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Leave out the imports that the build's error comes from."""
        trace = attempt.trace
        errors = [error for error in troubles(trace) if error == trace.error] or _untold(trace)
        at_fault = self._caches.at_fault(attempt.build, trace, errors)
        if not at_fault:
            return None
        build = self._caches.leave_out(attempt.build, at_fault, "building again without it")
        self._caches.note_retry(attempt.phase, trace.error)
        return build


def _untold(trace: BuildTrace) -> list[str]:
    """Return the build's error where no vertex has it: BuildKit may end before it tells of the one that failed."""
    is_told = any(trace.error.endswith(error) for _, error in trace.errors)
    return [_CLIENTS.sub("", trace.error)] if trace.error and not is_told else []
