"""Walk from roots to every reachable blob, in a folder or in a registry.

Read each document once, at any depth, and compare its SHA-256: its content is what its writer wrote, or the walk
records an obstacle. Entries are distinguished by media type, never by position, so that both structures of cache
manifests, nested indexes, and Docker's and OCI's types are one case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from buildx_cache.layout.index import index_entries
from buildx_cache.layout.model import (
    DOCUMENTS_LIMIT,
    FINDINGS_LIMIT,
    TAGS_LIMIT,
    Descriptor,
    Finding,
    FindingKind,
    Role,
)
from buildx_cache.layout.parse import (
    IMAGE_NAME,
    INDEX_TAG,
    MalformedError,
    annotations_of,
    count_values,
    descriptor,
    is_digest,
    items,
    parse_object,
    shown,
    shown_tag,
)
from buildx_cache.layout.store import INDEX, Store


@dataclass(frozen=True, kw_only=True)
class WalkLimits:
    """The most that a walk reads and follows; beyond, the graph has an obstacle.

    ``documents``, ``document_bytes`` and ``values`` limit all manifests together, and all configs together; one
    document has at most :data:`buildx_cache.layout.model.DOCUMENT_LIMIT` bytes. ``values`` are counted by commas before
    decoding: a real document of 8 MiB has some 300,000 values; a hostile one has four million, parsed in a minute.
    """

    roots: int = TAGS_LIMIT
    documents: int = 10_000
    document_bytes: int = DOCUMENTS_LIMIT
    values: int = 2_000_000
    blobs: int = 100_000


FOLDER_LIMITS = WalkLimits()


class DocumentSource(Protocol):
    """A folder or a repository that documents are read from."""

    def fetch(self, of: Descriptor) -> bytes:
        """Read a document and compare its digest.

        Raises:
            MalformedError: the document is absent, too large, or corrupt.
        """

    def has(self, digest: str) -> bool:
        """Return whether the subject of a manifest is present, and is kept together with the manifest."""


@dataclass(frozen=True, kw_only=True)
class Root:
    """The start of a walk: the entry of index.json at ``position``, or a tag; ``referrer`` names it in findings."""

    position: int
    descriptor: Descriptor
    referrer: str


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The result of a walk.

    ``children`` maps the digest of each document that was read to the descriptors in it. ``links`` maps each descriptor
    to its referrers. ``obstacles`` are the findings that make the graph incomplete. ``index`` is the index.json with
    the roots.
    """

    roots: tuple[Root, ...]
    children: Mapping[str, tuple[Descriptor, ...]]
    links: Mapping[Descriptor, tuple[str, ...]]
    findings: tuple[Finding, ...]
    obstacles: tuple[Finding, ...]
    index: bytes = b""

    def leaves_first(self) -> Iterator[str]:
        """Yield the digest of every document with children, after its children.

        There is no cycle, as a document's digest covers the digests in it; a cycle would be cut somewhere.
        """
        opened: set[str] = set()
        waiting = [(root.descriptor.digest, False) for root in self.roots]
        while waiting:
            digest, is_done = waiting.pop()
            if is_done:
                yield digest
            elif digest not in opened and (children := self.children.get(digest)):
                opened.add(digest)
                waiting.append((digest, True))
                waiting += [(inner, False) for inner in {child.digest for child in children} - opened]


