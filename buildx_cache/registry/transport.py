"""Send requests with urllib3: limit time and size, retry, use the environment's proxies, drop logins on redirects.

A registry could send one byte every few seconds, or endless headers or chunk lines. So the limits of an answer are
enforced where bytes leave the socket: they cover the status line, headers, chunks and body.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, MaxRetryError, NameResolutionError, SSLError
from urllib3.util import make_headers

from buildx_cache.errors import BuildxCacheError, UnreachableError
from buildx_cache.formatting import printable as without_controls
from buildx_cache.reference import is_loopback
from buildx_cache.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from _typeshed import WriteableBuffer
    from urllib3.connectionpool import ConnectionPool


RETRIED = frozenset({429, 500, 502, 503, 504})
"""Status codes after which a request is sent again."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The time and size limits of an answer: ``seconds``, then on average at least ``rate`` bytes a second."""

    seconds: float = 60
    rate: int = 32 << 10
    piece: float = 30
    """The most seconds between two pieces."""
    listing: float = 300
    """The most seconds for all pages of a list of tags."""
    head: int = 1 << 20
    """The most bytes of status lines and headers."""


class PaceError(HTTPError):
    """An answer is too slow or too long. urllib3 does not retry the request."""


class Expected(threading.local):
    """The size limit, in bytes, of the body of this thread's next answer."""

    size = 0


# urllib3 reads and drops the body of an answer before it retries.
_RETRIED_BODY = 1 << 16
# A body in chunks is longer than its content.
_CHUNKING = 2


class _Wire(io.RawIOBase):
    """The bytes of one answer from a socket; at most ``body`` bytes may follow the head."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, pace: Pace) -> None:
        self._raw = raw
        self._connection = connection
        self._pace = pace
        self._started = time.monotonic()
        self._came = 0
        self.body = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        limit = self._pace.head + self.body
        if self._came > limit:
            raise PaceError(f"the answer has more than {limit} bytes")
        left = self._started + self._pace.seconds + self._came / self._pace.rate - time.monotonic()
        if left <= 0:
            raise self._too_slow()
        self._connection.settimeout(min(left, self._pace.piece))
        try:
            count = self._raw.readinto(buffer)
        except TimeoutError:
            if left < self._pace.piece:
                raise self._too_slow() from None
            raise
        self._came += count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _too_slow(self) -> PaceError:
        return PaceError(
            f"{self._came} bytes in {self._pace.seconds:g} s and more: less than {self._pace.rate} bytes a second"
        )


class _Answer(http.client.HTTPResponse):
    def __init__(self, connection: socket.socket, *, pace: Pace, expected: Expected, method: str | None = None) -> None:
        super().__init__(connection, method=method)
        self._expected = expected.size
        self._wire = _Wire(self.fp.detach(), connection, pace)
        self.fp = io.BufferedReader(self._wire)

    def begin(self) -> None:
        super().begin()
        self._wire.body = _RETRIED_BODY if self.status in RETRIED else self._expected * _CHUNKING


def paced(manager: urllib3.PoolManager, pace: Pace, expected: Expected) -> None:
    """Enforce ``pace`` on every answer to a request of ``manager``."""
    response: Callable[..., http.client.HTTPResponse] = partial(_Answer, pace=pace, expected=expected)

    class Plain(HTTPConnection):
        response_class = staticmethod(response)  # type: ignore[assignment]

    class Secure(HTTPSConnection):
        response_class = staticmethod(response)  # type: ignore[assignment]

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


CONNECTIONS = 8
"""The most concurrent requests to one host."""

ANSWER_LIMIT = 4 << 20
"""The largest answer, in bytes, that is not a blob (distribution-spec: registries should accept such manifests)."""

_CONNECT = 10  # seconds
_RETRY_AFTER_LIMIT = 30  # seconds; the longest wait that a registry may ask for
POLICY = RetryPolicy(tries=5, first=0.3, longest=5)


class PassingFaults(urllib3.Retry):
    """Tries again what may pass: not a host's name that does not exist."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Count a try.

        Raises:
            MaxRetryError: there is no other one.
        """
        if error and _pool and _is_unknown_host(error):
            raise MaxRetryError(_pool, url or "", error) from error
        return super().increment(method, url, response, error, _pool, _stacktrace)


def _is_unknown_host(error: Exception) -> bool:
    """Tell whether a name server says that a name does not exist; one that does not answer may do so later."""
    cause = error.__cause__ if isinstance(error, NameResolutionError) else None
    return isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN


# All methods: every request here can be repeated. `follow` follows redirects, not urllib3.
RETRY = PassingFaults(
    total=POLICY.tries - 1,
    connect=2,
    read=2,
    other=1,  # TLS: seldom better the next time
    redirect=False,
    status_forcelist=RETRIED,
    allowed_methods=None,
    backoff_factor=POLICY.first,
    backoff_max=POLICY.longest,
    retry_after_max=_RETRY_AFTER_LIMIT,
    raise_on_status=False,
)

ONCE = urllib3.Retry(total=0, redirect=False, status_forcelist=(), raise_on_status=False)
"""Sends a request once."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_LIMIT = 5
_PORTS = {"http": 80, "https": 443}
# IPv4 addresses as inet_aton takes them: 127.1, 0x7f.1, 2130706433.
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}\.?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class RegistryRequest:
    """A request; ``repr`` leaves out headers and body, which may hold secrets."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    body: bytes | None = field(repr=False, default=None)
    size: int = ANSWER_LIMIT
    """The largest answer, in bytes."""


Send = Callable[[RegistryRequest], urllib3.BaseHTTPResponse]
"""Send one request and return the answer, its body unread.

