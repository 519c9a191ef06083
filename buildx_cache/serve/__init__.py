"""A throw-away, read-only registry over a layout folder: BuildKit imports lazily from a registry, never from a folder.

``catalogue`` is what is served, ``message`` how a request is read, ``answers`` what it gets, ``connection`` one client,
``server`` all of them. Import it only where it is used: no other command needs sockets and threads.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from buildx_cache.errors import ExhaustedError
from buildx_cache.layout.decode import MalformedError
from buildx_cache.serve.answers import answer
from buildx_cache.serve.catalogue import open_catalogue
from buildx_cache.serve.connection import Limits, Requests, Tally
from buildx_cache.serve.server import OnError, Server

__all__ = ["Limits", "Requests", "Served", "serve"]

_TOKEN_BYTES = 16
_HINT = "import the folder itself: type=local"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A folder being served. A tag's image reference is ``reference_base``, a colon, and the tag."""

    reference_base: str
    """``HOST:PORT/TOKEN/cache``; the token is new in every run and the only key to what is served."""
    port: int
    count: Callable[[], Requests]

    @property
    def requests(self) -> Requests:
        """What was sent so far; it stays readable after the end."""
        return self.count()


@contextmanager
def serve(
    folder: Path, *, address: str = "127.0.0.1", limits: Limits | None = None, on_error: OnError = lambda _: None
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
    token = secrets.token_hex(_TOKEN_BYTES)
    tally = Tally()
    with ExitStack() as stack:
        try:
            catalogue = stack.enter_context(open_catalogue(folder))
        except MalformedError as error:
            message = f"the cache folder {folder} cannot be served: it {error.problem}"
            raise ExhaustedError(message, hint=_HINT) from None
        listener = _listen(address)
        port: int = listener.getsockname()[1]
        respond = partial(answer, catalogue=catalogue, token=token)
        stack.enter_context(Server(listener, respond, tally=tally, limits=limits or Limits(), on_error=on_error))
        host = f"[{address}]" if ":" in address else address
        yield Served(reference_base=f"{host}:{port}/{token}/cache", port=port, count=tally.count)


def _listen(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, 0), family=family, backlog=128)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExhaustedError(f"the cache cannot be served on {address}: {reason}", hint=_HINT) from None
