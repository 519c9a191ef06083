"""What each request gets: the pull part of the OCI distribution specification, and 404 for everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

from buildx_cache.serve.catalogue import Catalogue
from buildx_cache.serve.message import BAD_REQUEST, HEAD_TOO_LARGE, Request, Span, wanted

_OK = 200
_PARTIAL = 206
_NOT_FOUND = 404
_NOT_ALLOWED = 405
_NO_SUCH_RANGE = 416

_REASONS: Mapping[int, str] = {
    _OK: "OK",
    _PARTIAL: "Partial Content",
    BAD_REQUEST: "Bad Request",
    _NOT_FOUND: "Not Found",
    _NOT_ALLOWED: "Method Not Allowed",
    _NO_SUCH_RANGE: "Range Not Satisfiable",
    HEAD_TOO_LARGE: "Request Header Fields Too Large",
}
_METHODS = ("GET", "HEAD")
REPOSITORY = "buildx-cache"
_PREFIX = f"/v2/{REPOSITORY}/"
_JSON = ("Content-Type", "application/json")

Headers = tuple[tuple[str, str], ...]


class Kind(Enum):
    """What an answer carries."""

    OTHER = "other"
    MANIFEST = "manifest"
    BLOB = "blob"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of an open file; whoever sends it closes it."""

    file: BinaryIO
    span: Span


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A status, headers, and a body that is either ``content`` or ``part``."""

    status: int
    headers: Headers
    content: bytes = b""
    part: Part | None = None
    kind: Kind = Kind.OTHER

    def head(self, *, keep_alive: bool) -> bytes:
        """The answer up to its body."""
        length = self.part.span.length if self.part else len(self.content)
        headers = (
            *self.headers,
            ("Content-Length", str(length)),
            ("Docker-Distribution-API-Version", "registry/2.0"),
            *(() if keep_alive else (("Connection", "close"),)),
        )
        lines = (f"HTTP/1.1 {self.status} {_REASONS[self.status]}", *(f"{name}: {value}" for name, value in headers))
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def answer(request: Request, *, catalogue: Catalogue, tags: Mapping[str, str]) -> Answer:
    """Answer a request; paths are compared as they were sent, and nothing in them is decoded.

    ``tags`` gives digests by the secret names that manifests have here.
    """
    if request.method not in _METHODS:
        return _error(_NOT_ALLOWED, "UNSUPPORTED", "this registry is read-only", ("Allow", ", ".join(_METHODS)))
    if request.path == "/v2/":
        return _document({})
    kind, _, reference = request.path.removeprefix(_PREFIX).partition("/")
    match kind if request.path.startswith(_PREFIX) else "":
        case "manifests":
            return _manifest(catalogue, tags.get(reference, reference))
        case "blobs":
            return _blob(catalogue, reference, request)
    return _error(_NOT_FOUND, "NAME_UNKNOWN", "there is no such repository")


def refusal(status: int) -> Answer:
    """The answer to what is no request. Go's client takes it for a server without TLS when it said hello."""
    return _error(status, "UNSUPPORTED", "this is no request that can be answered")


def _manifest(catalogue: Catalogue, digest: str) -> Answer:
    content = catalogue.read_manifest(digest)
    if content is None:
        return _error(_NOT_FOUND, "MANIFEST_UNKNOWN", "there is no such manifest")
    headers = (("Content-Type", catalogue.manifests[digest]), ("Docker-Content-Digest", digest))
    return Answer(status=_OK, headers=headers, content=content, kind=Kind.MANIFEST)


def _blob(catalogue: Catalogue, digest: str, request: Request) -> Answer:
    file = catalogue.open_blob(digest)
    if file is None:
        return _error(_NOT_FOUND, "BLOB_UNKNOWN", "there is no such blob")
    size = catalogue.sizes[digest]
    span = wanted(request.span, size) if request.method == "GET" else None  # with HEAD, a range means nothing
    if span and not span.length:
        file.close()
        return _error(_NO_SUCH_RANGE, "UNSUPPORTED", "the blob ends before", ("Content-Range", f"bytes */{size}"))
    headers: Headers = (
        ("Content-Type", "application/octet-stream"),
        ("Docker-Content-Digest", digest),
        ("Accept-Ranges", "bytes"),
    )
    if span is None:
        whole = Part(file=file, span=Span(start=0, length=size))
        return Answer(status=_OK, headers=headers, part=whole, kind=Kind.BLOB)
    extent = f"bytes {span.start}-{span.start + span.length - 1}/{size}"
    headers = (*headers, ("Content-Range", extent))
    return Answer(status=_PARTIAL, headers=headers, part=Part(file=file, span=span), kind=Kind.BLOB)


def _document(document: object) -> Answer:
    return Answer(status=_OK, headers=(_JSON,), content=json.dumps(document).encode())


def _error(status: int, code: str, message: str, *headers: tuple[str, str]) -> Answer:
    content = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Answer(status=status, headers=(_JSON, *headers), content=content)
