"""What a tag in a registry leads to: the walk from its manifest to the records and layers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from buildx_cache.errors import UsageError
from buildx_cache.layout.model import (
    DOCUMENT_LIMIT,
    FINDINGS_LIMIT,
    Descriptor,
    Finding,
    Kind,
    Role,
    Shape,
)
from buildx_cache.layout.parse import MalformedError, descriptor, items, parse_object
from buildx_cache.layout.records import Records, read_records
from buildx_cache.registry.distribution import Distribution

_DOCUMENTS = 256
_BYTES = 32 << 20
"""Of all documents of one tag, several of which are read at a time. BuildKit imports manifests of at most 1 MiB."""
_BLOBS = 50_000
"""That one tag may lead to."""
_INLINE = "moby.buildkit.cache.v0"
_INLINE_LIMIT = DOCUMENT_LIMIT

_REMEDIES: Mapping[Kind, str] = {
    Kind.TOO_LARGE: "build fewer steps into it (mode=min, or a reference per target): BuildKit does not import it",
    Kind.MEDIA_TYPE: "check what wrote it: BuildKit writes no such cache",
    Kind.MORE: "check what wrote it: it is larger than a cache should be",
}
_REBUILD = "delete the tag, and the next build writes the cache again"


@dataclass(frozen=True, kw_only=True)
class RemoteFinding(Finding):
    """A fault of a cache in a registry."""

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return _REMEDIES.get(self.kind, _REBUILD)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A tag's manifest, and all that was found below it.

    ``links`` holds every descriptor once, the root's included, with the digest (or tag) that names it.
    ``records`` are those of each cacheconfig, by its digest; ``findings`` say what could not be read.
    """

    root: Descriptor
    shape: Shape
    links: Mapping[Descriptor, str]
    records: Mapping[str, Records]
    inline: bool
    findings: tuple[Finding, ...]

    def layers(self) -> Iterator[Descriptor]:
        """The layers, each once."""
        seen: set[str] = set()
        for link in self.links:
            if link.role is Role.LAYER and link.digest not in seen:
                seen.add(link.digest)
                yield link


def read_contents(registry: Distribution, tag: str) -> Contents:
    """Follow a tag.

    Raises:
        UsageError: there is no such tag.
        MalformedError: its manifest cannot be read.
    """
    manifest = registry.manifest(tag)
    if manifest is None:
        raise UsageError(f"{registry.name} has no tag {tag}", hint="check the tag's name")
    document = parse_object(manifest.content)
    media_type = document.get("mediaType", manifest.media_type)
    root = descriptor({"mediaType": media_type, "digest": manifest.digest, "size": len(manifest.content)})
    if not root.role.refers:
        raise MalformedError(Kind.MEDIA_TYPE, f"is no manifest but {root.media_type}")
    return _Walk(registry=registry).run(root, tag, document)


