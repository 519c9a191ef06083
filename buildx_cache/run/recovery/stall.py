"""Restart a builder that waits for a registry which does not answer, and go on without that registry's caches.

BuildKit requests a cache's manifest in a context that cannot be cancelled, and holds a lock that every build needs
(``llbsolver/bridge.go`` and ``solver/scheduler.go``). So a cancelled build and all later builds of the builder wait
until the registry answers. Only a restart of the builder ends the wait.
"""

from __future__ import annotations

from collections.abc import Collection

from buildx_cache.buildkit.causes import Kind
from buildx_cache.buildkit.classify import Problem
from buildx_cache.buildkit.events import Event, VertexEvent
from buildx_cache.buildkit.vertex_names import transfer_kind
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.caches.vertices import importing
from buildx_cache.errors import UnreachableError
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.builder_lifecycle import CallsBuilder
from buildx_cache.run.cache_entries import Caches
from buildx_cache.run.recovery import AbandonedBuildError, Attempt, Strategy
from buildx_cache.run.results import skipped_export

SECONDS = 90.0
"""Seconds without an event that count as a stall: cache manifests and the Dockerfile, which come first, are small."""


class Stall(Strategy):
    """Recover a build that is silent before its first vertex runs, or while only cache imports run."""

    def __init__(self, caches: Caches, builder: CallsBuilder) -> None:
        self._caches = caches
        self._builder = builder
        self._is_restarted = False
        self._begin()

    def _begin(self) -> None:
        self._has_begun = False
        self._running: dict[str, str] = {}
        self.found = False
        """Whether the attempt was abandoned as stalled."""
        self.imports: tuple[str, ...] = ()
        """The vertex names of the stalled imports; empty if another build's imports block this one."""

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Forget the previous attempt."""
        self._begin()
        return build

    def observe(self, event: Event) -> Event:
        """Note which vertices run."""
        if isinstance(event, VertexEvent):
            self._has_begun |= bool(event.started)  # a vertex that waits for the builder's lock has no start
            if event.started and not event.completed:
                self._running[event.digest] = event.name
            else:
                self._running.pop(event.digest, None)
        return event

    def on_idle(self, seconds: float) -> None:
        """Abandon a build that has stalled."""
        if seconds < SECONDS:
            return
        imports = tuple(name for name in self._running.values() if transfer_kind(name) == "cache-import")
        if self._has_begun and (not imports or len(imports) < len(self._running)):
            return
        self.found, self.imports = True, imports
        raise AbandonedBuildError

    @property
    def reason(self) -> str:
        """Return the stalled imports and the time, as words for a message."""
        what = ", ".join(self.imports) or "the build does not begin"
        return f"{what}: no response for {SECONDS:.0f} s"

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Restart the builder; leave out the stalled imports, and the exports to their registries."""
        name = attempt.build.builder
        if not self.found:
            return None
        silent = dict.fromkeys(entry for name in self.imports for entry in importing(name, attempt.build.imports))
        if not self._builder.can_restart or (self._is_restarted and not silent):  # a frontend may add other imports
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
