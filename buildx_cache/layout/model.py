"""The values that describe a layout folder: its tags and blobs, its faults, the results of upkeep, sets of blobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path


class Numbering:
    """Give each blob of a folder a number: its bit in a set."""

    def __init__(self, digests: Iterable[str]) -> None:
        self._names = tuple(dict.fromkeys(digests))
        self._numbers = {digest: number for number, digest in enumerate(self._names)}

    def bits(self, digests: Iterable[str]) -> int:
        """Return the set of the ``digests`` that have a number; the others are left out."""
        found = bytearray(len(self._names) // 8 + 1)
        for digest in digests:
            number = self._numbers.get(digest)
            if number is not None:
                found[number >> 3] |= 1 << (number & 7)
        return int.from_bytes(found, "little")

    def names(self, bits: int) -> Iterator[str]:
        """Yield the digests in a set."""
        text = bin(bits)[:1:-1]
        place = text.find("1")
        while place >= 0:
            yield self._names[place]
            place = text.find("1", place + 1)


@dataclass(frozen=True, kw_only=True)
class BlobSet:
    """The digests of some blobs of a folder."""

    numbering: Numbering
    bits: int

    def __iter__(self) -> Iterator[str]:
        return self.numbering.names(self.bits)

    def __contains__(self, digest: str) -> bool:
        return bool(self.bits & self.numbering.bits([digest]))


class Weights:
    """A whole number for each blob, summed over a set with one operation a binary digit, not one a blob."""

    def __init__(self, numbering: Numbering, weights: Mapping[str, int]) -> None:
        digits = max(weights.values(), default=0).bit_length()
        self._planes = tuple(
            numbering.bits(digest for digest, weight in weights.items() if weight >> digit & 1)
            for digit in range(digits)
        )

    def of(self, bits: int) -> int:
        """Return the sum over a set."""
        return sum((bits & plane).bit_count() << digit for digit, plane in enumerate(self._planes))


IMPORT_LIMIT = 1 << 20
"""The largest cache manifest or cacheconfig that BuildKit imports, in bytes (``cache/remotecache/import.go``)."""

DOCUMENT_LIMIT = 8 << 20
"""The largest index, manifest or config that is read, in bytes: containerd's limit for a manifest."""

DOCUMENTS_LIMIT = 128 << 20
"""The most bytes that are read of all manifests of one folder, and of all its configs."""

TAGS_LIMIT = 10_000
"""The most entries of index.json that are followed."""

LISTED_TAGS = 100
"""The most tags that are listed with a layer."""

FINDINGS_LIMIT = 1000
"""The most findings that are listed; beyond, one more of kind ``MORE`` ends the list."""

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Role(Enum):
    """The kind of a blob's content."""

    INDEX = "index"
    MANIFEST = "manifest"
    CACHE_CONFIG = "cache config"
    CONFIG = "config"
    LAYER = "layer"

    @property
    def refers(self) -> bool:
        """Return whether a blob with this role names other blobs."""
        return self in (Role.INDEX, Role.MANIFEST)


_OCI = "application/vnd.oci.image"
_DOCKER = "application/vnd.docker"

# Everything BuildKit and containerd write (image-spec ``media-types.md``, containerd ``images/mediatypes.go``).
ROLES: Mapping[str, Role] = {
    OCI_INDEX: Role.INDEX,
    f"{_DOCKER}.distribution.manifest.list.v2+json": Role.INDEX,
    OCI_MANIFEST: Role.MANIFEST,
    f"{_DOCKER}.distribution.manifest.v2+json": Role.MANIFEST,
    CACHE_CONFIG: Role.CACHE_CONFIG,
    f"{_OCI}.config.v1+json": Role.CONFIG,
    f"{_DOCKER}.container.image.v1+json": Role.CONFIG,
    "application/vnd.oci.empty.v1+json": Role.CONFIG,
    "application/vnd.in-toto+json": Role.LAYER,
    **{f"{_OCI}.layer.v1.tar{suffix}": Role.LAYER for suffix in ("", "+gzip", "+zstd")},
    **{f"{_OCI}.layer.nondistributable.v1.tar{suffix}": Role.LAYER for suffix in ("", "+gzip", "+zstd")},
    **{f"{_DOCKER}.image.rootfs.diff.tar{suffix}": Role.LAYER for suffix in ("", ".gzip", ".zstd")},
    **{f"{_DOCKER}.image.rootfs.foreign.diff.tar{suffix}": Role.LAYER for suffix in ("", ".gzip", ".zstd")},
}


