"""Many clients at once, on the standard library's server: a thread for each, bounded in number, bytes and time."""

from __future__ import annotations

import http.client
import io
import re
import socket
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Self

from buildx_cache.serve.answers import Answer, AnswerKind, Request, answer_method, refusal
from buildx_cache.serve.peers import End

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD_LIMIT = 16 << 10
"""Bytes of a request line and its headers."""

_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ ([!-~]+) HTTP/1\.[01]\r\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_SHORT_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
_POLL_SECONDS = 0.05
_LINGER_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20
_PATIENCE_SECONDS = 5.0
_LOOPBACK = "127."


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


class _HeadTooLargeError(http.client.HTTPException):
    """``http.server`` answers it with 431 where it reads headers."""


class _Incoming(io.RawIOBase):
    """The bytes of a client; ``allow`` bounds those that come from now on in number and time."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._left = 0
        self._deadline = 0.0
        self.ended = False

    def allow(self, size: int, seconds: float) -> None:
        self._left, self._deadline = size, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        if not self._left:
            raise _HeadTooLargeError
        self._client.settimeout(seconds)
        count = self._client.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        self.ended = count == 0
        return count


class Handler(BaseHTTPRequestHandler):
    """One client: requests one after the other, each within its time, and nothing sent to who does not take it.

    A body comes as fast as the answer takes it; where it is not taken whole, the connection ends.
    """

    protocol_version = default_request_version = request_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    raw_requestline: bytes

    def setup(self) -> None:
        """Read from the client through a bound."""
        super().setup()
        self._incoming = _Incoming(self.connection)
        self.rfile = self._reader = io.BufferedReader(self._incoming)
        self._left: int | None = 0

    def handle(self) -> None:
        """Answer until either side is done, then take what was sent after the last request.

        Closing before would take the answer back (RFC 9112, 9.6).
        """
        super().handle()
        self.server.note_waiting(self.connection)
        self._incoming.allow(_LINGER_BYTES, _SHORT_SECONDS)
        with suppress(OSError, _HeadTooLargeError):
            self.connection.shutdown(socket.SHUT_WR)
            while self._reader.read1():
                pass

    def handle_one_request(self) -> None:
        """Read and answer a request."""
        self.command = ""
        self.server.note_waiting(self.connection)
        self._incoming.allow(HEAD_LIMIT, self.server.limits.head_seconds)
        try:
            first = self._reader.peek(1)[:1]
            if first and not first.isalpha():  # a TLS hello, whose sender waits for an answer
                self.send_error(HTTPStatus.BAD_REQUEST)
            else:
                super().handle_one_request()
        except _HeadTooLargeError:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def parse_request(self) -> bool:
        """Read the headers; tell whether they are a request that is to be answered. Refuse what is no HTTP/1."""
        line = _LINE.fullmatch(self.raw_requestline)
        if line is None:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return False
        if not super().parse_request():
            return False
        headers = self.headers
        if self._incoming.ended or headers.defects or any("\n" in value for value in headers.values()):
            self.send_error(HTTPStatus.BAD_REQUEST)
            return False
        self.path = line[1].decode("ascii")  # the base class changes `//`
        self.server.note_answering(self.connection)
        return True

    def handle_expect_100(self) -> bool:
        """Ask for a body when it is read, if ever."""
        return True

    def do_GET(self) -> None:
        """Answer a request of any method."""
        path, _, query = self.path.partition("?")
        length = self._length()
        self._left = length
        request = Request(
            method=self.command,
            path=path,
            query=query,
            span=self.headers.get("Range", ""),
            extent=self.headers.get("Content-Range", ""),
            media_type=self.headers.get("Content-Type", ""),
            length=length,
            body=self._body(),
        )
        answer = self.server.respond(request)
        if self._left != 0:
            self.close_connection = True
        self._send(answer)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 -- the base class's names

    def _length(self) -> int | None:
        """Return the bytes of the body; None where they are not told, or not in one way."""
        told = set(self.headers.get_all("Content-Length", ["0"]))
        length = next(iter(told))
        is_told = "Transfer-Encoding" not in self.headers and len(told) == 1 and _LENGTH.fullmatch(length)
        return int(length) if is_told else None

    def _body(self) -> Iterator[memoryview]:
        """Yield the body piece by piece, each good until the next one is asked for.

        Raises:
            ConnectionAbortedError: it ends too early.
            TimeoutError: nothing comes for too long.
        """
        if self._left and self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        buffer = memoryview(bytearray(min(self._left or 0, _PIECE_BYTES)))
        while self._left:
            self._incoming.allow(self._left, self.server.limits.stall_seconds)
            count = self._reader.readinto1(buffer[: self._left])
            if not count:
                raise ConnectionAbortedError
            self._left -= count
            self.server.note_answering(self.connection)
            yield buffer[:count]

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request as the distribution API does, and read nothing after it."""
        del message, explain
        self.close_connection = True
        self._send(answer_method() if code == HTTPStatus.NOT_IMPLEMENTED else refusal(code))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Print nothing."""

    def _send(self, answer: Answer) -> None:
        # Who does not even take an error, asks without reading: strangers hold no place that way.
        self.connection.settimeout(
            _SHORT_SECONDS if answer.kind is AnswerKind.OTHER else self.server.limits.stall_seconds
        )
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        try:
            self.end_headers()
            if self.command != "HEAD":
                self._send_body(answer)
        finally:
            answer.close()

    def _send_body(self, answer: Answer) -> None:
        """Send an open file with sendfile(2) where there is one, else in pieces."""
        if answer.file is None:
            self.wfile.write(answer.content)
            self.server.count(answer.kind, len(answer.content))
            return
        start, length = answer.span
        end = start + length
        try:
            for at in range(start, end, _PIECE_BYTES):
                size = min(_PIECE_BYTES, end - at)
                if self.connection.sendfile(answer.file, at, size) < size:
                    break
                self.server.note_answering(self.connection)
        finally:
            sent = max(0, answer.file.tell() - start)
            self.server.count(answer.kind, sent)
        if sent < length:
            raise ConnectionAbortedError  # the file was cut off meanwhile: an end too early says so


@dataclass(kw_only=True)
class _Client:
    """Its thread, its address, and since when (monotonic seconds) it asks for nothing or takes nothing."""

    thread: threading.Thread
    address: str
    since: float
    is_answered: bool = False


class Server(socketserver.ThreadingTCPServer):
    """Answers requests while its context lasts. Its threads end with the process.

    Not ``HTTPServer``, which asks the resolver for the name of the address.
    """

    request_queue_size = 128

    def __init__(
        self,
        address: str,
        respond: Callable[[Request], Answer],
        *,
        limits: Limits,
        on_error: Callable[[Exception], None],
        admits: Callable[[End, End], bool],
    ) -> None:
        self.respond = respond
        self.limits = limits
        self.requests = Requests()
        self._on_error = on_error
        self._admits = admits
        self._clients: dict[socket.socket, _Client] = {}
        self._changed = threading.Condition()
        self._is_ending = False
        self._acceptor = threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,), name="serve", daemon=True)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, 0), Handler)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self.shutdown()
        self._acceptor.join()
        self.server_close()
        deadline = time.monotonic() + _SHORT_SECONDS
        with self._changed:
            for client in self._clients:
                _cut(client)
            threads = [client.thread for client in self._clients.values()]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a client; where no descriptor is left, there may be one later."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE_SECONDS)
            raise

    def verify_request(self, request: object, client_address: tuple[str, int]) -> bool:
        """Tell whether a client is to be heard at all; one of which that cannot be told is not."""
        del request
        host, port, *_ = self.socket.getsockname()
        try:
            return self._admits(client_address[:2], (host, port))
        except OSError:
            return False

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """Start a client's thread."""
        host = client_address[0]
        address = _LOOPBACK if host.startswith(_LOOPBACK) else host  # on loopback, everybody has them all
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="serve", daemon=True
        )
        with self._changed:
            self._make_room(address)
            self._clients[request] = _Client(thread=thread, address=address, since=time.monotonic())
        thread.start()

    def _make_room(self, address: str) -> None:
        """Where all places are taken, send away who waits longest: silent clients keep nobody else out.

        Nor do those who know a digest, as of a public image's layer, and take a blob slowly or not at all.
        """
        while len(self._clients) >= self.limits.connections and not self._is_ending:
            if client := self._in_the_way(address):
                _cut(client)
            self._changed.wait(_PAUSE_SECONDS)

    def _in_the_way(self, address: str) -> socket.socket | None:
        """Return who leaves for a client of this address; None where nobody has more than a share and all take on."""
        clients = self._clients
        if waiting := [client for client, known in clients.items() if not known.is_answered]:
            return min(waiting, key=lambda client: clients[client].since)
        counted = Counter(known.address for known in clients.values())
        most, count = counted.most_common(1)[0]
        crowd = (client for client, known in clients.items() if known.address == most)
        longest = min(crowd, key=lambda client: clients[client].since)
        is_unfair = count > counted[address] + 1
        return longest if is_unfair or time.monotonic() - clients[longest].since > _PATIENCE_SECONDS else None

    def close_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Close a connection; not while it is being cut, as its number may be another's right after."""
        with self._changed:
            request.close()
            self._clients.pop(request, None)
            self._changed.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell an error of the server; nothing that one client does may end it or be printed."""
        del request, client_address
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, OSError):  # the client is gone, or was sent away
            self._on_error(error)

    def note_waiting(self, client: socket.socket) -> None:
        """Remember that a request is waited for."""
        self._note(client, is_answered=False)

    def note_answering(self, client: socket.socket) -> None:
        """Remember that a request came, or a piece of its answer was taken."""
        self._note(client, is_answered=True)

    def _note(self, client: socket.socket, *, is_answered: bool) -> None:
        known = self._clients[client]
        known.since, known.is_answered = time.monotonic(), is_answered

    def count(self, kind: AnswerKind, sent: int) -> None:
        """Count an answer with a body of ``sent`` bytes."""
        with self._changed:
            old = self.requests
            if kind is AnswerKind.MANIFEST:
                self.requests = replace(old, manifests=old.manifests + 1, bytes=old.bytes + sent)
            if kind is AnswerKind.BLOB:
                self.requests = replace(old, blobs=old.blobs + 1, bytes=old.bytes + sent)


def _cut(client: socket.socket) -> None:
    """End a connection now, from another thread: whatever waits for the client returns."""
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)