@dataclass(kw_only=True)
class _Walk:
    registry: Distribution
    links: dict[Descriptor, str] = field(default_factory=dict)
    children: dict[Descriptor, tuple[Descriptor, ...]] = field(default_factory=dict)
    documents: dict[str, Mapping[str, object]] = field(default_factory=dict)
    records: dict[str, Records] = field(default_factory=dict)
    findings: dict[Finding, None] = field(default_factory=dict)
    budget: int = _BYTES

    def run(self, root: Descriptor, tag: str, document: Mapping[str, object]) -> Contents:
        self.links[root] = tag
        self.documents[root.digest] = document
        queue = [root]
        while queue:
            queue.extend(self._expand(queue.pop()))
        for parent in self.children:
            self._read_records(parent)
        cache = any(link.role is Role.CACHE_CONFIG for link in self.links)
        shape = Shape.IMAGE_MANIFEST if root.role is Role.MANIFEST else Shape.LAYER_LIST
        return Contents(
            root=root,
            shape=shape if cache else Shape.IMAGE,
            links=self.links,
            records=self.records,
            inline=not cache and any(_INLINE in found for found in self.documents.values()),
            findings=tuple(self.findings),
        )

    def _fault(self, error: MalformedError, blob: str, referrer: str) -> None:
        if len(self.findings) < FINDINGS_LIMIT:
            self.findings[RemoteFinding(kind=error.kind, blob=blob, referrer=referrer, problem=error.problem)] = None

    def _expand(self, parent: Descriptor) -> list[Descriptor]:
        """Read the documents that ``parent`` names; those that name more are given back."""
        most = _BLOBS - len(self.links)
        self.children[parent] = tuple(islice(self._named(parent), most))
        if len(self.children[parent]) == most:
            self._fault(
                MalformedError(Kind.MORE, f"names more than the {_BLOBS} blobs that are followed"),
                parent.digest,
                self.links[parent],
            )
        deeper: list[Descriptor] = []
        for child in self.children[parent]:
            if child in self.links:
                continue
            self.links[child] = parent.digest
            if child.role is not Role.LAYER and child.digest not in self.documents and self._read(child, parent):
                deeper += [child] if child.role.refers else []
        return deeper

    def _named(self, parent: Descriptor) -> Iterator[Descriptor]:
        """Every descriptor in a document; a bad one is a fault."""
        document = self.documents[parent.digest]
        needed = "manifests" if parent.role is Role.INDEX else "config"
        if needed not in document:
            self._fault(MalformedError(Kind.DOCUMENT, f"has no {needed!r}"), parent.digest, self.links[parent])
        entries = [("config", document["config"])] if "config" in document else []
        for key in ("manifests", "layers"):
            try:
                entries += [(f"{key}[{place}]", value) for place, value in enumerate(items(document, key))]
            except MalformedError as error:
                self._fault(error, parent.digest, self.links[parent])
        for place, value in entries:
            try:
                yield descriptor(value)
            except MalformedError as error:
                self._fault(error, place, parent.digest)

    def _read(self, of: Descriptor, parent: Descriptor) -> bool:
        try:
            self.documents[of.digest] = parse_object(self._content(of))
        except MalformedError as error:
            self._fault(error, of.digest, parent.digest)
            return False
        return True

    def _content(self, of: Descriptor) -> bytes:
        self.budget -= of.size
        if len(self.documents) >= _DOCUMENTS or self.budget < 0:
            raise MalformedError(Kind.MORE, "comes after more manifests than are read")
        return self._manifest(of) if of.role.refers else read_blob(self.registry, of)

    def _manifest(self, of: Descriptor) -> bytes:
        manifest = self.registry.manifest(of.digest)
        if manifest is None:
            raise MalformedError(Kind.MISSING, "is not in the registry")
        if len(manifest.content) != of.size:
            raise MalformedError(Kind.SIZE, f"has {len(manifest.content)} bytes, not {of.size}")
        return manifest.content

    def _read_records(self, parent: Descriptor) -> None:
        """The records beside a manifest's layers, or inside the image config beside them."""
        layers = [child.digest for child in self.children[parent] if child.role is Role.LAYER]
        for child in self.children[parent]:
            document = self.documents.get(child.digest)
            if document is None or child.role.refers or child.digest in self.records:
                continue
            try:
                config = document if child.role is Role.CACHE_CONFIG else inline_records(document, layers)
            except MalformedError as error:
                self._fault(error, child.digest, parent.digest)
                continue
            if config is not None:
                self.records[child.digest] = read_records(config)
                for fault in self.records[child.digest].faults_in(frozenset(layers)):
                    self._fault(MalformedError(Kind.RECORDS, fault), child.digest, parent.digest)


def inline_records(config: Mapping[str, object], layers: list[str]) -> Mapping[str, object] | None:
    """The inline cache of an image's config, written as a cacheconfig over the image's layers; None without one.

    BuildKit keeps only the records there, as base64 (``cache/remotecache/inline/inline.go``).

    Raises:
        MalformedError: there is one that cannot be read.
    """
    value = config.get(_INLINE)
    if value is None:
        return None
    try:
        records = json.loads(base64.b64decode(str(value), validate=True)[:_INLINE_LIMIT])
    except (binascii.Error, ValueError, RecursionError):
        raise MalformedError(Kind.RECORDS, "holds an inline cache that cannot be read") from None
    chain = [{"blob": digest, "parent": place - 1} for place, digest in enumerate(layers)]
    return {"layers": chain, "records": records}


def read_blob(registry: Distribution, of: Descriptor) -> bytes:
    """A document whole, its size and SHA-256 compared.

    Raises:
        MalformedError: it is absent, or not what its descriptor says.
    """
    if of.size > DOCUMENT_LIMIT:
        raise MalformedError(Kind.TOO_LARGE, f"has {of.size} bytes, and at most {DOCUMENT_LIMIT} are read")
    content = bytearray()
    check_blob(registry, of, content.extend)
    return bytes(content)


def check_blob(registry: Distribution, of: Descriptor, take: Callable[[bytes], object] | None = None) -> None:
    """Read a blob through SHA-256; ``take`` is called with its pieces.

    Raises:
        MalformedError: it is absent, or has another size or content.
    """
    hashed = hashlib.sha256()
    size = 0
    with registry.blob(of.digest, of.size) as pieces:
        if pieces is None:
            raise MalformedError(Kind.MISSING, "is not in the registry")
        for piece in pieces:
            size += len(piece)
            if size > of.size:
                raise MalformedError(Kind.SIZE, f"has more than its {of.size} bytes")
            hashed.update(piece)
            if take:
                take(piece)
    if size != of.size:
        raise MalformedError(Kind.SIZE, f"has {size} bytes, not {of.size}")
    if "sha256:" + hashed.hexdigest() != of.digest:
        raise MalformedError(Kind.CONTENT, "has other content than its digest says")
