"""Recover from failed imports: retry a temporary fault; leave out an import that fails the build."""

from __future__ import annotations

import re

from buildx_cache.buildkit.classify import classify, is_cancelled
from buildx_cache.buildkit.events import Event, VertexEvent
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.caches.vertices import importing
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.cache_entries import Caches, troubles
from buildx_cache.run.recovery import AbandonedBuildError, Attempt, Strategy
from buildx_cache.run.retry import TRIES, Fault, Retrying, fault

# The prefix that BuildKit's client adds to the error of a vertex.
_CLIENTS = re.compile(r"\A(?:failed to build: )?(?:failed to solve: )?")


class FailedImport(Strategy):
    """Build without the imports at fault."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Leave out the imports that cause the build's error."""
        trace = attempt.trace
        errors = [error for error in troubles(trace) if trace.error.endswith(error)] or _untold(trace)
        at_fault = self._caches.at_fault(attempt.build, trace, errors)
        if not at_fault:
            return None
        build = self._caches.leave_out(attempt.build, at_fault, "building again without it")
        self._caches.note_retry(attempt.phase, trace.error)
        return build


def _untold(trace: BuildTrace) -> list[str]:
    """Return the build's error if no vertex has it: BuildKit may end before it reports the failed vertex."""
    is_told = any(trace.error.endswith(error) for _, error in trace.errors)
    return [_CLIENTS.sub("", trace.error)] if trace.error and not is_told else []


class ImportRetry(Strategy):
    """Restart a build after a temporary fault of an import.

    BuildKit runs no step before every import has answered, so a restart loses no work.
    """

    def __init__(self, retrying: Retrying) -> None:
        self._retrying = retrying
        self._left = TRIES["import"] - 1
        self._fault: Fault | None = None

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Store the imports that are not local."""
        self._imports = tuple(entry for entry in build.imports if not entry.folder)
        self._fault = None
        return build

    def observe(self, event: Event) -> Event:
        """Abandon a build that would go on without a cache because of a temporary fault."""
        if not self._left or not isinstance(event, VertexEvent) or not event.error or is_cancelled(event.error):
            return event
        if importing(event.name, self._imports):
            self._fault = fault("import", classify(event.error))
            if self._fault:
                self._left -= 1
                raise AbandonedBuildError
        return event

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Build again after a pause."""
        return attempt.build if self._fault and self._retrying.pause(self._fault) else None
