"""Time and size limits of an answer as a whole, beside urllib3's limit of the wait for a piece of it.

A registry could send a byte every few seconds, or headers and lines of chunks without an end. The limits are kept
where bytes come from the socket: below status line, headers, chunks and body alike.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

RETRIED = frozenset({429, 500, 502, 503, 504})
"""Statuses of answers that are tried again."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What an answer may take: ``seconds``, and more only while ``rate`` bytes come a second on the average."""

    seconds: float = 60
    rate: int = 32 << 10
    piece: float = 30
    """Seconds between two pieces."""
    listing: float = 300
    """Seconds for all pages of a list of tags."""
    head: int = 1 << 20
    """Bytes of the status lines and headers."""


class PaceError(HTTPError):
    """An answer is too slow or too long. urllib3 does not try it again."""


class Expected(threading.local):
    """The bytes that the body of this thread's next answer may have."""

    size = 0


# Of an answer that is tried again, urllib3 reads the body away.
_RETRIED_BODY = 1 << 16
# A body in chunks is longer than its content.
_CHUNKING = 2


class _Wire(io.RawIOBase):
    """The bytes of one answer as they come from a socket; ``body`` of them may follow the head."""

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
    """Have all answers to what ``manager`` sends keep to ``pace``."""
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
