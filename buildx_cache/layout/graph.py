"""The walk from index.json to every blob it leads to.

Each document is read once, whatever its depth, and its SHA-256 is compared: what follows from it is then what its
writer wrote, or an obstacle. Entries are told apart by media type, never by position, so that both shapes of cache
manifest, nested indexes, and Docker and OCI types are one case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from buildx_cache.layout.index import index_entries
from buildx_cache.layout.model import (
    BLOBS_LIMIT,
    DOCUMENTS_LIMIT,
    FINDINGS_LIMIT,
    MANIFESTS_LIMIT,
    TAGS_LIMIT,
    Descriptor,
    Finding,
    Kind,
    Role,
)
from buildx_cache.layout.parse import (
    IMAGE_NAME,
    INDEX_TAG,
    MalformedError,
    descriptor,
    is_digest,
    items,
    notes_of,
    parse_object,
)
from buildx_cache.layout.store import INDEX, Store


@dataclass(frozen=True, kw_only=True)
class Root:
    """An entry of index.json, at ``position`` in its list."""

    position: int
    descriptor: Descriptor


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What leads where.

    ``children`` is keyed by the digests of documents that were looked at. ``links`` holds every reference once, with
    what names it. ``obstacles`` are the findings that leave the reach unknown.
    """

    index: bytes
    roots: tuple[Root, ...]
    children: Mapping[str, tuple[Descriptor, ...]]
    links: Mapping[Descriptor, tuple[str, ...]]
    findings: tuple[Finding, ...]
    obstacles: tuple[Finding, ...]


