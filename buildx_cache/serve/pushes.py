"""Answer pushes of one cache: the push part of the OCI distribution specification, for one repository and one tag."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import parse_qs

from buildx_cache.layout.model import DOCUMENT_LIMIT, FindingKind
from buildx_cache.layout.parse import MalformedError, is_digest
from buildx_cache.layout.writer import Upload, Writer
from buildx_cache.serve.answers import (
    REPOSITORY,
    Answer,
    Request,
    answer_base,
    answer_blob,
    answer_error,
    answer_manifest,
    answer_method,
)

TAG = "cache"
_SECRET_BYTES = 16
_EXTENT = re.compile(r"(?:bytes )?([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]{1,18}|\*))?")
_NO_DIGEST = "there is no such digest"
_CODES: Mapping[FindingKind, tuple[HTTPStatus, str]] = {
    FindingKind.CONTENT: (HTTPStatus.BAD_REQUEST, "DIGEST_INVALID"),
    FindingKind.MISSING: (HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"),
    FindingKind.TOO_LARGE: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "SIZE_INVALID"),
    FindingKind.MORE: (HTTPStatus.TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
    FindingKind.BUSY: (HTTPStatus.CONFLICT, "DENIED"),
}


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What has come: requests, blobs that were stored and their bytes, manifests that were tagged.

    ``failure`` is why the folder could not be written, in words.
    """

    requests: int = 0
    blobs: int = 0
    bytes: int = 0
    manifests: int = 0
    failure: str = ""


class _RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, code: str, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.answer = answer_error(status, code, message, fields)


