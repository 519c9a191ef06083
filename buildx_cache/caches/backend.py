"""Define ``CacheBackend``: one class a kind of cache, which has all that depends on the kind."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from buildx_cache.cache_tags import tag_for_platform
from buildx_cache.errors import UsageError
from buildx_cache.reference import Reference

# As alike as `ignore-errors` and `ignore-error`, or `dst` and `dest`.
_LIKELY = 0.75


def to_csv(fields: Sequence[str]) -> str:
    """Join ``key=value`` fields to one CSV record, which is Buildx' syntax; quote fields as needed.

    ``csv.writer`` is no help: before Python 3.13 it does not quote a field with a line break.
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
            code="cache-entry-malformed",
            hint='quote a whole field that holds a comma: type=local,"src=a,b"',
        ) from None
    pairs = (field.partition("=") for row in rows for field in row)
    return tuple((key.strip(), value) for key, _, value in pairs)


def closest(word: str, words: Sequence[str]) -> str:
    """Return a hint with the valid word nearest to ``word``, else with all valid words."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {str(near[0])!r}?" if near else "use one of: " + ", ".join(words)


def is_misspelling(word: str, words: Sequence[str]) -> bool:
    """Return whether ``word`` is probably a misspelling of one of ``words``, rather than a new word."""
    return bool(difflib.get_close_matches(word, words, n=1, cutoff=_LIKELY))


Pairs = tuple[tuple[str, str], ...]
"""The attributes of an entry, in order."""
Attributes = Mapping[str, str]


class CacheKind(StrEnum):
    """The values of ``--cache``: where the layers are kept for the next build."""

    AUTO = "auto"
    LOCAL = "local"
    REGISTRY = "registry"
    INLINE = "inline"
    NONE = "none"


class CacheMode(StrEnum):
    """The layers in an export: those of the final image (``min``), or those of all stages (``max``)."""

    MIN = "min"
    MAX = "max"


class Compression(StrEnum):
    """The compression of an export's layers."""

    GZIP = "gzip"
    ZSTD = "zstd"
    ESTARGZ = "estargz"
    UNCOMPRESSED = "uncompressed"


class CacheBackend(Protocol):
    """A kind of cache: one class a kind, with one stateless instance."""

    type: ClassVar[str]
    """Buildx' name of the kind."""
    import_attributes: ClassVar[tuple[str, ...]] = ()
    """Attributes of ``--cache-from``; empty: BuildKit cannot import such a cache."""
    export_attributes: ClassVar[tuple[str, ...]]
    """Attributes of ``--cache-to``, without those that BuildKit ignores."""
    required_import: ClassVar[str] = ""
    required_export: ClassVar[str] = ""
    secrets: ClassVar[tuple[str, ...]] = ()
    """The attributes whose values are never shown."""
    modes: ClassVar[tuple[CacheMode, ...]] = tuple(CacheMode)
    exporters: ClassVar[tuple[str, ...]]
    """BuildKit's names for the vertex of an export, older names last."""
    is_folder: ClassVar[bool] = False
    """True: the cache is a folder of this host."""
    is_in_image: ClassVar[bool] = False
    """True: the image holds the cache, and BuildKit reports no vertex for its export."""
    is_pushed: ClassVar[bool] = False
    """True: an export pushes to an image registry."""
    borrows_login: ClassVar[bool] = False
    """True: Buildx adds the caller's credentials from the environment."""
    left_out: ClassVar[str] = ""
    """A clause that says when Buildx silently leaves an entry out; empty if Buildx never does."""

    def place(self, attributes: Attributes) -> str:
        """Return the cache's name for people: its reference, folder or object."""
        ...

    def store(self, attributes: Attributes) -> str:
        """Return the repository, bucket or folder of the cache; if it denies one export, it denies all others."""
        return self.place(attributes)

    def host(self, attributes: Attributes) -> str:
        """Return the cache's server, or ""; if it does not answer for one cache, it does not answer for any."""
        del attributes
        return ""

    def folder(self, attributes: Attributes) -> str:
        """Return the cache's folder on this host, or the empty string."""
        del attributes
        return ""

    def missing(self, attributes: Attributes, variables: Collection[str]) -> str:
        """Return the missing variables without which Buildx leaves the entry out; empty if none is missing.

        Args:
            attributes: the attributes of the entry.
            variables: the names of the variables that are set.
        """
        del attributes, variables
        return ""

    def is_source(self, attributes: Attributes, source: str) -> bool:
        """Return whether the vertex ``importing cache manifest from SOURCE`` imports this cache.

        For all kinds but ``registry``, BuildKit's ``SOURCE`` is a hash of the attributes (``cmKey`` in
        ``llbsolver/bridge.go``), which names no entry.
        """
        del attributes, source
        return False

    def is_named_by(self, attributes: Attributes, error: str) -> bool:
        """Return whether an error names the address of this cache."""
        del attributes, error
        return False


@dataclass(frozen=True, kw_only=True)
class ExportStyle:
    """The options that all exports of a build share."""

    mode: CacheMode = CacheMode.MAX
    compression: Compression | None = None
    ignore_error: bool = True

    def attributes(self) -> Pairs:
        """Return the attributes in Buildx' syntax, without values that are BuildKit's defaults."""
        pairs = [("mode", self.mode.value)]
        if self.compression:
            pairs.append(("compression", self.compression.value))
        if self.ignore_error:
            pairs.append(("ignore-error", "true"))
        return tuple(pairs)


@dataclass(frozen=True, kw_only=True)
class Location:
    """The location of a build's cache: a folder with tags, or references; the first one is written."""

    directory: str = ""
    tags: tuple[str, ...] = ("",)
    """The tags in the folder; an empty tag stands for ``latest``, Buildx' default."""
    repository: tuple[Reference, ...] = ()
    """The references, with tags."""
    asks_image_manifest: bool = False
    """True: this BuildKit (0.12 to 0.20) writes an image manifest only with ``image-manifest=true``.

    ECR, Harbor, Quay and Artifactory accept no other shape.
    """

    def references(self, platform: str) -> tuple[str, ...]:
        """Return the references, the one to write first; for the platform's separate caches if ``platform`` is set."""
        found = (
            dataclasses.replace(each, tag=tag_for_platform(each.tag, platform) if platform else each.tag, digest="")
            for each in self.repository
        )
        return tuple(dict.fromkeys(map(str, found)))


class ScopedBackend(CacheBackend, Protocol):
    """A kind of cache that ``--cache`` chooses: it has entries for scopes and platforms."""

    imported_as: ClassVar[str]
    """The type of the import entries."""
    is_shared: ClassVar[bool]
    """Whether other jobs use the same cache: then a build of a single platform has a separate cache."""
    is_overwritten: ClassVar[bool]
    """Whether the nodes of a builder would overwrite each other's export: then each platform has a separate cache."""

    def imports(self, location: Location, platform: str) -> tuple[Pairs, ...]:
        """Return the attributes of the import entries: the build's own scope first, then the fallbacks."""
        return tuple((("ref", ref),) for ref in location.references(platform))

    def exports(self, location: Location, platform: str, style: ExportStyle) -> Pairs:
        """Return the attributes of the export entry, for the build's own scope."""
        ...
