"""Restart a builder that waits for a registry which does not answer, and go on without that registry's caches.

BuildKit asks for a cache's manifest in a context that no one can cancel, holding the lock that every build needs
(``llbsolver/bridge.go`` and ``solver/scheduler.go``): a build that is cancelled, and all that come after it, wait as
long as the registry's silence lasts. Only a restart of the builder ends that.
"""

from __future__ import annotations

from collections.abc import Collection

from buildx_cache.buildkit import Event, Kind, Problem
from buildx_cache.buildkit.events import VertexEvent
from buildx_cache.buildkit.vertex_names import transfer_kind
from buildx_cache.caches import CacheEntry, importing
from buildx_cache.errors import UnreachableError
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.builder_lifecycle import CallsBuilder
from buildx_cache.run.cache_entries import Caches
from buildx_cache.run.recovery import AbandonedBuildError, Attempt, Strategy
from buildx_cache.run.results import skipped_export

SECONDS = 90.0
"""How long is too long: a cache's manifest and configuration are small, and a build begins with its Dockerfile."""


class Stall(Strategy):
    """Recover a build without events: from its start on, or while all it does is to import caches."""

    def __init__(self, caches: Caches, builder: CallsBuilder) -> None:
        self._caches = caches
        self._builder = builder
        self._is_restarted = False
        self._begin()

    def _begin(self) -> None:
        self._has_begun = False
        self._running: dict[str, str] = {}
        self.found = False
        """Whether the attempt was abandoned over this."""
        self.imports: tuple[str, ...] = ()
        """The names of the imports that it was at; none where another build's hold it up."""

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Forget the attempt before."""
        self._begin()
        return build

    def observe(self, event: Event) -> Event:
        """Note which vertices run."""
        if isinstance(event, VertexEvent):
            self._has_begun |= bool(event.started)  # what waits for the builder's lock is announced only
            if event.started and not event.completed:
                self._running[event.digest] = event.name
            else:
                self._running.pop(event.digest, None)
        return event

    def on_idle(self, seconds: float) -> None:
        """Abandon a build that has been silent for too long."""
        if seconds < SECONDS:
            return
        imports = tuple(name for name in self._running.values() if transfer_kind(name) == "cache-import")
        if self._has_begun and (not imports or len(imports) < len(self._running)):
            return
        self.found, self.imports = True, imports
        raise AbandonedBuildError

    @property
    def reason(self) -> str:
        """Return what is silent, in words."""
        what = ", ".join(self.imports) or "the build does not begin"
        return f"{what}: no response for {SECONDS:.0f} s"

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Restart the builder; leave out the silent imports, and the exports to their registries."""
        name = attempt.build.builder
        if not self.found:
            return None
        silent = dict.fromkeys(entry for name in self.imports for entry in importing(name, attempt.build.imports))
        if not self._builder.can_restart or (self._is_restarted and not silent):  # a frontend may name imports, too
            hint = f"the builder {name} waits for a registry that does not answer, and so do all its builds: restart it"
            raise UnreachableError(self.reason, code="registry-silent", hint=hint)
        self._caches.tell.warn(f"{self.reason}; restarting the builder {name}, which does nothing else while it waits")
        self._caches.note_retry(attempt.phase, self.reason)
        self._builder.restart()
        self._is_restarted = True
        return self._without(attempt.build, silent)

    def _without(self, build: BuildInvocation, silent: Collection[CacheEntry]) -> BuildInvocation:
        problem = Problem(kind=Kind.UNREACHABLE, words=self.reason)
        build = self._caches.leave_out(build, dict.fromkeys(silent, problem), "building again without it")
        hosts = {entry.host for entry in silent if entry.host}
        unwritten = [entry for entry in build.exports if entry.host in hosts]
        self._caches.exports |= {entry: skipped_export(entry, self.reason) for entry in unwritten}
        return build.without(exports=unwritten)
