"""Imports that fail: retry a fault that passes; leave out what a build failed over, and set its folder aside."""

from __future__ import annotations

import re

from buildx_cache.buildkit import BuildTrace, Event, classify, is_cancelled
from buildx_cache.buildkit.events import VertexEvent
from buildx_cache.caches import importing
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.cache_entries import Caches, troubles
from buildx_cache.run.recovery import AbandonedBuildError, Attempt, Strategy
from buildx_cache.run.retry import TRIES, Fault, Retrying, fault

# What BuildKit's client puts before the error of a vertex.
_CLIENTS = re.compile(r"\A(?:failed to build: )?(?:failed to solve: )?")


class FailedImport(Strategy):
    """Build without the imports at fault."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Leave out the imports that the build's error comes from."""
        trace = attempt.trace
        errors = [error for error in troubles(trace) if trace.error.endswith(error)] or _untold(trace)
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


class ImportRetry(Strategy):
    """Begin a build again whose import failed over a fault that may pass.

    BuildKit takes no step before it has heard of every import: what is abandoned has done nothing yet.
    """

    def __init__(self, retrying: Retrying) -> None:
        self._retrying = retrying
        self._left = TRIES["import"] - 1
        self._fault: Fault | None = None

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Note what is imported."""
        self._imports = tuple(entry for entry in build.imports if not entry.folder)
        self._fault = None
        return build

    def observe(self, event: Event) -> Event:
        """Abandon a build that would go on without a cache that may be had in a moment."""
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
