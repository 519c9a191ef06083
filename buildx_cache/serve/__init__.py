"""A throw-away, read-only registry over a layout folder: BuildKit imports lazily from a registry, never from a folder.

``catalogue`` is what is served, ``answers`` what a request gets, ``server`` the connections.

Who may read is who knows the way: a manifest has a name of 128 random bits, new in every run, and everything else its
digest, which only the manifest tells. The repository's name is always the same, and no secret: BuildKit notes it with
every blob that it fetches, and writes it into the caches that it exports (``containerd.io/distribution.source.…``).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from buildx_cache.errors import ExhaustedError
from buildx_cache.layout.parse import MalformedError
from buildx_cache.serve.answers import REPOSITORY, answer, open_catalogue
from buildx_cache.serve.server import Limits, Requests, Server

__all__ = ["REPOSITORY", "Limits", "Requests", "Served", "serve"]

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
            message = f"the cache folder {folder} cannot be served: it {error.problem}"
            raise ExhaustedError(message, code="cache-not-servable", hint=_HINT) from None
        names = {tag: secrets.token_hex(_SECRET_BYTES) for tag in catalogue.tags}
        respond = partial(answer, catalogue=catalogue, tags={names[tag]: root for tag, root in catalogue.tags.items()})
        try:
            server = stack.enter_context(Server(address, respond, limits=limits or Limits(), on_error=on_error))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ExhaustedError(
                f"the cache cannot be served on {address}: {reason}", code="cache-not-servable", hint=_HINT
            ) from None
        port = server.socket.getsockname()[1]
        host = f"[{address}]" if ":" in address else address
        yield Served(
            repository=f"{host}:{port}/{REPOSITORY}",
            port=port,
            tags=names,
            manifests=frozenset(catalogue.manifests),
            count=lambda: server.requests,
        )
