"""Answer every question about a kind of cache: one ``CacheBackend`` a kind, and nobody else asks which kind it is."""

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
            code="cache-entry-malformed",
            hint='quote a whole field that holds a comma: type=local,"src=a,b"',
        ) from None
    pairs = (field.partition("=") for row in rows for field in row)
    return tuple((key.strip(), value) for key, _, value in pairs)


def closest(word: str, words: Sequence[str]) -> str:
    """Name the nearest right word in a hint, or all of them."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {str(near[0])!r}?" if near else "use one of: " + ", ".join(words)


def is_misspelling(word: str, words: Sequence[str]) -> bool:
    """Tell whether ``word`` is likely one of ``words`` mistyped, and not a word that is missing among them."""
    return bool(difflib.get_close_matches(word, words, n=1, cutoff=_LIKELY))


Pairs = tuple[tuple[str, str], ...]
"""An entry's attributes, in order."""
Attributes = Mapping[str, str]


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


class CacheBackend(Protocol):
    """A kind of cache: one class a kind, with one stateless instance."""

    type: ClassVar[str]
    """Buildx' name of it."""
    import_attributes: ClassVar[tuple[str, ...]] = ()
    """Attributes of ``--cache-from``; empty: BuildKit cannot import such a cache."""
    export_attributes: ClassVar[tuple[str, ...]]
    """Attributes of ``--cache-to``, but for those that BuildKit ignores."""
    required_import: ClassVar[str] = ""
    required_export: ClassVar[str] = ""
    secrets: ClassVar[tuple[str, ...]] = ()
    """The attributes whose values are never shown."""
    modes: ClassVar[tuple[CacheMode, ...]] = tuple(CacheMode)
    exporters: ClassVar[tuple[str, ...]]
    """The names that BuildKit gives the vertex of an export, the older ones last."""
    is_folder: ClassVar[bool] = False
    """True: the cache is a folder of this host."""
    is_in_image: ClassVar[bool] = False
    """True: the image holds the cache, and BuildKit reports no vertex for its export."""
    is_pushed: ClassVar[bool] = False
    """True: an export pushes to an image registry."""
    borrows_login: ClassVar[bool] = False
    """True: Buildx adds the caller's credentials from the environment."""
    left_out: ClassVar[str] = ""
    """When Buildx leaves an entry out without a word; empty where it never does."""

    def place(self, attributes: Attributes) -> str:
        """Return what people call the cache: its reference, folder or object."""
        ...

    def store(self, attributes: Attributes) -> str:
        """Return the repository, bucket or folder of the cache: where one export is denied, all others there are."""
        return self.place(attributes)

    def host(self, attributes: Attributes) -> str:
        """Return the server of the cache, as far as an entry says so: what is silent once is so for all on it."""
        del attributes
        return ""

    def folder(self, attributes: Attributes) -> str:
        """Return the folder of this host that the cache is in, or the empty string."""
        del attributes
        return ""

    def missing(self, attributes: Attributes, variables: Collection[str]) -> str:
        """Name the variables for want of which Buildx leaves the entry out; empty where it does not.

        Args:
            attributes: of the entry.
            variables: those that are set.
        """
        del attributes, variables
        return ""

    def is_source(self, attributes: Attributes, source: str) -> bool:
        """Tell whether ``importing cache manifest from SOURCE`` is this very cache.

        BuildKit names all but registries' caches by a hash of their attributes (``cmKey`` in ``llbsolver/bridge.go``).
        """
        del attributes, source
        return False

    def is_named_by(self, attributes: Attributes, error: str) -> bool:
        """Tell whether an error names the address of this cache."""
        del attributes, error
        return False


@dataclass(frozen=True, kw_only=True)
class ExportStyle:
    """Options that all exports of one build share."""

    mode: CacheMode = CacheMode.MAX
    compression: Compression | None = None
    ignore_error: bool = True

    def attributes(self) -> Pairs:
        """Return the attributes in Buildx' syntax, BuildKit's own defaults left out."""
        pairs = [("mode", self.mode.value)]
        if self.compression:
            pairs.append(("compression", self.compression.value))
        if self.ignore_error:
            pairs.append(("ignore-error", "true"))
        return tuple(pairs)


@dataclass(frozen=True, kw_only=True)
class Location:
    """A place for the cache of a build: tags of a folder, or references; the one to write first."""

    directory: str = ""
    tags: tuple[str, ...] = ("",)
    """The folder's tags; an empty one stands for ``latest``, which Buildx itself reads and writes."""
    repository: tuple[Reference, ...] = ()
    """With their tags."""
    asks_image_manifest: bool = False
    """True: this BuildKit (0.12 to 0.20) writes an image manifest only with ``image-manifest=true``.

    ECR, Harbor, Quay and Artifactory accept no other shape.
    """

    def references(self, platform: str) -> tuple[str, ...]:
        """Return the references, the one to write first; of one platform's own caches where it is named."""
        found = (
            dataclasses.replace(each, tag=tag_for_platform(each.tag, platform) if platform else each.tag, digest="")
            for each in self.repository
        )
        return tuple(dict.fromkeys(map(str, found)))


class ScopedBackend(CacheBackend, Protocol):
    """A kind of cache that ``--cache`` chooses: it has entries for scopes and platforms."""

    imported_as: ClassVar[str]
    """The type of its import entries."""
    is_shared: ClassVar[bool]
    """Whether other jobs read and write it: each platform that is built alone keeps its own cache."""
    is_overwritten: ClassVar[bool]
    """Whether each node of a builder would overwrite what another exported: each platform keeps its own."""

    def imports(self, location: Location, platform: str) -> tuple[Pairs, ...]:
        """Return the import entries: own scope first, then the fallbacks."""
        return tuple((("ref", ref),) for ref in location.references(platform))

    def exports(self, location: Location, platform: str, style: ExportStyle) -> Pairs:
        """Return the export entry: of the own scope only."""
        ...
