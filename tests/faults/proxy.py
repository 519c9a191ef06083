"""A registry in front of the real one that fails where its rules say so.

It runs in threads on loopback, passes everything on unless a rule matches, and counts what its rules did. Rules are
data: which requests (:class:`Rule`), and what becomes of them (one of the acts below).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

READ = frozenset({"GET", "HEAD"})
WRITE = frozenset({"POST", "PATCH", "PUT", "DELETE"})

_CHUNK = 64 << 10
_TLS_HELLO = b"\x16"
_TIMEOUT = 60.0


class Kind(StrEnum):
    """What a request is about, told by its path."""

    PING = "ping"
    TAG = "manifest by tag"
    MANIFEST = "manifest by digest"
    BLOB = "blob"
    UPLOAD = "upload"
    TOKEN = "token"  # noqa: S105 - a kind of request
    OTHER = "other"


_KINDS: tuple[tuple[re.Pattern[str], Kind], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"/v2/?$", Kind.PING),
        (r"/token", Kind.TOKEN),
        (r"/v2/.+/manifests/sha256:[0-9a-f]{64}$", Kind.MANIFEST),
        (r"/v2/.+/manifests/[^/]+$", Kind.TAG),
        (r"/v2/.+/blobs/sha256:[0-9a-f]{64}$", Kind.BLOB),
        (r"/v2/.+/blobs/uploads/", Kind.UPLOAD),
    )
)


@dataclass(frozen=True, kw_only=True)
class Status:
    """Answer with a status and the error that registries send with it."""

    code: int
    headers: tuple[tuple[str, str], ...] = ()
    error: tuple[str, str] = ("", "")
    """The registry's own code and message, where they are not the usual ones of the status."""
    page: str = ""
    """HTML in place of an error, as a proxy before a registry answers."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Close the connection after so many bytes of the body; with ``reset``, the hard way (RST)."""

    after: int
    reset: bool = False


@dataclass(frozen=True, kw_only=True)
class Slow:
    """Wait before answering, in seconds, then send so many bytes a second (0: as fast as it goes)."""

    wait: float = 0.0
    rate: int = 0


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Send the right number of bytes, one of them wrong."""


@dataclass(frozen=True, kw_only=True)
class Stall:
    """Take the request and never answer, until the proxy closes: a half-open connection."""


@dataclass(frozen=True, kw_only=True)
class Expire:
    """Ask for a token that the proxy gives itself, and take each for so many requests; for other kinds than tokens."""

    uses: int


Act = Status | Cut | Slow | Flip | Stall | Expire


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which requests an act is for: all that match every field that is given."""

    act: Act
    methods: frozenset[str] = READ | WRITE
    kinds: frozenset[Kind] = frozenset(Kind)
    digests: frozenset[str] = frozenset()
    path: str = ""
    """A part of the path, for instance the repository."""
    times: int = 0
    """For so many requests; 0: for all."""

    def matches(self, method: str, path: str) -> bool:
        found = not self.digests or any(path.endswith(digest) for digest in self.digests)
        return found and method in self.methods and kind_of(path) in self.kinds and self.path in path


def kind_of(path: str) -> Kind:
    bare = path.partition("?")[0]
    return next((kind for pattern, kind in _KINDS if pattern.match(bare)), Kind.OTHER)


