"""Local folders handed to BuildKit through a registry of this process', so that it reads of them only what it needs.

To everybody else they stay the folders they are: the plan, the progress, the report and the errors name them, and
never the name by which they are to be had for one run only. A builder that does not reach the server after all imports
the folder itself, in the same call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from buildx_cache.buildkit.classify import is_cancelled
from buildx_cache.buildkit.events import Event, VertexEvent, rewritten
from buildx_cache.buildkit.vertex_names import folder_source, import_source
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.errors import ExhaustedError
from buildx_cache.plan import BuildInvocation, Container, ServingPlan
from buildx_cache.plan.cache_choice import HOST
from buildx_cache.report import LazyReport
from buildx_cache.run.interfaces import Engine, Tell
from buildx_cache.run.recovery import AbandonedBuildError, Attempt, Strategy
from buildx_cache.run.recovery.lazy_export import LOOPBACK, SCHEMES, SILENCE_SECONDS, LazyExports, ServedExport
from buildx_cache.run.retry import Retrying
from buildx_cache.serve import Served, serve


@dataclass(kw_only=True)
class _Source:
    """A folder being served: the planned import, the one in its place, and what BuildKit makes of it."""

    planned: CacheEntry
    instead: CacheEntry
    served: Served
    end: Callable[[], None]
    began: float | None = None
    error: str = ""

    @property
    def is_unasked(self) -> bool:
        """Whether BuildKit imports, and nothing of that arrives here."""
        return self.began is not None and time.monotonic() - self.began > SILENCE_SECONDS and not self.is_asked

    @property
    def is_asked(self) -> bool:
        """Whether anything of it was asked for."""
        return bool(self.served.requests.manifests or self.served.requests.blobs)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.served.port

    def move(self, port: int) -> None:
        """Have BuildKit find it at another port of its loopback."""
        host, _, path = self.served.repository.partition("/")
        there = f"{LOOPBACK}:{port}"
        self.served = replace(self.served, port=port, repository=f"{there}/{path}")
        reference = self.instead.get("ref").replace(host, there, 1)
        self.instead = replace(self.instead, attributes=(("ref", reference),))

    def rename(self, text: str) -> str:
        """Return a text of BuildKit's with the folder in it instead of the address."""
        host, _, path = self.served.repository.partition("/")
        reference = self.instead.get("ref")
        text = text.replace(reference, folder_source(self.planned.place))
        for scheme in SCHEMES:
            text = text.replace(f"{scheme}://{host}/v2/{path}/", f"{self.planned.place}/")
        if self.planned.get("digest"):
            return text
        return text.replace(reference.rpartition(":")[2], self.planned.tag)


