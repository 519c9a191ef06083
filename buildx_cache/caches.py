"""Where a build's cache comes from and goes to: Buildx' ``--cache-from`` and ``--cache-to`` entries.

One class a kind of cache; each gives its import and export entries. Entries are validated here because
BuildKit ignores a misspelt attribute, and takes a misspelt ``mode`` for ``min``, without a word.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from buildx_cache.cache_tags import cache_tag, tag_for_platform
from buildx_cache.errors import UsageError
from buildx_cache.reference import Reference, parse_reference


class CacheKind(StrEnum):
    """How layers are carried from one build to the next."""

    AUTO = "auto"
    LOCAL = "local"
    REGISTRY = "registry"
    INLINE = "inline"
    NONE = "none"


class CacheMode(StrEnum):
    """Which layers an export holds: those of the final image, or those of every stage."""

    MIN = "min"
    MAX = "max"


class Compression(StrEnum):
    """How an export's layers are compressed."""

    GZIP = "gzip"
    ZSTD = "zstd"
    ESTARGZ = "estargz"
    UNCOMPRESSED = "uncompressed"


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """One ``--cache-from`` or ``--cache-to`` value: a type and its attributes, in order."""

    type: str
    attributes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return to_csv([f"type={self.type}", *(f"{key}={value}" for key, value in self.attributes)])

    def get(self, key: str) -> str:
        """The attribute's value, or the empty string."""
        return dict(self.attributes).get(key, "")

    @property
    def place(self) -> str:
        """What people call this entry: its reference or folder, else its type."""
        return self.get("ref") or self.get("src") or self.get("dest") or self.type

    @property
    def tag(self) -> str:
        """Which of a folder's tags a local entry is about (buildx' ``client/ociindex``)."""
        return self.get("tag") or "latest"


_EXPORT = ("mode", "ignore-error", "compression", "compression-level", "force-compression")
_OBJECTS = ("endpoint_url", "blobs_prefix", "manifests_prefix", "name")
_S3 = ("bucket", "region", "prefix", "use_path_style", "access_key_id", "secret_access_key", "session_token")
_AZURE = ("account_url", "account_name", "container", "prefix", "secret_access_key")
_GHA = ("url", "url_v2", "token", "scope", "timeout", "version", "ghtoken", "repository")

# Attributes by type, from BuildKit's README ("Export cache") and cache/remotecache/*/*.go.
IMPORT_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "registry": ("ref", "registry.insecure"),
    "local": ("src", "digest", "tag"),
    "gha": _GHA,
    "s3": (*_S3, *_OBJECTS),
    "azblob": (*_AZURE, *_OBJECTS),
}
EXPORT_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "registry": ("ref", "registry.insecure", "oci-mediatypes", "image-manifest", *_EXPORT),
    "local": ("dest", "tag", "oci-mediatypes", "image-manifest", "reset", *_EXPORT),
    "inline": ("mode",),
    "gha": (*_GHA, "mode", "ignore-error"),
    "s3": (*_S3, *_OBJECTS, "touch_refresh", "upload_parallelism", *_EXPORT),
    "azblob": (*_AZURE, *_OBJECTS, *_EXPORT),
}
_REQUIRED_IMPORT = {"registry": "ref", "local": "src", "s3": "bucket", "azblob": "name"}
_REQUIRED_EXPORT = {"registry": "ref", "local": "dest", "s3": "bucket", "azblob": "name"}
_ATTRIBUTE_VALUES: Mapping[str, tuple[str, ...]] = {
    "mode": tuple(CacheMode),
    "compression": tuple(Compression),
    "ignore-error": ("true", "false"),
    "oci-mediatypes": ("true", "false"),
    "image-manifest": ("true", "false"),
    "force-compression": ("true", "false"),
    "registry.insecure": ("true", "false"),
    "reset": ("true", "false"),
}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def to_csv(fields: Sequence[str]) -> str:
    """Join ``key=value`` fields as one CSV record, quoted where a value needs it: Buildx' own syntax.

    Not by ``csv.writer``, which before Python 3.13 leaves a field with a line break unquoted.
    """
    return ",".join(map(_quoted, fields))


def _quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"' if re.search(r'[",\r\n]', field) else field


def from_csv(text: str, *, option: str) -> tuple[tuple[str, str], ...]:
    """Split one CSV record into ``(key, value)`` pairs; a field without ``=`` has an empty value.

    Raises:
        UsageError: the record's quotes are wrong.
    """
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UsageError(
            f"{option} {text!r} is not a list of KEY=VALUE: {error}",
            hint='quote a whole field that holds a comma: type=local,"src=a,b"',
        ) from None
    pairs = (field.partition("=") for row in rows for field in row)
    return tuple((key.strip(), value) for key, _, value in pairs)