class Findings:
    """Findings in their order: each fault of a blob once, whatever names it, and not more than can be read."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], Finding] = {}

    def add(self, finding: Finding) -> None:
        """Take one, once."""
        place = (finding.blob,) if is_digest(finding.blob) else (finding.blob, finding.referrer)
        if len(self._found) < FINDINGS_LIMIT:
            self._found.setdefault((*place, finding.problem), finding)
        elif len(self._found) == FINDINGS_LIMIT:
            more = Finding(kind=Kind.MORE, blob=INDEX, referrer="", problem="there are more findings than are listed")
            self._found[()] = more

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())


def walk(store: Store, index: bytes | None = None) -> Graph:
    """Follow every root of ``index`` (by default the folder's); what cannot be followed is a finding, no error."""
    return _Walk(store, index).run()


@dataclass
class _Walk:
    store: Store
    given: bytes | None = None
    index: bytes = b""
    roots: list[Root] = field(default_factory=list)
    children: dict[str, tuple[Descriptor, ...]] = field(default_factory=dict)
    links: dict[Descriptor, dict[str, None]] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    obstacles: Findings = field(default_factory=Findings)
    names: set[tuple[str, str]] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    budget: int = DOCUMENTS_LIMIT

    def run(self) -> Graph:
        self._read_roots()
        queue = [root.descriptor for root in self.roots]
        for found in queue:
            self.links.setdefault(_untagged(found), {})[_referrer(found.tag)] = None
            self.digests.add(found.digest)
        while queue:
            queue.extend(self._expand(queue.pop()))
        return Graph(
            index=self.index,
            roots=tuple(self.roots),
            children=self.children,
            links={found: tuple(by) for found, by in self.links.items()},
            findings=tuple(self.findings),
            obstacles=tuple(self.obstacles),
        )

    def _obstacle(self, error: MalformedError, blob: str, referrer: str, *, kind: Kind | None = None) -> None:
        finding = Finding(kind=kind or error.kind, blob=blob, referrer=referrer, problem=error.problem)
        self.findings.add(finding)
        self.obstacles.add(finding)

    def _read_roots(self) -> None:
        try:
            self.index = self.store.read_index() if self.given is None else self.given
            entries = index_entries(self.index)
        except MalformedError as error:
            kind = Kind.ABSENT if error.kind is Kind.MISSING else Kind.INDEX
            self._obstacle(error, INDEX, "", kind=kind)
            return
        if len(entries) > TAGS_LIMIT:
            self._obstacle(MalformedError(Kind.INDEX, f"has more than {TAGS_LIMIT} entries"), INDEX, "")
        for position, entry in enumerate(entries[:TAGS_LIMIT]):
            try:
                self.roots.append(Root(position=position, descriptor=descriptor(entry)))
                self._note_name(entry)
            except MalformedError as error:
                # No digest covers index.json: what looks unknown there is damage, and the tag may be restored.
                self._obstacle(error, f"manifests[{position}]", INDEX, kind=Kind.DESCRIPTOR)

    def _note_name(self, entry: object) -> None:
        notes = notes_of(entry) if isinstance(entry, dict) else {}
        name = (notes.get(INDEX_TAG, ""), notes.get(IMAGE_NAME, ""))
        if any(name) and name in self.names:
            tag = self.roots[-1].descriptor.tag
            problem = f"the tag {tag!a} is given more than once; the first is used"
            digest = self.roots[-1].descriptor.digest
            self.findings.add(Finding(kind=Kind.DUPLICATE_TAG, blob=digest, referrer=INDEX, problem=problem))
        self.names.add(name)

    def _expand(self, parent: Descriptor) -> list[Descriptor]:
        """The documents among what ``parent`` names, if it was not looked at before."""
        if not parent.role.refers or parent.digest in self.children:
            return []
        self.children[parent.digest] = ()
        try:
            document = self._document(parent)
            found = list(self._named(document, parent))
            self._count(found)
        except MalformedError as error:
            self._obstacle(error, parent.digest, next(iter(self.links[_untagged(parent)])))
            return []
        self.children[parent.digest] = tuple(found)
        for child in found:
            self.links.setdefault(_untagged(child), {})[parent.digest] = None
        return [child for child in found if child.role.refers]

    def _count(self, found: list[Descriptor]) -> None:
        new = {child.digest for child in found} - self.digests
        if len(self.digests) + len(new) > BLOBS_LIMIT:
            raise MalformedError(Kind.DOCUMENT, f"leads to more than {BLOBS_LIMIT} blobs, with others")
        self.digests |= new

    def _document(self, of: Descriptor) -> Mapping[str, object]:
        if len(self.children) > MANIFESTS_LIMIT:
            raise MalformedError(Kind.DOCUMENT, f"comes after {MANIFESTS_LIMIT} other manifests")
        content = self.store.read_document(of.digest)
        self.budget -= len(content)
        if self.budget < 0:
            raise MalformedError(Kind.DOCUMENT, f"comes after {DOCUMENTS_LIMIT} bytes of other manifests")
        document = parse_object(content)
        if document.get("mediaType", of.media_type) != of.media_type:
            raise MalformedError(Kind.DOCUMENT, "says another media type than what names it")
        key = "manifests" if of.role is Role.INDEX else "config"
        if key not in document:
            raise MalformedError(Kind.DOCUMENT, f"has no {key!r}")
        return document

    def _named(self, document: Mapping[str, object], parent: Descriptor) -> Iterator[Descriptor]:
        """Every descriptor in a document; a bad one is an obstacle and the rest is still followed."""
        entries = [("config", document["config"])] if "config" in document else []
        for key in ("manifests", "layers"):
            entries += [(f"{key}[{place}]", value) for place, value in enumerate(items(document, key))]
        for place, value in entries:
            try:
                yield descriptor(value)
            except MalformedError as error:
                self._obstacle(error, place, parent.digest)
        yield from self._subject(document)

    def _subject(self, document: Mapping[str, object]) -> Iterator[Descriptor]:
        """What a manifest is about (image-spec 1.1) may be absent, and is kept where it is present."""
        if document.get("subject") is not None:
            subject = descriptor(document["subject"])
            if self.store.file(subject.digest):
                yield subject


def _untagged(found: Descriptor) -> Descriptor:
    if not found.tag:
        return found
    return Descriptor(media_type=found.media_type, digest=found.digest, size=found.size, created=found.created)


def _referrer(tag: str) -> str:
    return f"{INDEX}, tag {ascii(tag)[1:-1]}" if tag else INDEX