class Proxy:
    """The proxy; ``address`` is what goes into image references."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.acted: Counter[str] = Counter()
        """Requests a rule was applied to, by method and kind."""
        self.closing = threading.Event()
        self._rules: tuple[Rule, ...] = ()
        self._used: Counter[int] = Counter()
        self._tokens: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextlib.contextmanager
    def ruled(self, *rules: Rule) -> Iterator[Self]:
        """While this lasts, these rules apply; what is counted starts anew."""
        with self._lock:
            self._rules = rules
            self._used.clear()
            self._tokens.clear()
            self.acted.clear()
        try:
            yield self
        finally:
            self._rules = ()

    def act_for(self, method: str, path: str) -> Act | None:
        with self._lock:
            for number, rule in enumerate(self._rules):
                if rule.matches(method, path) and not (rule.times and self._used[number] >= rule.times):
                    self._used[number] += 1
                    self.acted[f"{method} {kind_of(path)}"] += 1
                    return rule.act
        return None

    def new_token(self) -> str:
        with self._lock:
            token = f"token-{len(self._tokens)}"
            self._tokens[token] = 0
            return token

    def accepts(self, token: str, uses: int) -> bool:
        with self._lock:
            if token not in self._tokens or self._tokens[token] >= uses:
                return False
            self._tokens[token] += 1
            return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what these tests are about: nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = _TIMEOUT

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        if self.rfile.peek(1)[:1] == _TLS_HELLO:  # type: ignore[attr-defined]
            self.rfile.read1(_CHUNK)
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")  # BuildKit then tries without TLS
        else:
            super().handle()

    def _handle(self) -> None:
        proxy = self.server.proxy
        match proxy.act_for(self.command, self.path):
            case Status() as status:
                self._body()
                self._refuse(status)
            case Cut(after=after, reset=reset):
                self._cut(after, reset=reset)
            case Slow(wait=wait, rate=rate):
                proxy.closing.wait(wait)
                self._pass_on(rate=rate)
            case Flip():
                self._pass_on(flip=True)
            case Stall():
                proxy.closing.wait()
                self.close_connection = True
            case Expire(uses=uses):
                self._expire(uses)
            case None if kind_of(self.path) is Kind.TOKEN:
                self._body()
                self._answer(200, {}, json.dumps({"token": proxy.new_token()}).encode())
            case None:
                self._pass_on()

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _handle  # noqa: N815 - http.server's names

    def _refuse(self, status: Status) -> None:
        name, message = status.error if any(status.error) else _ERRORS.get(status.code, ("UNKNOWN", "unknown error"))
        error = json.dumps({"errors": [{"code": name, "message": message, "detail": None}]})
        headers = {name: value.replace("HOST", self.headers["Host"]) for name, value in status.headers}
        kind = "text/html" if status.page else "application/json"
        self._answer(status.code, headers, (status.page or error).encode(), kind=kind)

    def _answer(self, code: int, headers: dict[str, str], body: bytes, *, kind: str = "application/json") -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _expire(self, uses: int) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.server.proxy.accepts(token, uses):
            self._pass_on()
        else:
            self._body()
            challenge = 'Bearer realm="http://HOST/token",service="s"'
            self._refuse(Status(code=401, headers=(("WWW-Authenticate", challenge),)))

    def _cut(self, after: int, *, reset: bool) -> None:
        if self.command in WRITE:
            self.rfile.read(min(after, int(self.headers.get("Content-Length") or after)))
        else:
            answer, connection = self._ask()
            with contextlib.closing(connection):
                self._head(answer)
                self.wfile.write(answer.read(after))
        self._hang_up(reset=reset)

    def _hang_up(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, *, rate: int = 0, flip: bool = False) -> None:
        answer, connection = self._ask()
        with contextlib.closing(connection):
            self._head(answer)
            while self.command != "HEAD" and (chunk := answer.read(min(rate // 10 or _CHUNK, _CHUNK))):
                if flip:
                    chunk, flip = _flipped(chunk), False
                self.wfile.write(chunk)
                if rate:
                    time.sleep(0.1)

    def _ask(self) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(self.server.proxy.upstream, timeout=_TIMEOUT)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in (*_HOP, "content-length")}
        if "token-" in headers.get("Authorization", ""):
            del headers["Authorization"]
        body = self._body()
        connection.request(self.command, self.path, body=body or None, headers=headers)
        return connection.getresponse(), connection

    def _head(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (*_HOP, "date", "server"):
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None and answer.status not in (204, 304):
            self.send_header("Connection", "close")  # the body ends where the connection does
        self.end_headers()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return b"".join(self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()


_HOP = ("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade")
_ERRORS = {
    400: ("DIGEST_INVALID", "provided digest did not match uploaded content"),
    401: ("UNAUTHORIZED", "authentication required"),
    403: ("DENIED", "requested access to the resource is denied"),
    404: ("BLOB_UNKNOWN", "blob unknown to registry"),
    429: ("TOOMANYREQUESTS", "too many requests"),
    500: ("UNKNOWN", "unknown error"),
}


def _flipped(chunk: bytes) -> bytes:
    middle = len(chunk) // 2
    return chunk[:middle] + bytes([chunk[middle] ^ 0x10]) + chunk[middle + 1 :]