class Severity(StrEnum):
    """How serious a finding is."""

    NOTICE = "notice"
    """There is nothing to import, or the next export repairs the fault."""

    DAMAGE = "damage"
    """An import or an export may fail, or no later export repairs the fault."""


class FindingKind(StrEnum):
    """The kind of a fault."""

    ABSENT = "absent"
    LAYOUT = "layout"
    INDEX = "index"
    DESCRIPTOR = "descriptor"
    MEDIA_TYPE = "media-type"
    MISSING = "missing"
    NOT_A_FILE = "not-a-file"
    SIZE = "size"
    CONTENT = "content"
    UNREADABLE = "unreadable"
    DOCUMENT = "document"
    RECORDS = "records"
    TOO_LARGE = "too-large"
    DUPLICATE_TAG = "duplicate-tag"
    FOREIGN = "foreign"
    BUSY = "busy"
    MORE = "more"

    @property
    def severity(self) -> Severity:
        """Return how serious such a fault is."""
        return Severity.NOTICE if self in _NOTICES else Severity.DAMAGE


_NOTICES = frozenset(
    {
        FindingKind.ABSENT,
        FindingKind.MEDIA_TYPE,
        FindingKind.TOO_LARGE,
        FindingKind.DUPLICATE_TAG,
        FindingKind.FOREIGN,
        FindingKind.BUSY,
    }
)

_REBUILD = "build again: the next build sets it aside, keeps what is sound and writes the rest"

