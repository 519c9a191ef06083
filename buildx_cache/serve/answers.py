"""Answer requests: the pull part of the OCI distribution specification for what a folder holds, 404 for all else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from buildx_cache.layout.graph import Graph, walk
from buildx_cache.layout.model import FindingKind
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.store import Store, open_store

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""The grammar of the distribution specification; no other tag can be asked for."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """An open folder, and what may be taken from it.

    ``tags`` gives digests, ``manifests`` media types by digest, ``sizes`` bytes by digest of every blob.
    """

    store: Store
    tags: Mapping[str, str]
    manifests: Mapping[str, str]
    sizes: Mapping[str, int]

    def read_manifest(self, digest: str) -> bytes | None:
        """Return a manifest that has its digest; None where it is not served or not there any more."""
        if digest not in self.manifests:
            return None
        try:
            return self.store.read_document(digest)
        except MalformedError:
            return None

    def open_blob(self, digest: str) -> BinaryIO | None:
        """Return a blob of the size that is written down.

        None where it is not served, not there any more, or cut off.
        """
        if digest not in self.sizes:
            return None
        try:
            file = os.fdopen(self.store.open_blob(digest), "rb", buffering=0)
        except MalformedError:
            return None
        if os.fstat(file.fileno()).st_size != self.sizes[digest]:
            file.close()
            return None
        return file


@contextmanager
def open_catalogue(folder: Path) -> Iterator[Catalogue]:
    """Read the index and the manifests of a folder, no cacheconfig and no layer.

    A folder whose manifests name addresses of layers (``urls``) is refused: if a manifest comes from a registry,
    BuildKit asks these first, on its host's network (containerd's ``remotes/docker/fetcher.go``).

    Raises:
        MalformedError: the folder is absent or unreadable, or a manifest names addresses.
    """
    with open_store(folder) as store:
        catalogue = _catalogue(store, walk(store))
        if any(map(_has_addresses, filter(None, map(catalogue.read_manifest, catalogue.manifests)))):
            raise MalformedError(FindingKind.DOCUMENT, "names addresses of layers, which BuildKit would ask")
        yield catalogue


def _has_addresses(manifest: bytes) -> bool:
    """Return whether a manifest has the key ``urls`` in any object, in any case: Go ignores case.

    Return True for a manifest that is not JSON.
    """
    keys: set[str] = set()
    try:
        text = manifest.decode("utf-8", "replace")
        json.loads(text, object_pairs_hook=lambda pairs: keys.update(key.casefold() for key, _ in pairs))
    except (ValueError, RecursionError):
        return True
    return "urls" in keys


def _catalogue(store: Store, graph: Graph) -> Catalogue:
    """Where something is named twice, the first counts, as in an import of the folder."""
    roots = [root.descriptor for root in reversed(graph.roots)]
    blobs = tuple(graph.links)[::-1]
    return Catalogue(
        store=store,
        tags={root.tag: root.digest for root in roots if _TAG.fullmatch(root.tag)},
        manifests={found.digest: found.media_type for found in blobs if found.role.refers},
        sizes={found.digest: found.size for found in blobs},
    )


REPOSITORY = "buildx-cache"
_PREFIX = f"/v2/{REPOSITORY}/"
_METHODS = ("GET", "HEAD")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)

Span = tuple[int, int]
"""Where a part of a blob begins, and how many bytes it has."""


class AnswerKind(Enum):
    """What an answer carries."""

    OTHER = "other"
    MANIFEST = "manifest"
    BLOB = "blob"


_NOTHING: Iterable[memoryview] = ()


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked: ``path`` and ``query`` as sent; empty where there is no such header.

    ``span`` is Range, ``extent`` Content-Range. ``length`` are the bytes of ``body``, None where they are not told.
    """

    method: str
    path: str
    query: str = ""
    span: str = ""
    extent: str = ""
    media_type: str = ""
    length: int | None = 0
    body: Iterable[memoryview] = _NOTHING


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A status, headers, and a body that is either ``content`` or the ``span`` of an open file."""

    status: int
    fields: Mapping[str, str]
    content: bytes = b""
    file: BinaryIO | None = None
    span: Span = (0, 0)
    kind: AnswerKind = AnswerKind.OTHER

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All headers that do not depend on the connection."""
        length = self.span[1] if self.file else len(self.content)
        return (
            *self.fields.items(),
            ("Content-Length", str(length)),
            ("Docker-Distribution-API-Version", "registry/2.0"),
        )

    def close(self) -> None:
        """Close the file."""
        if self.file:
            self.file.close()