def closest(word: str, words: Sequence[str]) -> str:
    """A hint naming the nearest right word, or all of them."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {str(near[0])!r}?" if near else "use one of: " + ", ".join(words)


def parse_import(text: str) -> CacheEntry:
    """Read a ``--cache-from`` value; a bare image reference means ``type=registry``.

    Raises:
        UsageError: an unknown type, attribute or value, or a missing one.
    """
    return _parse(text, "--cache-from", IMPORT_ATTRIBUTES, _REQUIRED_IMPORT)


def parse_export(text: str) -> CacheEntry:
    """Read a ``--cache-to`` value; ``inline`` alone means ``type=inline``.

    Raises:
        UsageError: an unknown type, attribute or value, or a missing one.
    """
    return _parse(text, "--cache-to", EXPORT_ATTRIBUTES, _REQUIRED_EXPORT)


def _parse(text: str, option: str, known: Mapping[str, tuple[str, ...]], required: Mapping[str, str]) -> CacheEntry:
    if "=" not in text:
        return _shorthand(text, option, known)
    pairs = from_csv(text, option=option)
    kind = dict(pairs).get("type", "")
    if kind not in known:
        what = f"has no cache type {kind!r}" if kind else "names no type"
        raise UsageError(f"{option} {text!r} {what}", hint=closest(kind, list(known)))
    entry = CacheEntry(type=kind, attributes=tuple((key, value) for key, value in pairs if key != "type"))
    for key, value in entry.attributes:
        _check_attribute(option, kind, key, value, known[kind])
    if (need := required.get(kind)) and not entry.get(need):
        raise UsageError(f"{option} {text!r} has no {need}=", hint=f"add {need}=… to it")
    return entry


def _shorthand(text: str, option: str, known: Mapping[str, tuple[str, ...]]) -> CacheEntry:
    if text in ("inline", "gha"):
        if text not in known:
            raise UsageError(
                f"{option} {text!r} has no cache type {text!r}", hint="give the image: type=registry,ref=…"
            )
        return CacheEntry(type=text)
    parse_reference(text)
    return CacheEntry(type="registry", attributes=(("ref", text),))


def _check_attribute(option: str, kind: str, key: str, value: str, known: tuple[str, ...]) -> None:
    if key not in known:
        raise UsageError(f"{option} type={kind} has no attribute {key!r}", hint=closest(key, known))
    values = _ATTRIBUTE_VALUES.get(key, ())
    if values and value not in values:
        raise UsageError(f"{option}: {key}={value!r} is not a value of {key}", hint=closest(value, values))
    if key == "ref":
        parse_reference(value)
    if key == "digest" and not _DIGEST.fullmatch(value):
        raise UsageError(
            f"{option}: digest={value!r} is not a digest", hint="write sha256: and 64 hexadecimal digits, in lower case"
        )
    if kind == "inline" and key == "mode" and value != CacheMode.MIN:
        raise UsageError("an inline cache has only mode=min", hint="use a registry or local cache for mode=max")


@dataclass(frozen=True, kw_only=True)
class ExportStyle:
    """What all exports of one build share."""

    mode: CacheMode = CacheMode.MAX
    compression: Compression | None = None
    ignore_error: bool = True

    def attributes(self) -> tuple[tuple[str, str], ...]:
        """The attributes in Buildx' syntax, BuildKit's own defaults left out."""
        pairs = [("mode", self.mode.value)]
        if self.compression:
            pairs.append(("compression", self.compression.value))
        if self.ignore_error:
            pairs.append(("ignore-error", "true"))
        return tuple(pairs)


@dataclass(frozen=True, kw_only=True)
class LocalCache:
    """A folder in OCI layout, interchangeable with plain Buildx: its tag is ``latest``."""

    directory: str

    def imports(self) -> tuple[CacheEntry, ...]:
        """The folder itself."""
        return (CacheEntry(type="local", attributes=(("src", self.directory),)),)

    def exports(self, style: ExportStyle) -> tuple[CacheEntry, ...]:
        """The folder itself."""
        return (CacheEntry(type="local", attributes=(("dest", self.directory), *style.attributes())),)


@dataclass(frozen=True, kw_only=True)
class RegistryCache:
    """A cache manifest in a registry: written to the first of ``references``, read from all of them.

    ``image_manifest`` asks for a cache manifest shaped like an image, which ECR, Harbor, Quay and Artifactory
    need; BuildKit 0.12 to 0.20 writes that only when told (its default since 0.21).
    """

    references: tuple[str, ...]
    image_manifest: bool = False

    def imports(self) -> tuple[CacheEntry, ...]:
        """Own scope first, then the fallbacks."""
        return _registry_imports(self.references)

    def exports(self, style: ExportStyle) -> tuple[CacheEntry, ...]:
        """Own scope only."""
        shape = (("image-manifest", "true"), ("oci-mediatypes", "true")) if self.image_manifest else ()
        place = (("ref", self.references[0]), *shape)
        return (CacheEntry(type="registry", attributes=(*place, *style.attributes())),)


@dataclass(frozen=True, kw_only=True)
class InlineCache:
    """The cache inside the pushed image's own configuration; only the final stage's layers (``min``).

    The first of ``images`` is the one that is pushed, the others are those that earlier builds pushed.
    """

    images: tuple[str, ...]

    def imports(self) -> tuple[CacheEntry, ...]:
        """Own scope first, then the fallbacks."""
        return _registry_imports(self.images)

    def exports(self, style: ExportStyle) -> tuple[CacheEntry, ...]:
        """One entry without a place or a style: it travels with the image."""
        del style
        return (CacheEntry(type="inline"),)


def _registry_imports(references: tuple[str, ...]) -> tuple[CacheEntry, ...]:
    return tuple(CacheEntry(type="registry", attributes=(("ref", ref),)) for ref in references)


Cache = LocalCache | RegistryCache | InlineCache


@dataclass(frozen=True, kw_only=True)
class ScopedRepository:
    """A repository that holds the caches of several scopes: ``repository:buildcache-<scope>[-<platform>]``.

    Where ``repository`` has a tag of its own, that one reference is the cache of every scope.
    """

    repository: Reference
    scopes: tuple[str, ...]

    def references(self, platform: str = "") -> tuple[Reference, ...]:
        """The scopes' references, the one to write first; of one platform's own caches where it is named."""
        tags = dict.fromkeys(self._tags(platform))
        return tuple(dataclasses.replace(self.repository, tag=tag, digest="") for tag in tags)

    def _tags(self, platform: str) -> Iterable[str]:
        own = self.repository.tag
        if own:
            return (tag_for_platform(own, platform) if platform else own,)
        return (cache_tag(scope, platform) for scope in self.scopes)