class Pushes:
    """The repository ``name``, whose last part is 128 random bits: who knows it may write.

    Args:
        writer: what writes the folder.
        log: told of each request that is refused, in a line.
    """

    def __init__(self, writer: Writer, log: Callable[[str], None]) -> None:
        self.name = f"{REPOSITORY}/{secrets.token_hex(_SECRET_BYTES)}"
        self.pushed = Pushed()
        self._writer = writer
        self._log = log
        self._counting = threading.Lock()

    def holds(self, digests: Collection[str]) -> bool:
        """Tell whether the folder's tag leads to one of these manifests, as it is or as it came."""
        return self._writer.holds(digests)

    def answer(self, request: Request) -> Answer:
        """Answer any request; paths are compared as they were sent, and nothing in them is decoded."""
        if request.path == "/v2/":
            return answer_base(request)
        prefix = f"/v2/{self.name}/"
        if not request.path.startswith(prefix):
            return answer_error(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "there is no such repository")
        self._count(requests=1)
        try:
            return self._answer(request, request.path.removeprefix(prefix))
        except _RefusedError as refused:
            answer = refused.answer
        except MalformedError as error:
            status, code = _CODES.get(error.kind, (HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID"))
            answer = answer_error(status, code, f"it {error.problem}")
        except (ConnectionError, TimeoutError):
            raise  # the client is gone
        except OSError as error:
            reason = error.strerror or str(error)
            with self._counting:
                self.pushed = replace(self.pushed, failure=reason)
            # No 5xx: BuildKit would try again for a while what does not pass.
            answer = answer_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "DENIED", f"it cannot be written: {reason}")
        self._log(f"{request.method} {request.path.removeprefix(prefix)}: {answer.content.decode()}")
        return answer

    def _answer(self, request: Request, path: str) -> Answer:
        kind, _, reference = path.partition("/")
        match kind, request.method:
            case "manifests", "PUT":
                return self._put_manifest(request, reference)
            case "manifests", "GET" | "HEAD":
                return self._manifest(reference)
            case "blobs", _ if reference.startswith("uploads/"):
                return self._uploading(request, reference.removeprefix("uploads/"))
            case "blobs", "GET" | "HEAD":
                return self._blob(request, reference)
            case "manifests" | "blobs", _:
                return answer_method()
        raise _RefusedError(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "there is no such repository")

    def _count(self, *, requests: int = 0, blobs: int = 0, size: int = 0, manifests: int = 0) -> None:
        with self._counting:
            old = self.pushed
            self.pushed = replace(
                old,
                requests=old.requests + requests,
                blobs=old.blobs + blobs,
                bytes=old.bytes + size,
                manifests=old.manifests + manifests,
            )

    # --- blobs -------------------------------------------------------------------------------------------

    def _blob(self, request: Request, digest: str) -> Answer:
        file = self._writer.open_blob(digest) if is_digest(digest) else None
        return answer_blob(file, digest, request)

    def _uploading(self, request: Request, name: str) -> Answer:
        if not name:
            return self._begin(request) if request.method == "POST" else answer_method()
        upload = self._writer.upload(name)
        if upload is None:
            raise _no_upload()
        with _held(upload):
            if self._writer.upload(name) is None:
                raise _no_upload()
            return self._go_on(request, upload)

    def _go_on(self, request: Request, upload: Upload) -> Answer:
        match request.method:
            case "GET" | "HEAD":
                return self._state(upload, HTTPStatus.NO_CONTENT)
            case "DELETE":
                self._writer.cancel(upload)
                return Answer(status=HTTPStatus.NO_CONTENT, fields={})
            case "PATCH":
                self._take(request, upload)
                return self._state(upload, HTTPStatus.ACCEPTED)
            case "PUT":
                return self._finish(request, upload, _digest_of(request))
        return answer_method()

    def _begin(self, request: Request) -> Answer:
        """Answer a mount of what is here, take a blob that comes at once, or begin an upload."""
        query = parse_qs(request.query)
        mounted = query.get("mount", [""])[0]
        if is_digest(mounted) and self._writer.has(mounted):
            return self._stored(mounted)
        digest = _digest_of(request) if "digest" in query else ""
        upload = self._writer.begin()
        with _held(upload):
            return self._finish(request, upload, digest) if digest else self._state(upload, HTTPStatus.ACCEPTED)

    def _take(self, request: Request, upload: Upload) -> None:
        """Append a body to an upload, which is over where that fails."""
        length = _length_of(request)
        extent = _EXTENT.fullmatch(request.extent)
        if request.extent and (
            extent is None or int(extent[1]) != upload.size or int(extent[2]) - int(extent[1]) + 1 != length
        ):
            raise _RefusedError(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                "BLOB_UPLOAD_INVALID",
                "the upload goes on elsewhere",
                self._fields(upload),
            )
        try:
            self._writer.refuse_beyond(upload, length)
            for piece in request.body:
                upload.write(piece)
        except BaseException:
            self._writer.cancel(upload)
            raise

    def _finish(self, request: Request, upload: Upload, digest: str) -> Answer:
        if request.length != 0:
            self._take(request, upload)
        size = upload.size
        self._writer.finish(upload, digest)
        self._count(blobs=1, size=size)
        return self._stored(digest)

    def _stored(self, digest: str) -> Answer:
        fields = {"Location": f"/v2/{self.name}/blobs/{digest}", "Docker-Content-Digest": digest}
        return Answer(status=HTTPStatus.CREATED, fields=fields)

    def _state(self, upload: Upload, status: HTTPStatus) -> Answer:
        return Answer(status=status, fields=self._fields(upload))

    def _fields(self, upload: Upload) -> Mapping[str, str]:
        return {
            "Location": f"/v2/{self.name}/blobs/uploads/{upload.name}",
            "Range": f"0-{max(0, upload.size - 1)}",
            "Docker-Upload-UUID": upload.name,
        }

    # --- manifests ---------------------------------------------------------------------------------------

    def _manifest(self, reference: str) -> Answer:
        digest = self._writer.tagged() if reference == TAG else reference
        return answer_manifest(self._writer.read_manifest(digest), digest, self._writer.manifests.get(digest, ""))

    def _put_manifest(self, request: Request, reference: str) -> Answer:
        if reference != TAG and not is_digest(reference):
            raise _RefusedError(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "there is no such tag")
        if _length_of(request) > DOCUMENT_LIMIT:
            raise MalformedError(FindingKind.TOO_LARGE, f"has more than {DOCUMENT_LIMIT} bytes")
        content = b"".join(map(bytes, request.body))
        if reference == TAG:
            digest = self._writer.tag_manifest(content, request.media_type)
            self._count(manifests=1)
        else:
            digest = self._writer.put_manifest(content, request.media_type, reference)
        fields = {"Location": f"/v2/{self.name}/manifests/{digest}", "Docker-Content-Digest": digest}
        return Answer(status=HTTPStatus.CREATED, fields=fields)


def _no_upload() -> _RefusedError:
    return _RefusedError(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "there is no such upload")


def _digest_of(request: Request) -> str:
    digest = parse_qs(request.query).get("digest", [""])[0]
    if not is_digest(digest):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", _NO_DIGEST)
    return digest


def _length_of(request: Request) -> int:
    if request.length is None:
        raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "SIZE_INVALID", "how long it is has to be said first")
    return request.length


@contextmanager
def _held(upload: Upload) -> Iterator[None]:
    """Let one request at a time go on with an upload."""
    if not upload.lock.acquire(blocking=False):
        raise _RefusedError(HTTPStatus.CONFLICT, "BLOB_UPLOAD_INVALID", "another request goes on with this upload")
    try:
        yield
    finally:
        upload.lock.release()
