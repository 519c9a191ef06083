"""A local folder that BuildKit writes through a registry of this process': several times faster than by its session.

To everybody else the export stays that to the folder which was planned. What cannot be written this way is written as
planned, by a build that does nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from buildx_cache.buildkit.classify import is_cancelled
from buildx_cache.buildkit.events import Event, StatusEvent, VertexEvent, rewritten
from buildx_cache.buildkit.vertex_names import bare_name, exported_manifest
from buildx_cache.caches.entry import BACKENDS, CacheEntry
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.interfaces import Tell
from buildx_cache.run.recovery import AbandonedBuildError
from buildx_cache.serve import Received, knows_users, receive

_REGISTRY = "registry"
_FOLDERS_OWN = ("dest", "tag")
_NOT_A_REGISTRYS = ("reset",)
_FORGIVING = ("ignore-error", "true")
LOOPBACK = "127.0.0.1"
SCHEMES = ("http", "https")  # BuildKit's error names the last one that it tried
# How long BuildKit may read or send while nothing arrives here: a firewall drops what it sends.
SILENCE_SECONDS = 5.0
_SHOWN_REFUSALS = 3


@dataclass(kw_only=True)
class ServedExport:
    """A folder that takes pushes: the planned export and the one in its place."""

    planned: CacheEntry
    instead: CacheEntry
    received: Received
    end: Callable[[], None]
    vertex: str = ""
    began: float | None = None
    error: str = ""
    is_unwritable: bool = False
    """Whether this server could not write the folder, as on a full disk, so that BuildKit's export failed."""
    told: set[str] = field(default_factory=set)
    """The digests of the manifests that BuildKit says it writes."""

    @property
    def is_unasked(self) -> bool:
        """Whether BuildKit sends, and nothing of that arrives here."""
        is_late = self.began is not None and time.monotonic() - self.began > SILENCE_SECONDS
        return is_late and not self.received.pushed.requests

    @property
    def host(self) -> str:
        """Where BuildKit finds it."""
        return self.instead.get("ref").partition("/")[0]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.received.port

    def move(self, port: int) -> None:
        """Have BuildKit find it at another port of its loopback."""
        reference = self.instead.get("ref").replace(self.host, f"{LOOPBACK}:{port}", 1)
        self.instead = self.instead.having("ref", reference)

    def rename(self, text: str) -> str:
        """Return a text of BuildKit's with the folder in it instead of the address."""
        path = self.instead.get("ref").partition("/")[2].rpartition(":")[0]
        for scheme in SCHEMES:
            text = text.replace(f"{scheme}://{self.host}/v2/{path}", self.planned.place)
        return text.replace(self.instead.get("ref"), self.planned.place).replace(path, self.planned.place)

    def observe(self, event: Event) -> Event:
        """Return an event in the plan's words, and note whether the export fails."""
        match event:
            case VertexEvent() if bare_name(event.name) in BACKENDS[_REGISTRY].exporters:
                self.vertex = event.digest
                name = event.name.replace(bare_name(event.name), self.planned.backend.exporters[0])
                event = replace(event, name=name, error=self._noted(event.error))
            case StatusEvent() if event.vertex == self.vertex and event.id.startswith("writing "):
                self.began = self.began or time.monotonic()
                self.told |= set(filter(None, exported_manifest(event.id)[:1]))
        return rewritten(event, self.rename)

    def finish(self) -> None:
        """End the server; it counts as an error if the tag leads to another cache than BuildKit says it wrote.

        BuildKit tells it by Docker's API. Who reads along on a network that others share learns the name here.
        """
        self.end()
        is_sound = self.error or self.is_unwritable or not self.told or self.received.holds(self.told)
        self.error = self.error if is_sound else "what came is not what BuildKit wrote"
        if self.is_unwritable:
            self.abandon()

    def abandon(self) -> None:
        """End the server of a build that did not end, or whose cache came otherwise; what came may be anybody's."""
        self.end()
        if self.received.pushed.manifests and not self.received.holds(self.told):
            self.received.take_back()

    def _noted(self, error: str) -> str:
        """Return the error of the export in words; one that names this server is the server's."""
        if not error or is_cancelled(error) or self.host not in error:
            return error
        if failure := self.received.pushed.failure:
            self.is_unwritable = True
            return f"{self.planned.place}: {failure.lower()}"
        self.error = self.rename(error).replace(self.host, "this server")
        return self.error


