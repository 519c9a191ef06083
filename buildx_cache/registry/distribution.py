"""A client for one repository, with the part of the OCI distribution API that cache upkeep needs.

No client library has all of: time limits, size limits, identity tokens, deletion by tag, and indexes in ``Accept``.
On top of urllib3, this module, ``transport`` and ``authorization`` are the whole client.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from buildx_cache.errors import BuildxCacheError, DeniedError, UnreachableError, UsageError
from buildx_cache.layout.model import ROLES, FindingKind
from buildx_cache.layout.parse import MalformedError, digest_of, is_digest, parse_object
from buildx_cache.registry import deletion_advice
from buildx_cache.registry.authorization import REFUSED, Login
from buildx_cache.registry.transport import (
    ANSWER_LIMIT,
    CONNECTIONS,
    Pace,
    RegistryRequest,
    Send,
    follow,
    host_of,
    join,
    origin,
    printable,
    unreachable,
)

_ERROR_LIMIT = 1 << 16
_LINK_LIMIT = 1 << 12
_CHUNK = 1 << 16
_PAGES = 1000
_TAGS = 100_000
_LOGINS = 2  # per request: a known token may be too old, then the first login may be refused
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_NEXT = re.compile(r'<(?P<url>[^<>]*)>[^,<]*;\s*rel="?next"?', re.IGNORECASE)
_ACCEPT = ", ".join(name for name, role in ROLES.items() if role.refers)

_OK = frozenset({200, 201, 202, 204})
_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _NOT_ALLOWED, _GONE = 400, 401, 403, 404, 405, 410
_TOO_MANY, _SERVER_ERROR, _NOT_IMPLEMENTED = 429, 500, 501
# Error codes of registries that delete by digest only: distribution-spec, and distribution 2.8 (DIGEST_INVALID).
_REFUSALS = frozenset({"UNSUPPORTED", "DIGEST_INVALID", "TAG_INVALID", "MANIFEST_INVALID", "NAME_INVALID"})

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def in_parallel(call: Callable[[_In], _Out], values: Sequence[_In]) -> list[_Out]:
    """Call ``call`` with each value, in :data:`CONNECTIONS` threads; return the results in order.

    An error or a signal waits for no thread: a registry can send without end. The process ends all the same, by
    ``os._exit``.
    """
    pool = ThreadPoolExecutor(CONNECTIONS)
    try:
        return list(pool.map(call, values))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class Removal(Enum):
    """The result of a request to delete."""

    DONE = "done"
    ABSENT = "absent"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest as the registry sent it; ``digest`` is computed from the content."""

    digest: str
    media_type: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    url: str
    final_url: str
    """The final address, after redirects."""
    headers: Mapping[str, str]
    content: bytes

    @property
    def errors(self) -> tuple[tuple[str, str], ...]:
        """Codes and messages of the answer's errors."""
        try:
            found = json.loads(self.content[:_ERROR_LIMIT])["errors"]
            return tuple((str(one.get("code", "")), str(one.get("message", ""))) for one in found)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return ()

    @property
    def reason(self) -> str:
        """Return the status and the registry's message, for people."""
        code, message = next(iter(self.errors), ("", ""))
        said = " ".join(word for word in (code, message) if word)
        return f"HTTP {self.status}" + (f", {printable(said)}" if said else "")


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One repository of a registry.

    ``host`` is the registry's name for people, ``base`` the URL of its API, ``path`` the repository's name there.
    Every method raises DeniedError for a refusal, and UnreachableError if no usable answer arrived after retries.
    """

    host: str
    path: str
    base: str
    send: Send
    login: Login
    pace: Pace = Pace()  # noqa: RUF009 -- frozen

    @property
    def name(self) -> str:
        """Return ``host/path``, for people."""
        return f"{self.host}/{self.path}"

    def tags(self) -> tuple[str, ...]:
        """Return every tag in the registry's order; leave out names that are not valid tags.

        Raises:
            UsageError: the repository does not exist.
        """
        url: str | None = self._url("tags", "list")
        found: dict[str, None] = {}
        seen: set[str] = set()
        ends = time.monotonic() + self.pace.listing
        while url and url not in seen and len(seen) < _PAGES and len(found) < _TAGS and time.monotonic() < ends:
            seen.add(url)
            answer = self._call("GET", url)
            if answer.status == _NOT_FOUND:
                raise UsageError(
                    f"{self.name} is not in the registry", code="repository-absent", hint="check the repository's name"
                )
            found |= dict.fromkeys(_tags_in(self._expect(answer, "the list of tags")))
            url = self._next_page(answer)
        if url:
            raise UnreachableError(
                f"{self.host} never ends its list of tags",
                code="registry-tags-unusable",
                hint="name one tag: REPOSITORY:TAG",
            )
        return tuple(found)

    def manifest(self, reference: str) -> Manifest | None:
        """Return the manifest of a tag or digest; None if it does not exist.

        Raises:
            MalformedError: the manifest is larger than :data:`ANSWER_LIMIT`, or does not match its digest.
        """
        answer = self._call("GET", self._url("manifests", reference), accept=_ACCEPT)
        if answer.status in (_NOT_FOUND, _GONE):
            return None
        self._expect(answer, f"the manifest {reference}")
        if len(answer.content) > ANSWER_LIMIT:
            raise MalformedError(FindingKind.TOO_LARGE, f"has more than {ANSWER_LIMIT} bytes")
        digest = digest_of(answer.content)
        told = answer.headers.get("Docker-Content-Digest", digest)
        for said in (reference if is_digest(reference) else digest, told if is_digest(told) else digest):
            if said != digest:
                raise MalformedError(FindingKind.CONTENT, f"has the digest {digest}, and the registry says {said}")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        return Manifest(digest=digest, media_type=media_type, content=answer.content)

    def digest(self, tag: str) -> str | None:
        """Return the digest of a tag's manifest; None if the tag does not exist.

        Read the manifest only if the answer to HEAD has no digest.

        Raises:
            MalformedError: the digest cannot be determined.
        """
        answer = self._call("HEAD", self._url("manifests", tag), accept=_ACCEPT)
        if answer.status in (_NOT_FOUND, _GONE):
            return None
        self._expect(answer, f"the tag {tag}")
        digest = answer.headers.get("Docker-Content-Digest", "")
        if is_digest(digest):
            return digest
        manifest = self.manifest(tag)
        return manifest.digest if manifest else None

    def blob_size(self, digest: str) -> int | None:
        """Return the bytes of a blob; None if it is absent, -1 if the registry does not say."""
        answer = self._call("HEAD", self._url("blobs", digest))
        if answer.status in (_NOT_FOUND, _GONE):
            return None
        self._expect(answer, f"the blob {digest}")
        length = answer.headers.get("Content-Length", "")
        return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else -1

    @contextlib.contextmanager
    def blob(self, digest: str, size: int) -> Iterator[Iterator[bytes] | None]:
        """Yield the content of a blob of ``size`` bytes in pieces of at most 64 KiB; None if the blob is absent."""
        with self._open("GET", self._url("blobs", digest), size=size) as (answer, url):
            if answer.status in (_NOT_FOUND, _GONE):
                yield None
                return
            if answer.status not in _OK:
                self._expect(_read(answer, self._url("blobs", digest), url), f"the blob {digest}")
            yield _pieces(answer, url)

    def delete(self, reference: str) -> Removal:
        """Delete a manifest and all its tags (by digest), or one tag if the registry supports that (OCI only)."""
        answer = self._call("DELETE", self._url("manifests", reference))
        if answer.status in _OK:
            return Removal.DONE
        if answer.status in (_NOT_FOUND, _GONE):
            return Removal.ABSENT
        codes = {code for code, _ in answer.errors}
        refused = answer.status == _BAD_REQUEST and (codes & _REFUSALS or not codes)
        if refused or "UNSUPPORTED" in codes or answer.status in (_NOT_ALLOWED, _NOT_IMPLEMENTED):
            return Removal.UNSUPPORTED
        error = self._error(answer, f"the deletion of {reference}")
        if isinstance(error, DeniedError) and (row := deletion_advice.service_of(self.host)):
            error = DeniedError(
                error.message, code="registry-denied", hint=f"{error.hint}; or the way of {row.name}: {row.advice}"
            )
        raise error

    def push_refusal(self) -> str:
        """Return the registry's reason to refuse a push; empty if a push is allowed or the registry does not say.

        Begin an upload without content, then cancel it. Ignore the error page of a proxy in front of the registry.
        """
        try:
            answer = self._call("POST", f"{self.base}/v2/{self.path}/blobs/uploads/", action="push")
        except DeniedError as error:
            if error.code == "registry-denied":
                return error.message
            raise
        place = join(answer.url, answer.headers.get("Location", ""))
        if answer.status in _OK and place and origin(place) == origin(self.base):
            self._call("DELETE", place, action="push")
        codes = {code.upper() for code, _ in answer.errors}
        is_refused = answer.status in REFUSED and codes & {"DENIED", "UNAUTHORIZED"}
        return f"{self.host} denied a push to {self.path}: {answer.reason}" if is_refused else ""

    def _url(self, kind: str, reference: str) -> str:
        return f"{self.base}/v2/{self.path}/{kind}/{reference}"

    def _next_page(self, answer: _Answer) -> str | None:
        match = _NEXT.search(answer.headers.get("Link", "")[:_LINK_LIMIT])
        if match is None:
            return None
        url = join(answer.url, match["url"])
        if url is None or origin(url) != origin(self.base):
            raise UnreachableError(
                f"{self.host} continues its list of tags on another host",
                code="registry-tags-unusable",
                hint="name one tag: REPOSITORY:TAG",
            )
        return url

    def _call(self, method: str, url: str, *, accept: str = "", action: str = "") -> _Answer:
        with self._open(method, url, accept=accept, action=action) as (answer, final_url):
            return _read(answer, url, final_url)

    @contextlib.contextmanager
    def _open(
        self, method: str, url: str, *, accept: str = "", size: int = ANSWER_LIMIT, action: str = ""
    ) -> Iterator[tuple[urllib3.BaseHTTPResponse, str]]:
        """Yield the answer to a request and its final address, after a login if the registry asks for one.

        Do not answer a challenge of a host that the registry redirects to.
        """
        action = action or ("delete" if method == "DELETE" else "pull")
        headers = {"Accept": accept, "User-Agent": "buildx-cache"}
        used = self.login.header(action)
        answer, final_url = self._ask(method, url, {**headers, "Authorization": used}, size)
        for _ in range(_LOGINS):
            challenge = answer.headers.get("WWW-Authenticate", "")
            if answer.status != _UNAUTHORIZED or origin(final_url) != origin(url):
                break
            if not self.login.renew(action, used, url, challenge):
                break
            answer.close()
            used = self.login.header(action)
            answer, final_url = self._ask(method, url, {**headers, "Authorization": used}, size)
        try:
            yield answer, final_url
        finally:
            answer.close()

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], size: int
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        given = {name: value for name, value in headers.items() if value}
        return follow(self.send, RegistryRequest(method=method, url=url, headers=given, size=size))

    def _expect(self, answer: _Answer, what: str) -> _Answer:
        if answer.status not in _OK:
            raise self._error(answer, what)
        return answer

    def _error(self, answer: _Answer, what: str) -> BuildxCacheError:
        if answer.status in (_UNAUTHORIZED, _FORBIDDEN) and origin(answer.final_url) != origin(self.base):
            where = f"{host_of(answer.final_url)}, where {self.host} redirects to,"
            return DeniedError(
                f"{where} denied {what} of {self.path}: {answer.reason}",
                code="registry-denied",
                hint="check the registry's storage: no login goes there",
            )
        if answer.status in (_UNAUTHORIZED, _FORBIDDEN):
            return self.login.denied(f"{what} of {self.path}", answer.reason)
        if answer.status == _TOO_MANY:
            return UnreachableError(
                f"{self.host} limits requests ({answer.reason})",
                code="registry-throttled",
                hint="wait, or log in: docker login",
            )
        hint = "try again later" if answer.status >= _SERVER_ERROR else "check the reference and the registry's log"
        return UnreachableError(
            f"{self.host} does not give {what} of {self.path}: {answer.reason}",
            code="registry-answer-unusable",
            hint=hint,
        )

    def unsupported(self) -> UsageError:
        """Return the error for a registry that deletes nothing through the API."""
        return UsageError(
            f"{self.host} does not let tags be deleted through the registry API",
            code="registry-deletes-nothing",
            hint=deletion_advice.advice(self.host),
        )


def _tags_in(answer: _Answer) -> Iterator[str]:
    try:
        tags = parse_object(answer.content).get("tags")
    except MalformedError as error:
        raise UnreachableError(
            f"{urlsplit(answer.url).netloc} gives a list of tags that {error.problem}",
            code="registry-tags-unusable",
            hint="is this a registry?",
        ) from None
    for tag in tags if isinstance(tags, list) else ():
        if isinstance(tag, str) and _TAG.fullmatch(tag):
            yield tag


def _read(answer: urllib3.BaseHTTPResponse, url: str, final_url: str) -> _Answer:
    """Return an answer with its content, cut soon after :data:`ANSWER_LIMIT` bytes."""
    content = bytearray()
    for piece in _pieces(answer, final_url):
        content += piece
        if len(content) > ANSWER_LIMIT:
            break
    return _Answer(status=answer.status, url=url, final_url=final_url, headers=answer.headers, content=bytes(content))


def _pieces(answer: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
    try:
        yield from answer.stream(_CHUNK, decode_content=False)
    except HTTPError as error:
        raise unreachable(url, error) from None
