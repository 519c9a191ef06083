"""Define Buildx' ``--cache-from`` and ``--cache-to`` entries, and find the vertices that belong to each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from buildx_cache.caches.azblob import AZBLOB
from buildx_cache.caches.backend import (
    CacheBackend,
    CacheKind,
    ExportStyle,
    Location,
    Pairs,
    ScopedBackend,
    from_csv,
    to_csv,
)
from buildx_cache.caches.gha import GHA
from buildx_cache.caches.inline import INLINE
from buildx_cache.caches.local import LOCAL
from buildx_cache.caches.registry import REGISTRY
from buildx_cache.caches.s3 import S3
from buildx_cache.errors import UsageError
from buildx_cache.redaction import HIDDEN, redact
from buildx_cache.secret_names import is_secret_name

BACKENDS: Mapping[str, CacheBackend] = {backend.type: backend for backend in (REGISTRY, LOCAL, INLINE, GHA, S3, AZBLOB)}
"""Every kind of cache, by Buildx' name."""
SCOPED: Mapping[CacheKind, ScopedBackend] = {CacheKind(backend.type): backend for backend in (LOCAL, REGISTRY, INLINE)}
"""The kinds that ``--cache`` chooses."""


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """One ``--cache-from`` or ``--cache-to`` value: a type and its attributes, in order."""

    type: str
    attributes: Pairs = ()

    def __str__(self) -> str:
        return to_csv([f"type={self.type}", *(f"{key}={value}" for key, value in self.attributes)])

    def get(self, key: str) -> str:
        """Return the attribute's value, or the empty string."""
        return dict(self.attributes).get(key, "")

    def having(self, key: str, value: str) -> CacheEntry:
        """Return the entry with another value of an attribute."""
        return replace(self, attributes=tuple({**dict(self.attributes), key: value}.items()))

    @property
    def backend(self) -> CacheBackend:
        """Return the backend of the entry's type."""
        return BACKENDS[self.type]

    @property
    def place(self) -> str:
        """Return the entry's name for people: its reference, folder or object, else its type."""
        return self.backend.place(dict(self.attributes))

    @property
    def store(self) -> str:
        """Return the entry's repository, bucket or folder."""
        return self.backend.store(dict(self.attributes))

    @property
    def host(self) -> str:
        """Return the entry's server, or the empty string."""
        return self.backend.host(dict(self.attributes))

    @property
    def folder(self) -> str:
        """Return the entry's folder on this host, else the empty string."""
        return self.backend.folder(dict(self.attributes))

    @property
    def unknown(self) -> tuple[str, ...]:
        """Return the attributes that this program does not know."""
        known = (*self.backend.import_attributes, *self.backend.export_attributes)
        return tuple(key for key, _ in self.attributes if key not in known)

    @property
    def tag(self) -> str:
        """Return the entry's tag in its folder (buildx' ``client/ociindex``)."""
        return self.get("tag") or "latest"

    def missing(self, variables: Collection[str]) -> str:
        """Return the missing variables without which Buildx leaves the entry out; empty if none is missing."""
        return self.backend.missing(dict(self.attributes), variables)

    def is_source(self, source: str) -> bool:
        """Return whether ``source`` is BuildKit's name for this import."""
        return bool(source) and self.backend.is_source(dict(self.attributes), source)

    def is_named_by(self, error: str) -> bool:
        """Return whether an error names the entry's address."""
        return self.backend.is_named_by(dict(self.attributes), error)


@dataclass(frozen=True, kw_only=True)
class ScopedCache:
    """The cache of a build in one location; the platform's separate cache if ``platform`` is set."""

    backend: ScopedBackend
    location: Location
    platform: str = ""

    @property
    def image(self) -> str:
        """Return the image that holds the cache, else the empty string."""
        return self.location.references(self.platform)[0] if self.backend.is_in_image else ""

    def imports(self) -> tuple[CacheEntry, ...]:
        """Return the entries to read: the build's own scope first, then the fallbacks."""
        found = self.backend.imports(self.location, self.platform)
        return tuple(CacheEntry(type=self.backend.imported_as, attributes=pairs) for pairs in found)

    def exports(self, style: ExportStyle) -> tuple[CacheEntry, ...]:
        """Return the entries to write: the build's own scope only."""
        pairs = self.backend.exports(self.location, self.platform, style)
        return (CacheEntry(type=self.backend.type, attributes=pairs),)


_SECRETS = frozenset(name for backend in BACKENDS.values() for name in backend.secrets)


def secret_values(text: str) -> Iterator[str]:
    """Yield the secret values in an entry's text: the backends' secret attributes, and other secret names."""
    return (value for key, value in _fields(text) if _is_secret(key, value))


def redacted_entry(text: str) -> str:
    """Redact the secret values in an entry's text."""
    text = redact(text)
    fields = _fields(text)
    if not any(_is_secret(key, value) for key, value in fields):
        return text
    return to_csv([f"{key}={HIDDEN if _is_secret(key, value) else value}" for key, value in fields])


def _fields(text: str) -> Pairs:
    try:
        return from_csv(text, option="")
    except UsageError:
        return ()


def _is_secret(key: str, value: str) -> bool:
    return value not in ("", HIDDEN) and (key.lower() in _SECRETS or is_secret_name(key))
