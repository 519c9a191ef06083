"""A builder that waits for a registry which does not answer, and does nothing else until it does.

BuildKit asks for a cache's manifest in a context that no one can cancel, holding the lock that every build needs
(``llbsolver/bridge.go`` and ``solver/scheduler.go``): a build that is cancelled, and all that come after it, wait as
long as the registry's silence lasts. Only a restart of the builder ends that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from buildx_cache.buildkit import Event
from buildx_cache.buildkit.events import VertexEvent
from buildx_cache.buildkit.vertex_names import transfer_kind
from buildx_cache.run.interfaces import AbandonedBuildError

SECONDS = 90.0
"""How long is too long: a cache's manifest and configuration are small, and a build begins with its Dockerfile."""


class Silence:
    """Looks for a build that hears nothing: from its start on, or while all it does is to import caches."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """A build begins."""
        self._heard = self._clock()
        self._has_begun = False
        self._running: dict[str, str] = {}
        self.found = False
        """Whether the build was abandoned over this."""
        self.imports: tuple[str, ...] = ()
        """The names of the imports that it was at; none where another build's hold it up."""

    @property
    def reason(self) -> str:
        """What is silent, in words."""
        what = ", ".join(self.imports) or "the build does not begin"
        return f"{what}: nothing is heard for {SECONDS:.0f} s"

    def take(self, event: Event) -> None:
        """Take an event of it."""
        self._heard = self._clock()
        if not isinstance(event, VertexEvent):
            return
        self._has_begun |= bool(event.started)  # what waits for the builder's lock is announced only
        if event.started and not event.completed:
            self._running[event.digest] = event.name
        else:
            self._running.pop(event.digest, None)

    def wait(self) -> None:
        """Look at the time.

        Raises:
            AbandonedBuildError: it has been silent for too long.
        """
        if self._clock() - self._heard < SECONDS:
            return
        imports = tuple(name for name in self._running.values() if transfer_kind(name) == "cache-import")
        if self._has_begun and (not imports or len(imports) < len(self._running)):
            return
        self.found, self.imports = True, imports
        raise AbandonedBuildError