class FindingList:
    """Collect findings in order: each fault of a blob once, whatever its referrer, up to ``FINDINGS_LIMIT``."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], Finding] = {}

    def add(self, finding: Finding) -> None:
        """Add a finding unless it is there already."""
        place = (finding.blob,) if is_digest(finding.blob) else (finding.blob, finding.referrer)
        if len(self._found) < FINDINGS_LIMIT:
            self._found.setdefault((*place, finding.problem), finding)
        elif len(self._found) == FINDINGS_LIMIT:
            self._found[()] = MalformedError(FindingKind.MORE, "there are more findings than are listed").at(INDEX)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())


def walk(store: Store, index: bytes | None = None) -> Graph:
    """Follow every root of ``index`` (default: the folder's). Record a finding for what cannot be followed."""
    found = _Walk(source=store, limits=FOLDER_LIMITS)
    try:
        content = store.read_index() if index is None else index
    except MalformedError as error:
        found.obstacle(
            error, INDEX, "", kind=FindingKind.ABSENT if error.kind is FindingKind.MISSING else FindingKind.INDEX
        )
        return found.run(())
    return replace(found.run(_index_roots(content, found)), index=content)


def follow(root: Root, source: DocumentSource, limits: WalkLimits) -> Graph:
    """Follow one root. Record a finding for what cannot be followed."""
    return _Walk(source=source, limits=limits).run((root,))


def _index_roots(content: bytes, walk: _Walk) -> list[Root]:
    try:
        entries = index_entries(content)
    except MalformedError as error:
        walk.obstacle(error, INDEX, "", kind=FindingKind.INDEX)
        return []
    most = walk.limits.roots
    if len(entries) > most:
        walk.obstacle(MalformedError(FindingKind.INDEX, f"has more than {most} entries"), INDEX, "")
    roots: list[Root] = []
    names: set[tuple[str, str]] = set()
    for position, entry in enumerate(entries[:most]):
        try:
            found = descriptor(entry)
        except MalformedError as error:
            # No digest covers index.json: an unknown entry there is damage.
            walk.obstacle(error, f"manifests[{position}]", INDEX, kind=FindingKind.DESCRIPTOR)
            continue
        referrer = f"{INDEX}, tag {shown_tag(found.tag)}" if found.tag else INDEX
        roots.append(Root(position=position, descriptor=found, referrer=referrer))
        annotations = annotations_of(entry) if isinstance(entry, dict) else {}
        name = (annotations.get(INDEX_TAG, ""), annotations.get(IMAGE_NAME, ""))
        if any(name) and name in names:
            problem = f"the tag {shown(found.tag)} is given more than once; the first is used"
            walk.findings.add(MalformedError(FindingKind.DUPLICATE_TAG, problem).at(found.digest, INDEX))
        names.add(name)
    return roots


@dataclass(kw_only=True)
class _Walk:
    source: DocumentSource
    limits: WalkLimits
    children: dict[str, tuple[Descriptor, ...]] = field(default_factory=dict)
    links: dict[Descriptor, dict[str, None]] = field(default_factory=dict)
    findings: FindingList = field(default_factory=FindingList)
    obstacles: FindingList = field(default_factory=FindingList)
    digests: set[str] = field(default_factory=set)
    bytes_read: int = 0
    values_read: int = 0

    def run(self, roots: Sequence[Root]) -> Graph:
        for root in roots:
            self.links.setdefault(_untagged(root.descriptor), {})[root.referrer] = None
            self.digests.add(root.descriptor.digest)
        queue = [root.descriptor for root in roots]
        for found in queue:
            queue += self._expand(found)
        return Graph(
            roots=tuple(roots),
            children=self.children,
            links={found: tuple(by) for found, by in self.links.items()},
            findings=tuple(self.findings),
            obstacles=tuple(self.obstacles),
        )

    def obstacle(self, error: MalformedError, blob: str, referrer: str, *, kind: FindingKind | None = None) -> None:
        finding = error.at(blob, referrer, kind=kind)
        self.findings.add(finding)
        self.obstacles.add(finding)

    def _expand(self, parent: Descriptor) -> list[Descriptor]:
        """Read ``parent`` unless it was read before; return the documents among its children."""
        if not parent.role.refers or parent.digest in self.children:
            return []
        self.children[parent.digest] = ()
        try:
            found = list(self._named(self._document(parent), parent))
            self._count(found)
        except MalformedError as error:
            self.obstacle(error, parent.digest, next(iter(self.links[_untagged(parent)])))
            return []
        self.children[parent.digest] = tuple(found)
        for child in found:
            self.links.setdefault(_untagged(child), {})[parent.digest] = None
        return [child for child in found if child.role.refers]

    def _count(self, found: list[Descriptor]) -> None:
        new = {child.digest for child in found} - self.digests
        if len(self.digests) + len(new) > self.limits.blobs:
            raise MalformedError(FindingKind.MORE, f"leads to more than {self.limits.blobs} blobs, with others")
        self.digests |= new

    def _document(self, of: Descriptor) -> Mapping[str, object]:
        if len(self.children) > self.limits.documents:
            raise MalformedError(FindingKind.MORE, f"comes after {self.limits.documents} other manifests")
        content = self.source.fetch(of)
        self.bytes_read += len(content)
        if self.bytes_read > self.limits.document_bytes:
            raise MalformedError(FindingKind.MORE, f"comes after {self.limits.document_bytes} bytes of other manifests")
        self.values_read += count_values(content)
        if self.values_read > self.limits.values:
            raise MalformedError(FindingKind.MORE, f"has more than {self.limits.values} values, with other manifests")
        document = parse_object(content)
        if document.get("mediaType", of.media_type) != of.media_type:
            raise MalformedError(FindingKind.DOCUMENT, "says another media type than what names it")
        return document

    def _named(self, document: Mapping[str, object], parent: Descriptor) -> Iterator[Descriptor]:
        """Yield every descriptor in a document. Record a malformed one as an obstacle and go on."""
        needed = "manifests" if parent.role is Role.INDEX else "config"
        if needed not in document:
            error = MalformedError(FindingKind.DOCUMENT, f"has no {needed!r}")
            self.obstacle(error, parent.digest, next(iter(self.links[_untagged(parent)])))
        entries = [("config", document["config"])] if "config" in document else []
        for key in ("manifests", "layers"):
            entries += [(f"{key}[{place}]", value) for place, value in enumerate(items(document, key))]
        bad = 0
        for place, value in entries:
            try:
                yield descriptor(value)
            except MalformedError as error:
                bad += 1
                if bad > FINDINGS_LIMIT:
                    problem = f"has more than {FINDINGS_LIMIT} entries that are no descriptors"
                    raise MalformedError(FindingKind.MORE, problem) from None
                self.obstacle(error, place, parent.digest)
        if document.get("subject") is not None:  # a manifest's subject (image-spec 1.1) may be absent
            subject = descriptor(document["subject"])
            if self.source.has(subject.digest):
                yield subject


def _untagged(found: Descriptor) -> Descriptor:
    return replace(found, tag="") if found.tag else found
