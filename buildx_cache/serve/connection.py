"""One client: requests one after the other, each within its time, and nothing sent to who does not take it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from buildx_cache.serve.answers import Answer, Kind, Part, refusal
from buildx_cache.serve.message import (
    BAD_REQUEST,
    HEAD_LIMIT,
    HEAD_TOO_LARGE,
    RefusedError,
    Request,
    is_request,
    parse_head,
)

Respond = Callable[[Request], Answer]

_END = b"\r\n\r\n"
_PIECE = 16 << 10
_SHORT_SECONDS = 1.0
_LINGER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``head_seconds`` from one answer to the end of the next request, ``stall_seconds`` in which nothing is taken."""

    connections: int = 128
    head_seconds: float = 30.0
    stall_seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Requests:
    """How many manifests and blobs were sent, in whole or in part, and how many bytes of both."""

    manifests: int = 0
    blobs: int = 0
    bytes: int = 0


class Tally:
    """Counts for several threads."""

    def __init__(self) -> None:
        self._requests = Requests()
        self._lock = threading.Lock()

    def count(self) -> Requests:
        """What was counted so far."""
        return self._requests

    def add(self, kind: Kind, sent: int) -> None:
        """Count an answer with a body of ``sent`` bytes."""
        with self._lock:
            old = self._requests
            match kind:
                case Kind.MANIFEST:
                    self._requests = replace(old, manifests=old.manifests + 1, bytes=old.bytes + sent)
                case Kind.BLOB:
                    self._requests = replace(old, blobs=old.blobs + 1, bytes=old.bytes + sent)
                case Kind.OTHER:
                    pass


class Connection:
    """A client's socket; ``waiting_since`` (monotonic seconds) is None while it gets an answer."""

    def __init__(self, client: socket.socket, respond: Respond, *, tally: Tally, limits: Limits) -> None:
        self.waiting_since: float | None = time.monotonic()
        self._client = client
        self._respond = respond
        self._tally = tally
        self._limits = limits
        self._received = b""
        self._closing = threading.Lock()

    def run(self) -> None:
        """Answer until either side is done.

        Raises:
            OSError: the client went away, was too slow, or was cut off.
        """
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while self._exchange():
            pass
        self._linger()

    def cut(self) -> None:
        """End it now, from another thread: whatever waits for the client returns."""
        with self._closing, suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; not while it is being cut, as its number may be another's right after."""
        with self._closing:
            self._client.close()

    def _exchange(self) -> bool:
        """One request and its answer; whether there may be another."""
        self.waiting_since = time.monotonic()
        try:
            head = self._read_head(self.waiting_since + self._limits.head_seconds)
            if head is None:
                return False
            request = parse_head(head)
        except RefusedError as error:
            self._send(refusal(error.status), keep_alive=False)
            return False
        finally:
            self.waiting_since = None
        self._send(self._respond(request), keep_alive=request.keep_alive, bodiless=request.method == "HEAD")
        return request.keep_alive

    def _read_head(self, deadline: float) -> bytes | None:
        """A request up to the empty line; None where the client is done."""
        while _END not in self._received:
            if self._received and not is_request(self._received):
                raise RefusedError(BAD_REQUEST)
            if len(self._received) > HEAD_LIMIT:
                raise RefusedError(HEAD_TOO_LARGE)
            self._client.settimeout(max(0.0, deadline - time.monotonic()))
            piece = self._client.recv(_PIECE)
            if not piece and self._received:
                raise RefusedError(BAD_REQUEST)
            if not piece:
                return None
            self._received += piece
        head, _, self._received = self._received.partition(_END)
        return head

    def _send(self, answer: Answer, *, keep_alive: bool, bodiless: bool = False) -> None:
        # Who does not even take an error, asks without reading: strangers hold no place that way.
        self._client.settimeout(_SHORT_SECONDS if answer.kind is Kind.OTHER else self._limits.stall_seconds)
        head = answer.head(keep_alive=keep_alive)
        if answer.part:
            with answer.part.file:
                self._client.sendall(head)
                if not bodiless:
                    self._send_part(answer.part, answer.kind)
        elif bodiless:
            self._client.sendall(head)
        else:
            self._client.sendall(head + answer.content)
            self._tally.add(answer.kind, len(answer.content))

    def _send_part(self, part: Part, kind: Kind) -> None:
        """With sendfile(2) where there is one, else in pieces."""
        start, length = part.span.start, part.span.length
        sent = 0
        try:
            if length:
                self._client.sendfile(part.file, start, length)
        finally:
            sent = max(0, part.file.tell() - start)
            self._tally.add(kind, sent)
        if sent < length:
            raise ConnectionAbortedError  # the file was cut off meanwhile: an end too early says so

    def _linger(self) -> None:
        """Take what was sent after the last request: closing before would take the answer back (RFC 9112, 9.6)."""
        self._client.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _SHORT_SECONDS
        taken = 0
        while taken < _LINGER_BYTES:
            self._client.settimeout(max(0.0, deadline - time.monotonic()))
            piece = self._client.recv(_PIECE)
            if not piece:
                return
            taken += len(piece)
