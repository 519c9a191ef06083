"""Image references: what a tag may look like, and names made safe to be an image's tag.

The grammar is that of the distribution project's ``reference`` package, which Docker and BuildKit share.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

from buildx_cache.errors import UsageError

MAX_TAG = 128
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_SLASH = re.compile(r"[/\\]+")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An image reference in its parts; absent parts are empty."""

    host: str
    path: str
    tag: str
    digest: str

    @property
    def repository(self) -> str:
        """``host/path``, as written: no default host is added."""
        return f"{self.host}/{self.path}" if self.host else self.path

    @property
    def canonical(self) -> str:
        """The whole name, with Docker Hub's host and its ``library/`` where they are left out."""
        hub = self.host in ("", "docker.io", "index.docker.io")
        path = f"library/{self.path}" if hub and "/" not in self.path else self.path
        return str(replace(self, host="docker.io" if hub else self.host, path=path))

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Split an image reference.

    Raises:
        UsageError: ``text`` is not one.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not an image reference", hint=_reference_hint(text))
    host, path = match["host"] or "", match["path"]
    if host and not _names_a_host(host):
        host, path = "", f"{host}/{path}"
    return Reference(host=host, path=path, tag=match["tag"] or "", digest=match["digest"] or "")


def _names_a_host(first: str) -> bool:
    """Whether the part before the first slash is a host: Docker's rule, so that ``org/app`` has none."""
    return any(sign in first for sign in ".:") or first == "localhost" or first.lower() != first


def _reference_hint(text: str) -> str:
    if re.search(r"[A-Z]", text.partition(":")[0]):
        return "write the repository's name in lower case"
    if "://" in text:
        return "leave out the scheme: HOST/REPOSITORY:TAG"
    return "write HOST/REPOSITORY:TAG, for example registry.example.com/team/app:1.2"


def safe_tag(name: str) -> str:
    """Write any name, such as a branch's, as an image tag of at most 128 characters.

    A slash becomes a dash: people expect ``feature-x``. Where more had to change, or the name had to be cut, eight
    digits of the name's SHA-256 are appended. Two names can share a tag: a cache's is made by ``cache_tags.cache_tag``.
    """
    plain = _SLASH.sub("-", name)
    cleaned = _FOREIGN.sub("-", plain).lstrip(".-")
    if cleaned == plain and cleaned and len(cleaned) <= MAX_TAG:
        return cleaned
    mark = "-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return (cleaned[: MAX_TAG - len(mark)] + mark).lstrip(".-")