def answer(request: Request, *, catalogue: Catalogue, tags: Mapping[str, str]) -> Answer:
    """Answer a GET or HEAD; paths are compared as they were sent, and nothing in them is decoded.

    ``tags`` gives digests by the secret names that manifests have here.
    """
    if request.method not in _METHODS:
        return answer_method()
    if request.path == "/v2/":
        return answer_base(request)
    kind, _, reference = request.path.removeprefix(_PREFIX).partition("/")
    match kind if request.path.startswith(_PREFIX) else "":
        case "manifests":
            digest = tags.get(reference, reference)
            return answer_manifest(catalogue.read_manifest(digest), digest, catalogue.manifests.get(digest, ""))
        case "blobs":
            return answer_blob(catalogue.open_blob(reference), reference, request)
    return answer_error(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "there is no such repository")


def answer_base(request: Request) -> Answer:
    """Say that this is a registry."""
    return _document(HTTPStatus.OK, {}) if request.method in _METHODS else answer_method()


def answer_method() -> Answer:
    """Answer a method that there is not."""
    allowed = {"Allow": ", ".join(_METHODS)}
    return answer_error(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", "this cannot be done here", allowed)


def refusal(status: int) -> Answer:
    """Answer what is no request. Go's client takes it for a server without TLS when it said hello."""
    return answer_error(status, "UNSUPPORTED", "this is no request that can be answered")


def answer_manifest(content: bytes | None, digest: str, media_type: str) -> Answer:
    """Send a manifest, or say that there is none."""
    if content is None:
        return answer_error(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "there is no such manifest")
    fields = {"Content-Type": media_type, "Docker-Content-Digest": digest}
    return Answer(status=HTTPStatus.OK, fields=fields, content=content, kind=AnswerKind.MANIFEST)


def answer_blob(file: BinaryIO | None, digest: str, request: Request) -> Answer:
    """Send an open blob, or what is asked for of it, or say that there is none."""
    if file is None:
        return answer_error(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", "there is no such blob")
    size = os.fstat(file.fileno()).st_size
    span = wanted(request.span, size) if request.method == "GET" else None  # with HEAD, a range means nothing
    if span and not span[1]:
        file.close()
        extent = {"Content-Range": f"bytes */{size}"}
        status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        return answer_error(status, "UNSUPPORTED", "the blob ends before", extent)
    fields = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
    if span:
        fields["Content-Range"] = f"bytes {span[0]}-{sum(span) - 1}/{size}"
    status = HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK
    return Answer(status=status, fields=fields, file=file, span=span or (0, size), kind=AnswerKind.BLOB)


def wanted(span: str, size: int) -> Span | None:
    """Return the part of ``size`` bytes that a Range header asks for; of no length where there is no such part.

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
    return start, max(0, min(end, size) - start)


def _document(status: int, document: object, more: Mapping[str, str] | None = None) -> Answer:
    fields = {"Content-Type": "application/json", **(more or {})}
    return Answer(status=status, fields=fields, content=json.dumps(document).encode())


def answer_error(status: int, code: str, message: str, more: Mapping[str, str] | None = None) -> Answer:
    """Answer with an error as the distribution API has it."""
    return _document(status, {"errors": [{"code": code, "message": message}]}, more)