Raises:
    urllib3.exceptions.HTTPError: no answer arrived.
"""


def sender(env: Mapping[str, str], pace: Pace = Pace(), retry: urllib3.Retry = RETRY) -> Send:
    """Return a function that sends requests, through the proxies in ``env`` except to this machine.

    ``pace`` limits each answer; ``retry`` says how often a request is sent again.
    """
    # `http_proxy` overrides `HTTP_PROXY`, which sorts first.
    lowered = {name.lower(): value for name, value in sorted(env.items())}
    proxies = {scheme: lowered.get(f"{scheme}_proxy", "") for scheme in _PORTS}
    no_proxy = lowered.get("no_proxy", "")
    direct = urllib3.PoolManager(maxsize=CONNECTIONS)
    proxied = {scheme: _proxy(address) for scheme, address in proxies.items() if address}
    expected = Expected()
    for each in (direct, *proxied.values()):
        paced(each, pace, expected)
    timeout = urllib3.Timeout(connect=_CONNECT, read=pace.piece)

    def send(request: RegistryRequest) -> urllib3.BaseHTTPResponse:
        parts = urlsplit(request.url)
        manager = direct if _goes_direct(parts, no_proxy) else proxied.get(parts.scheme, direct)
        expected.size = request.size
        return manager.request(
            request.method,
            request.url,
            body=request.body,
            headers=request.headers,
            timeout=timeout,
            retries=retry,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )

    return send


def _goes_direct(url: SplitResult, no_proxy: str) -> bool:
    """Return whether a request bypasses the proxy: to this machine, or to a host or domain of ``no_proxy``."""
    name = url.hostname or ""
    entries = [entry.strip().lstrip("*.").lower() for entry in no_proxy.split(",") if entry.strip()]
    named = any(not entry or entry in (name, url.netloc) or name.endswith(f".{entry}") for entry in entries)
    return named or is_loopback(url.netloc)


def _proxy(address: str) -> urllib3.ProxyManager:
    try:
        return _proxy_at(urlsplit(address if "://" in address else f"http://{address}"))
    except ValueError:
        raise UnreachableError(
            "the proxy's address is malformed", code="proxy-unusable", hint="write http://HOST:PORT"
        ) from None


def _proxy_at(parts: SplitResult) -> urllib3.ProxyManager:
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in _PORTS:
        raise UnreachableError(
            f"the proxy {parts.scheme}://{host} has an unsupported scheme",
            code="proxy-unusable",
            hint="name an HTTP proxy",
        )
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    headers = make_headers(proxy_basic_auth=login) if login else None
    return urllib3.ProxyManager(f"{parts.scheme}://{host}", proxy_headers=headers, maxsize=CONNECTIONS)


def follow(send: Send, request: RegistryRequest) -> tuple[urllib3.BaseHTTPResponse, str]:
    """Send a request; follow the redirects of a GET or HEAD, as to a registry's blob storage.

    Return the answer and the final address. Send ``Authorization`` to the first host only. Refuse a redirect that
    :func:`may_redirect` forbids.

    Raises:
        UnreachableError: no answer after all retries, a forbidden redirect, or too many.
    """
    for _ in range(_REDIRECTS_LIMIT):
        answer = _answer(send, request)
        if request.method not in ("GET", "HEAD") or answer.status not in _REDIRECTS:
            return answer, request.url
        answer.close()
        request = _redirected(request, answer.headers.get("Location", ""))
    raise UnreachableError(
        f"{host_of(request.url)} redirects more than {_REDIRECTS_LIMIT} times",
        code="registry-redirects",
        hint="check the registry's address",
    )


def _redirected(request: RegistryRequest, location: str) -> RegistryRequest:
    url = join(request.url, location)
    if url is None or not may_redirect(request.url, url):
        raise UnreachableError(
            f"{host_of(request.url)} redirects to what is no safe address",
            code="registry-redirects",
            hint="check the registry's configuration",
        )
    headers = request.headers
    if origin(url) != origin(request.url):
        headers = {name: value for name, value in headers.items() if name != "Authorization"}
    return replace(request, url=url, headers=headers)


def may_redirect(source: str, target: str) -> bool:
    """Return whether the host of the URL ``source`` may redirect to the URL ``target``.

    Forbid HTTPS to plain HTTP, and another machine to a loopback or link-local address, where a cloud serves its
    metadata. Host names are not resolved.
    """
    if urlsplit(source).scheme == "https" and urlsplit(target).scheme != "https":
        return False
    return not _is_local(target) or _is_local(source)


def _is_local(url: str) -> bool:
    """Return whether a URL's host is a loopback or link-local address, in any spelling that the resolver accepts."""
    name = (urlsplit(url).hostname or "").rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return _NUMERIC.fullmatch(name) is not None
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified)


