"""What a tag in a registry leads to: its manifest, the documents below it, and their records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from buildx_cache.errors import UsageError
from buildx_cache.layout.graph import Graph, Limits, Root, follow
from buildx_cache.layout.model import DOCUMENT_LIMIT, Descriptor, Finding, Kind, Role, Shape
from buildx_cache.layout.parse import MalformedError, descriptor, parse_object
from buildx_cache.layout.reachability import shape_of
from buildx_cache.layout.records import Records, read_configs
from buildx_cache.registry.distribution import Distribution

TAG_LIMITS = Limits(roots=1, documents=128, document_bytes=32 << 20, blobs=50_000)
"""Of one tag; several are read at a time. BuildKit imports manifests of at most 1 MiB."""

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


def remote(finding: Finding) -> RemoteFinding:
    """Give the same fault of a cache in a registry."""
    return RemoteFinding(kind=finding.kind, blob=finding.blob, referrer=finding.referrer, problem=finding.problem)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A tag's manifest, and all that was found below it.

    ``records`` are those of each cacheconfig and inline cache, by its digest; ``findings`` say what could not be read.
    """

    root: Descriptor
    graph: Graph
    shape: Shape
    records: Mapping[str, Records]
    findings: tuple[RemoteFinding, ...]

    def layers(self) -> Mapping[str, tuple[Descriptor, str]]:
        """The layers by digest, each with what names it."""
        found: dict[str, tuple[Descriptor, str]] = {}
        for link, referrers in self.graph.links.items():
            if link.role is Role.LAYER:
                found.setdefault(link.digest, (link, referrers[0]))
        return found


def read_contents(registry: Distribution, tag: str) -> Contents:
    """Follow a tag.

    Raises:
        UsageError: there is no such tag.
        MalformedError: its manifest cannot be read.
    """
    manifest = registry.manifest(tag)
    if manifest is None:
        raise UsageError(f"{registry.name} has no tag {tag}", code="tag-absent", hint="check the tag's name")
    media_type = parse_object(manifest.content).get("mediaType", manifest.media_type)
    root = descriptor({"mediaType": media_type, "digest": manifest.digest, "size": len(manifest.content)})
    if not root.role.refers:
        raise MalformedError(Kind.MEDIA_TYPE, f"is no manifest but {root.media_type}")
    source = _Source(registry=registry, root=root, content=manifest.content)
    graph = follow(Root(position=0, descriptor=root, referrer=tag), source, TAG_LIMITS)
    records: dict[str, Records] = {}
    findings = dict.fromkeys(graph.findings)
    for config, parent, found in read_configs(graph, source, TAG_LIMITS):
        faults = [found] if isinstance(found, MalformedError) else []
        if isinstance(found, Records):
            records[config.digest] = found
            faults = [MalformedError(Kind.RECORDS, fault) for fault in found.faults]
        for fault in faults:
            findings[fault.at(config.digest, parent)] = None
    return Contents(
        root=root,
        graph=graph,
        shape=shape_of(root, graph.links),
        records=records,
        findings=tuple(map(remote, findings)),
    )


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The documents below a tag, of which one was read already."""

    registry: Distribution
    root: Descriptor
    content: bytes

    def has(self, _: str) -> bool:
        """Follow no subject: a signature is not what it signs."""
        return False

    def fetch(self, of: Descriptor) -> bytes:
        if of.digest == self.root.digest:
            return self.content
        if not of.role.refers:
            return read_blob(self.registry, of)
        manifest = self.registry.manifest(of.digest)
        if manifest is None:
            raise MalformedError(Kind.MISSING, "is not in the registry")
        if len(manifest.content) != of.size:
            raise MalformedError(Kind.SIZE, f"has {len(manifest.content)} bytes, not {of.size}")
        return manifest.content


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


def check_blob(registry: Distribution, of: Descriptor, take: Callable[[bytes], object] = len) -> None:
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
            take(piece)
    if size != of.size:
        raise MalformedError(Kind.SIZE, f"has {size} bytes, not {of.size}")
    if "sha256:" + hashed.hexdigest() != of.digest:
        raise MalformedError(Kind.CONTENT, "has other content than its digest says")