@dataclass(kw_only=True)
class LazyExports:
    """The folder that takes pushes in one call, if any. ``close`` ends it."""

    tell: Tell
    targets: dict[CacheEntry, ServedExport] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _refusals: list[str] = field(default_factory=list)
    _received: list[Received] = field(default_factory=list)
    _is_finished: bool = False

    def start(
        self, folders: Mapping[CacheEntry, Path], exports: Sequence[CacheEntry], address: str, plain: str
    ) -> None:
        """Have the folder of the only export to one take pushes at an address; ``plain`` is loopback's.

        Beside an export to a registry, BuildKit's progress would not tell one from the other. Where another user of the
        host could not be told from this one, nothing is taken.

        Raises:
            ExhaustedError: it cannot be.
        """
        if not knows_users() or len(folders) != 1 or any(each.type == _REGISTRY for each in exports):
            return
        for entry, folder in folders.items():
            if not any(entry.get(name) for name in _NOT_A_REGISTRYS):
                self._receive(entry, folder, address, is_plain=address == plain)

    def _receive(self, entry: CacheEntry, folder: Path, address: str, *, is_plain: bool) -> None:
        server = self._stack.enter_context(ExitStack())
        received = server.enter_context(receive(folder, tag=entry.tag, address=address, log=self._note))
        kept = [(name, value) for name, value in entry.attributes if name not in (*_FOLDERS_OWN, _FORGIVING[0])]
        insecure = [] if is_plain else [("registry.insecure", "true")]
        # Forgiving in any case: what fails here is written as planned.
        attributes = (("ref", received.reference), *insecure, *kept, _FORGIVING)
        instead = CacheEntry(type=_REGISTRY, attributes=attributes)
        self.targets[entry] = ServedExport(planned=entry, instead=instead, received=received, end=server.close)
        self._received.append(received)

    def _note(self, line: str) -> None:
        """Keep the first refusals: who knows the name could be refused without end."""
        if len(self._refusals) < _SHOWN_REFUSALS:
            self._refusals.append(line)

    def close(self) -> None:
        """End the server, and say what it refused."""
        for target in self.targets.values():
            target.abandon()
        self._stack.close()
        for line in self._refusals:
            self.tell.say(f"the cache folder refused {line}")
        self._refusals.clear()

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Have a build write to the server what the planned one writes to the folder."""
        instead = {target.planned: target.instead for target in self.targets.values()}
        return replace(build, exports=tuple(instead.get(entry, entry) for entry in build.exports))

    def observe(self, event: Event) -> Event:
        """Return an event in the plan's words."""
        for target in self.targets.values():
            event = target.observe(event)
        return event

    def on_idle(self) -> None:
        """Look after an export of which nothing arrives.

        Raises:
            AbandonedBuildError: BuildKit is at one for too long.
        """
        for target in self.targets.values():
            if target.is_unasked:
                target.error = "nothing reaches this server"
                raise AbandonedBuildError

    def finish(self) -> dict[CacheEntry, str]:
        """End the server after a build; return the exports that were not sent whole, each with its error.

        A later build of the call writes the folder as planned.
        """
        for target in self.targets.values():
            target.finish()
        failed = self.give_up()
        self._is_finished = self.is_used
        self.targets.clear()
        return failed

    def give_up(self, error: str = "") -> dict[CacheEntry, str]:
        """Have the exports that failed be written as planned from now on, or all where there is an error of another.

        Return each with its error.
        """
        failed = {entry: error or target.error for entry, target in self.targets.items() if error or target.error}
        for entry, reason in failed.items():
            self.targets.pop(entry).abandon()
            if not error:
                self.tell.warn(
                    f"the cache {entry.place} is written by BuildKit's session, as it could not be sent here: {reason}"
                )
        return failed

    @property
    def is_used(self) -> bool:
        """Whether a cache came this way, to the end."""
        is_sent = bool(self.targets) and any(received.pushed.requests for received in self._received)
        return self._is_finished or is_sent