def _answer(send: Send, request: RegistryRequest) -> urllib3.BaseHTTPResponse:
    try:
        return send(request)
    except (HTTPError, ValueError) as error:  # http.client and idna raise ValueError for a malformed URL
        raise unreachable(request.url, error) from None


def unreachable(url: str, error: Exception) -> BuildxCacheError:
    """Return the error for a failed request; urllib3's reasons hold addresses, never headers."""
    cause = getattr(error, "reason", None) or error
    host = host_of(url)
    if isinstance(cause, SSLError):
        reason = printable(str(cause))
        hint = "add its certificate authority to the system's (or SSL_CERT_FILE)"
        if not reason.count("CERTIFICATE_VERIFY_FAILED"):
            hint = "plain HTTP is spoken to this machine only: give the registry a certificate"
        return UnreachableError(f"no safe connection to {host}: {reason}", code="registry-certificate", hint=hint)
    return UnreachableError(
        f"no answer from {host}: {_plain(cause)}",
        code="registry-unreachable",
        hint="check the address, the network, and the proxy",
    )


def _plain(cause: object) -> str:
    """Return a cause without the connection object that urllib3 puts before the reason."""
    return printable(str(cause).rpartition(">: ")[2] or type(cause).__name__)


def host_of(url: str) -> str:
    """Return a URL's host and port."""
    return urlsplit(url).netloc.rpartition("@")[2]


def origin(url: str) -> tuple[str, str, int | None]:
    """Return a URL's scheme, host and port; a login is sent to the same origin only."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def join(base: str, location: str) -> str | None:
    """Resolve ``location`` against ``base``; return None unless the result is an HTTP address without a login."""
    try:
        url = urljoin(base, location)
        parts = urlsplit(url)
        usable = location.isprintable() and _is_web(parts) and origin(url)[2] is not None
    except ValueError:
        return None
    return url if location and usable else None


def _is_web(parts: SplitResult) -> bool:
    r"""Return whether this is an HTTP address without a login, of a host that urllib3 reads as this module does.

    urllib3 ends a host at a backslash and decodes ``%2e``: ``127.0.0.1\.example.com`` would lead to this machine.
    """
    return parts.scheme in _PORTS and bool(parts.hostname) and not set("@\\%") & set(parts.netloc)


def printable(text: str, limit: int = 200) -> str:
    """Return a registry's message, short and on one line, without terminal control sequences."""
    clean = " ".join(without_controls(text[: 4 * limit]).split())
    clean = "".join(sign if sign.isprintable() else " " for sign in clean)
    return clean if len(clean) <= limit else clean[:limit] + "..."
