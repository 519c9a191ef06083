"""Throw-away registries over a layout folder: BuildKit imports lazily only from a registry, and exports faster to one.

``serve`` gives a folder to read, ``receive`` one to write. ``answers`` is what a reading request gets, ``pushes`` what
a writing one gets, ``server`` the connections.

Who may read is who knows the way: a manifest has a name of 128 random bits, new in every run, and everything else its
digest, which only the manifest tells. The repository's name is always the same, and no secret: BuildKit notes it with
every blob that it fetches, and writes it into the caches that it exports (``containerd.io/distribution.source.…``).
Who may write is who knows the name of the repository, which is as long, and new for each export. Neither is another
user of this host, who can read the names in Buildx' arguments, nor a client on another network than the builder's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from buildx_cache.errors import ExhaustedError
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.writer import WriteLimits, Writer
from buildx_cache.serve.answers import REPOSITORY, Answer, Request, answer, open_catalogue
from buildx_cache.serve.peers import End, knows_users, may_read, may_write
from buildx_cache.serve.pushes import TAG, Pushed, Pushes
from buildx_cache.serve.server import Limits, Requests, Server

__all__ = [
    "REPOSITORY",
    "Limits",
    "Pushed",
    "Received",
    "Requests",
    "Served",
    "WriteLimits",
    "knows_users",
    "receive",
    "serve",
]

INTERNAL = "internal error: "
_SECRET_BYTES = 16
_HINT = "import the folder itself: type=local"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A folder being served; ``tags`` are the secret names of its tags, ``manifests`` the digests it can be had by."""

    repository: str
    """``HOST:PORT/buildx-cache``"""
    port: int
    tags: Mapping[str, str]
    manifests: frozenset[str]
    count: Callable[[], Requests]

    def reference(self, *, tag: str = "latest", digest: str = "") -> str:
        """Return the image reference of a manifest by its digest, or by a tag that the folder has."""
        return f"{self.repository}@{digest}" if digest else f"{self.repository}:{self.tags[tag]}"

    @property
    def requests(self) -> Requests:
        """What was sent so far; it stays readable after the end."""
        return self.count()


@contextmanager
def serve(
    folder: Path,
    *,
    address: str = "127.0.0.1",
    limits: Limits | None = None,
    on_error: Callable[[Exception], None] = lambda _: None,
) -> Iterator[Served]:
    """Serve what the folder's index refers to now, for as long as the context lasts.

    index.json is read once, so that an export into the folder changes nothing that is served; a tag whose manifest
    cannot be read is not found. Nothing can be written. At the end the port is closed at once and transfers
    under way are cut; threads that a disk holds up longer than a second die with the process.

    Args:
        folder: the layout folder.
        address: the numerical address to listen on, of either IP version; the port is any that is free.
        limits: on connections and waiting.
        on_error: told of an error of the server itself, from one of its threads; the client is disconnected.

    Raises:
        ExhaustedError: the folder cannot be opened, or nothing can listen on the address.
    """
    with ExitStack() as stack:
        try:
            catalogue = stack.enter_context(open_catalogue(folder))
        except MalformedError as error:
            raise _not_servable(folder, error) from None
        names = {tag: secrets.token_hex(_SECRET_BYTES) for tag in catalogue.tags}
        respond = partial(answer, catalogue=catalogue, tags={names[tag]: root for tag, root in catalogue.tags.items()})
        server = stack.enter_context(_listening(address, respond, limits, on_error, may_read))
        yield Served(
            repository=f"{_host(address, server)}/{REPOSITORY}",
            port=_port(server),
            tags=names,
            manifests=frozenset(catalogue.manifests),
            count=lambda: server.requests,
        )


@dataclass(frozen=True, kw_only=True)
class Received:
    """A folder that can be written under one tag, by whoever knows the ``reference``."""

    reference: str
    """``HOST:PORT/buildx-cache/SECRET:cache``"""
    port: int
    count: Callable[[], Pushed]
    holds: Callable[[Collection[str]], bool]
    """Tells whether the tag leads to one of these manifests now; it can be asked after the end, too."""
    take_back: Callable[[], None]
    """Has the tag lead to what it led to before; it can be called after the end, too."""

    @property
    def pushed(self) -> Pushed:
        """What has come so far; it stays readable after the end."""
        return self.count()


def _nothing(_: str) -> None:
    """Pass over it."""


@contextmanager
def receive(
    folder: Path,
    *,
    tag: str,
    address: str = "127.0.0.1",
    limits: Limits | None = None,
    write_limits: WriteLimits | None = None,
    log: Callable[[str], None] = _nothing,
) -> Iterator[Received]:
    """Take a cache for a tag of a folder, for as long as the context lasts. Hold the folder, shared or not, meanwhile.

    The tag leads to what it led to before until a whole cache has come. At the end uploads under way are cut, and what
    no tag leads to is left for the next sweep.

    Args:
        folder: the layout folder.
        tag: the tag of the folder that is written.
        address: the numerical address to listen on, of either IP version; the port is any that is free.
        limits: on connections and waiting.
        write_limits: on what is written.
        log: told of each request that is refused and of each error of the server itself, in a line, from its threads.

    Raises:
        ExhaustedError: the folder cannot be opened, or nothing can listen on the address.
    """
    with ExitStack() as stack:
        try:
            writer = stack.enter_context(Writer(folder, tag=tag, repository=REPOSITORY, limits=write_limits))
        except MalformedError as error:
            raise _not_servable(folder, error) from None
        pushes = Pushes(writer, log)
        server = stack.enter_context(
            _listening(address, pushes.answer, limits, lambda error: log(f"{INTERNAL}{error!r}"), may_write)
        )
        yield Received(
            reference=f"{_host(address, server)}/{pushes.name}:{TAG}",
            port=_port(server),
            count=lambda: pushes.pushed,
            holds=pushes.holds,
            take_back=writer.take_back,
        )


def _not_servable(folder: Path, error: MalformedError) -> ExhaustedError:
    message = f"the cache folder {folder} cannot be served: it {error.problem}"
    return ExhaustedError(message, code="cache-not-servable", hint=_HINT)


def _listening(
    address: str,
    respond: Callable[[Request], Answer],
    limits: Limits | None,
    on_error: Callable[[Exception], None],
    admits: Callable[[End, End], bool],
) -> Server:
    try:
        return Server(address, respond, limits=limits or Limits(), on_error=on_error, admits=admits)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExhaustedError(
            f"the cache cannot be served on {address}: {reason}", code="cache-not-servable", hint=_HINT
        ) from None


def _port(server: Server) -> int:
    port: int = server.socket.getsockname()[1]
    return port


def _host(address: str, server: Server) -> str:
    return f"[{address}]:{_port(server)}" if ":" in address else f"{address}:{_port(server)}"
