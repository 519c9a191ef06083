"""Caches in registries with faults that pass: BuildKit goes on without such a cache, and builds everything."""

from __future__ import annotations

from collections.abc import Collection

from buildx_cache.buildkit import Event, classify, is_cancelled
from buildx_cache.buildkit.events import VertexEvent
from buildx_cache.caches import CacheEntry, importing
from buildx_cache.run.interfaces import AbandonedBuildError
from buildx_cache.run.retry import TRIES, Fault, fault


class Importing:
    """Looks for imports that fail and may not fail the next time; a build is begun again for so many of them.

    BuildKit takes no step before it has heard of every import: what is abandoned has done nothing yet.
    """

    def __init__(self, imports: Collection[CacheEntry]) -> None:
        self._imports = tuple(imports)
        self._left = TRIES["import"] - 1
        self.fault: Fault | None = None
        """Why the last build was abandoned; None where it was not."""

    def begin(self) -> None:
        """A build begins."""
        self.fault = None

    def take(self, event: Event) -> None:
        """Take an event of it.

        Raises:
            AbandonedBuildError: it would go on without a cache that may be had in a moment.
        """
        if not self._left or not isinstance(event, VertexEvent) or not event.error or is_cancelled(event.error):
            return
        if importing(event.name, self._imports):
            self.fault = fault("import", classify(event.error))
            if self.fault:
                self._left -= 1
                raise AbandonedBuildError
