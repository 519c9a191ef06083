"""The little of HTTP/1.1 that a registry's clients use to read (RFC 9110, RFC 9112): a request's head, and its range.

Written out, because ``http.server`` takes 45 ms to import and reads up to 6 MiB of headers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD_LIMIT = 16 << 10
"""Bytes of a request line and its headers."""

BAD_REQUEST = 400
HEAD_TOO_LARGE = 431

_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)


class RefusedError(Exception):
    """Not a request that can be answered otherwise than with ``status`` and the end of the connection."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked: ``path`` as sent, without the query; ``span`` is the Range header, empty where there is none."""

    method: str
    path: str
    span: str
    keep_alive: bool


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a blob, in bytes."""

    start: int
    length: int


def is_request(beginning: bytes) -> bool:
    """Whether this may become a request; a TLS hello may not, and its sender waits for an answer."""
    return beginning[:1].isalpha()


def parse_head(head: bytes) -> Request:
    """Read a request line and headers, without the empty line after them.

    What follows is taken for the next request, so that the connection is not kept where there may be a body.

    Raises:
        RefusedError: it is too large or malformed, or not HTTP/1.
    """
    if len(head) > HEAD_LIMIT:
        raise RefusedError(HEAD_TOO_LARGE)
    first, *rest = head.decode("latin-1").split("\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise RefusedError(BAD_REQUEST)
    headers = _headers(rest)
    method, target, minor = line.groups()
    persistent = minor == "1" and "close" not in headers.get("connection", "").lower()
    bodiless = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"
    return Request(
        method=method,
        path=target.partition("?")[0],
        span=headers.get("range", ""),
        keep_alive=persistent and bodiless,
    )


def _headers(lines: list[str]) -> dict[str, str]:
    """By name in small letters; values of one name are joined, as the specification has it."""
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            raise RefusedError(BAD_REQUEST)
        name, value = found[1].lower(), found[2]
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def wanted(span: str, size: int) -> Span | None:
    """The part of ``size`` bytes that a Range header asks for; of no length where there is no such part.

    None, which is the whole, where the header is absent, malformed, in another unit, or asks for several parts:
    RFC 9110 (14.2) lets a server pass over those.
    """
    found = _RANGE.fullmatch(span)
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, size - int(last))
    end = int(last) + 1 if first and last else size
    return Span(start=start, length=max(0, min(end, size) - start))
