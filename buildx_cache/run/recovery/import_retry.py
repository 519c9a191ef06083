"""Retry imports from registries with faults that pass: BuildKit goes on without such a cache, and builds everything."""

from __future__ import annotations

from buildx_cache.buildkit import Event, classify, is_cancelled
from buildx_cache.buildkit.events import VertexEvent
from buildx_cache.caches import importing
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.recovery import AbandonedBuildError, Attempt, Strategy
from buildx_cache.run.retry import TRIES, Fault, Retrying, fault


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