class LazyImports(Strategy):
    """The folders that are served in one call. ``close`` ends all of them; what they sent stays known."""

    def __init__(self, plan: ServingPlan, engine: Engine, tell: Tell, retrying: Retrying) -> None:
        self._plan = plan
        self._engine = engine
        self._tell = tell
        self._retrying = retrying
        self.exports = LazyExports(tell=tell)
        self._stack = ExitStack()
        self._sources: dict[CacheEntry, _Source] = {}
        self._sent: list[Served] = []
        self._why = plan.why
        self._tunnels = plan.tunnels

    def close(self) -> None:
        """End the servers."""
        self._stack.close()
        self.exports.close()

    # --- before the build --------------------------------------------------------------------------------

    def start(
        self, folders: Mapping[CacheEntry, Path], written: Mapping[CacheEntry, Path], exports: Sequence[CacheEntry]
    ) -> None:
        """Serve the folders of these imports and exports, if the plan says so; what cannot be is used as it is."""
        if not self._plan.is_on:
            return
        if not folders:
            self._why = "there is no cache to read yet"
        try:
            address = self._address()
            for entry, folder in folders.items():
                self._serve(entry, folder, address)
            self.exports.start(written, exports, address, LOOPBACK)
        except ExhaustedError as error:
            self._give_up(error)

    def _give_up(self, error: ExhaustedError) -> None:
        self._sources.clear()
        self.exports.give_up(error.message)
        self._stack.close()
        self._why = error.message

    def connect(self) -> None:
        """Show which folders are served, to a builder that runs now; make the tunnel to it, if the plan says so."""
        servers: list[_Source | ServedExport] = [*self._sources.values(), *self.exports.targets.values()]
        if self._tunnels and servers:
            self._make_tunnel(servers)
        for place in dict.fromkeys(source.planned.place for source in self._sources.values()):
            self._tell.say(f"lazy: BuildKit reads {place} through a registry in this program: {self._why}")

    def _make_tunnel(self, servers: Sequence[_Source | ServedExport]) -> None:
        try:
            there = self._stack.enter_context(self._engine.tunnel(self._tunnels, [each.port for each in servers]))
            for each in servers:
                each.move(there[each.port])
        except ExhaustedError as error:
            self._give_up(error)
            self._tell.say(f"a local cache is imported whole: {error.message}; {error.hint}")

    def _address(self) -> str:
        network = self._plan.network
        if network in (HOST, ""):
            return LOOPBACK
        bridge = self._engine.bridge(network)
        if not bridge.gateway:
            raise ExhaustedError(
                f"Docker's network {network!r} has no gateway", code="gateway-absent", hint="import the folder itself"
            )
        own = {end.name for end in self._plan.tunnels_if_shared if isinstance(end, Container)}
        if self._plan.tunnels_if_shared and bridge.containers - own:
            self._tunnels = self._plan.tunnels_if_shared
            self._why = f"others are on Docker's network {network!r}; a tunnel through Docker's API leads here"
            return LOOPBACK
        return bridge.gateway

    def _serve(self, entry: CacheEntry, folder: Path, address: str) -> None:
        server = self._stack.enter_context(ExitStack())
        served = server.enter_context(serve(folder, address=address))
        tag, digest = entry.tag, entry.get("digest")
        if (digest not in served.manifests) if digest else (tag not in served.tags):
            server.close()
            self._why = f"no registry could have a manifest called {digest or tag!r}"
            return
        attributes = (("ref", served.reference(tag=tag, digest=digest)),)
        plain = () if address == LOOPBACK else (("registry.insecure", "true"),)
        instead = CacheEntry(type="registry", attributes=(*attributes, *plain))
        self._sources[entry] = _Source(planned=entry, instead=instead, served=served, end=server.close)
        self._sent.append(served)

    # --- while it runs -----------------------------------------------------------------------------------

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Have a build import from the servers what the planned one imports from folders."""
        build = self.exports.prepare(build)
        instead = {source.planned: source.instead for source in self._sources.values()}
        return replace(build, imports=tuple(instead.get(entry, entry) for entry in build.imports))

    def observe(self, event: Event) -> Event:
        """Return an event in the plan's words.

        Raises:
            AbandonedBuildError: BuildKit could not import a folder from its server.
        """
        event = self.exports.observe(event)
        for source in self._sources.values():
            event = rewritten(event, source.rename)
            if isinstance(event, VertexEvent) and _is_import(event, source):
                source.began = time.monotonic() if event.started and not event.completed else None
                if event.error and not is_cancelled(event.error):
                    self._fail(source, event.error)
        return event

    def _fail(self, source: _Source, error: str) -> NoReturn:
        """End the build over this source, and with it over those of which nothing was asked either."""
        for each in self._sources.values():
            if each is source or not each.is_asked:
                each.error = error
        raise AbandonedBuildError

    def on_idle(self, seconds: float) -> None:
        """Look after imports of which nothing is heard; other events do not count.

        Raises:
            AbandonedBuildError: BuildKit is at one for too long, and nothing of it arrives.
        """
        del seconds
        self.exports.on_idle()
        for source in self._sources.values():
            if source.is_unasked:
                self._fail(source, f"nothing reaches {source.served.repository.partition('/')[0]}")

    # --- when that fails ---------------------------------------------------------------------------------

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Have BuildKit read the folders whose servers it could not read from, and write the one that it could not."""
        failed = {entry: source.error for entry, source in self._sources.items() if source.error}
        if any(not self._sources[entry].is_asked for entry in failed):
            self.exports.give_up(next(iter(failed.values())))
        for entry, error in failed.items():
            self.read_folder(entry, error)
        failed |= self.exports.give_up()
        for error in [*failed.values()][:1]:
            self._retrying.note(attempt.phase, error)
        return attempt.build if failed else None

    def is_on(self, entry: CacheEntry) -> bool:
        """Tell whether this import is served."""
        return entry in self._sources

    def read_folder(self, entry: CacheEntry, error: str) -> None:
        """Have this import come from the sound folder itself, from the next attempt on.

        The server ends at once: a cancelled import that still waits for it would hold up the next build's steps.
        """
        self._sources.pop(entry).end()
        self._why = f"BuildKit could not read it from this program: {error}"
        self._tell.warn(
            f"the cache {entry.place} is imported whole: BuildKit could not read it from this program: {error}"
        )

    def report(self) -> LazyReport | None:
        """Return whether folders were served to the end, why (not), and the bytes read of them; None without any."""
        if not self._why:
            return None
        sent = sum(served.requests.bytes for served in self._sent)
        return LazyReport(used=bool(self._sources), why=self._why, bytes=sent, exported=self.exports.is_used)


def _is_import(event: VertexEvent, source: _Source) -> bool:
    return source.planned.is_source(import_source(event.name))