_REMEDIES: Mapping[FindingKind, str] = {
    FindingKind.ABSENT: "none needed: the next build writes it",
    FindingKind.INDEX: _REBUILD,
    FindingKind.LAYOUT: "check the path; if it is the cache, set the folder aside",
    FindingKind.MEDIA_TYPE: "check what wrote it; nothing is deleted from a folder that is not understood",
    FindingKind.UNREADABLE: "check the permissions and the disk",
    FindingKind.TOO_LARGE: (
        "build fewer steps into one cache (mode=min, or a tag per target): BuildKit does not import it"
    ),
    FindingKind.DUPLICATE_TAG: "none needed: the next export of the tag replaces all of them",
    FindingKind.FOREIGN: "move it away; until then nothing is deleted from the folder",
    FindingKind.BUSY: "try again when the other build is done",
    FindingKind.MORE: _REBUILD,
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault of a blob: ``blob`` is its digest, or a name in the folder; ``referrer`` names the blob."""

    kind: FindingKind
    blob: str
    referrer: str
    problem: str

    @property
    def severity(self) -> Severity:
        """Return how serious the fault is."""
        return self.kind.severity

    @property
    def remedy(self) -> str:
        """Return how the user can repair the fault."""
        return _REMEDIES.get(self.kind, _REBUILD)

    def __str__(self) -> str:
        by = f" (named by {self.referrer})" if self.referrer else ""
        return f"{self.blob}{by}: {self.problem}"


def damage_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that can make a build fail."""
    return tuple(finding for finding in findings if finding.severity is Severity.DAMAGE)


def damaged(findings: Iterable[Finding]) -> bool:
    """Return whether any finding can make a build fail."""
    return bool(damage_of(findings))


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """A reference to a blob, as written. ``size`` is in bytes, ``created`` in seconds since the epoch or None."""

    media_type: str
    digest: str
    size: int
    tag: str = ""
    created: float | None = None

    @property
    def role(self) -> Role:
        """Return the kind of the blob's content."""
        return ROLES[self.media_type]


class Shape(StrEnum):
    """The structure of the manifest or index that a tag points at."""

    IMAGE_MANIFEST = "image-manifest"
    """A manifest whose config is the cacheconfig (``image-manifest=true``)."""

    LAYER_LIST = "layer-list"
    """An index or manifest list of layer descriptors with the cacheconfig among them."""

    IMAGE = "image"
    """Anything else: an image, perhaps with an inline cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """A reachable blob. ``size`` is the declared one, in bytes; ``referrers`` are digests, or ``index.json``."""

    digest: str
    media_type: str
    size: int
    referrers: tuple[str, ...]
    created: float | None = None


@dataclass(frozen=True, kw_only=True)
class BuildNote:
    """The build that wrote a tag: its steps, how many ``more`` it had, the scope and the commit; empty if unknown.

    ``replaces`` is the key of the damaged folder that the build replaced; empty if it replaced none.
    """

    steps: tuple[str, ...]
    more: int = 0
    scope: str = ""
    commit: str = ""
    replaces: str = ""


@dataclass(frozen=True, kw_only=True)
class Tag:
    """One entry of index.json and the blobs that it keeps alive.

    ``live_bytes`` counts every blob below the tag, ``own_bytes`` the blobs below no other tag (both on disk).
    ``created`` is the newest time in the tag's cache records, ``written`` the modification time of its manifest; both
    in seconds since the epoch, None if unknown. ``records`` is None if no cacheconfig could be read.
    ``position`` is the entry's position in index.json. ``note`` tells of the build that wrote the tag, None if unknown.
    """

    name: str
    digest: str
    position: int
    shape: Shape
    closure: BlobSet
    layers: int
    records: int | None
    live_bytes: int
    own_bytes: int
    created: float | None
    written: float | None
    note: BuildNote | None = None

    @property
    def blobs(self) -> frozenset[str]:
        """Return the digests of all blobs below the tag. Each access computes the set again."""
        return frozenset(self.closure)

    @property
    def age_key(self) -> tuple[float, float]:
        """Return the key that sorts tags from the oldest: the time of the newest step, then of the manifest's file.

        The times in the records survive a copy; a CI cache may restore files with new times. A tag with neither time
        sorts first.
        """
        written = self.written or 0.0
        return (self.created or written, written)


@dataclass(frozen=True, kw_only=True)
class Reachability:
    """The reachable blobs of a folder, and how many are unreachable.

    Bytes are counted on disk. A non-empty ``obstacles`` says that some root could not be followed: the sets are then
    incomplete, and nothing may be deleted.
    """

    folder: Path
    tags: tuple[Tag, ...] = ()
    blobs: tuple[Blob, ...] = ()
    digests: frozenset[str] = frozenset()
    records: int = 0
    live_bytes: int = 0
    dead_blobs: int = 0
    dead_bytes: int = 0
    obstacles: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The blobs and partial writes that a sweep deleted, or with ``dry_run`` would delete.

    ``kept_*`` counts unreachable blobs that were too young to delete. A non-empty ``obstacles`` says why the sweep
    stopped: before the first deletion, unless a deletion itself failed.
    """

    blobs: tuple[str, ...] = ()
    blob_bytes: int = 0
    ingests: int = 0
    ingest_bytes: int = 0
    kept_blobs: int = 0
    kept_bytes: int = 0
    dry_run: bool = False
    obstacles: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EvictionResult:
    """The result of an eviction: the evicted tags, oldest first, and the sweep that followed.

    ``live_bytes`` counts the blobs that the remaining tags keep alive; ``over`` says that they exceed the limit.
    """

    dropped: tuple[str, ...]
    live_bytes: int
    over: bool
    swept: SweepResult
