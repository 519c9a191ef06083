"""Inspect and verify the caches in a repository of a registry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from buildx_cache.cache_tags import REF_PREFIX
from buildx_cache.errors import CacheError, UsageError
from buildx_cache.layout.graph import Graph, Root, WalkLimits, follow
from buildx_cache.layout.model import DOCUMENT_LIMIT, Descriptor, Finding, FindingKind, Role, Shape
from buildx_cache.layout.parse import MalformedError, descriptor, parse_object
from buildx_cache.layout.reachability import shape_of
from buildx_cache.layout.records import Records, read_configs
from buildx_cache.layout.verification import limit_faults
from buildx_cache.redaction import Secret
from buildx_cache.reference import Reference, is_loopback
from buildx_cache.registry import Credential
from buildx_cache.registry.authorization import Login
from buildx_cache.registry.distribution import Distribution, in_parallel
from buildx_cache.registry.transport import Pace, Send, sender

TAG_LIMITS = WalkLimits(roots=1, documents=128, document_bytes=32 << 20, blobs=50_000)
"""The limits for one tag; several tags are read concurrently. BuildKit imports manifests of at most 1 MiB."""

_REMEDIES: Mapping[FindingKind, str] = {
    FindingKind.TOO_LARGE: (
        "build fewer steps into it (mode=min, or a reference per target): BuildKit does not import it"
    ),
    FindingKind.MEDIA_TYPE: "check what wrote it: BuildKit writes no such cache",
    FindingKind.MORE: "check what wrote it: it is larger than a cache should be",
}
_REBUILD = "delete the tag, and the next build writes the cache again"


@dataclass(frozen=True, kw_only=True)
class RemoteFinding(Finding):
    """A fault of a cache in a registry."""

    @property
    def remedy(self) -> str:
        """Return how the user can repair the fault."""
        return _REMEDIES.get(self.kind, _REBUILD)


def remote(finding: Finding) -> RemoteFinding:
    """Return a finding with the remedies of a cache in a registry."""
    return RemoteFinding(kind=finding.kind, blob=finding.blob, referrer=finding.referrer, problem=finding.problem)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A tag's manifest and the blobs below it.

    ``records`` maps the digest of each cacheconfig and of each config with an inline cache to its records; ``findings``
    are the documents that could not be read.
    """

    root: Descriptor
    graph: Graph
    shape: Shape
    records: Mapping[str, Records]
    findings: tuple[RemoteFinding, ...]

    def layers(self) -> Mapping[str, tuple[Descriptor, str]]:
        """Return the layers by digest, each with the digest of its first referrer."""
        found: dict[str, tuple[Descriptor, str]] = {}
        for link, referrers in self.graph.links.items():
            if link.role is Role.LAYER:
                found.setdefault(link.digest, (link, referrers[0]))
        return found


def read_contents(registry: Distribution, tag: str) -> Contents:
    """Read a tag's manifest and every document below it.

    Raises:
        UsageError: the tag does not exist.
        MalformedError: the tag's manifest cannot be read.
    """
    manifest = registry.manifest(tag)
    if manifest is None:
        raise UsageError(f"{registry.name} has no tag {tag}", code="tag-absent", hint="check the tag's name")
    media_type = parse_object(manifest.content).get("mediaType", manifest.media_type)
    root = descriptor({"mediaType": media_type, "digest": manifest.digest, "size": len(manifest.content)})
    if not root.role.refers:
        raise MalformedError(FindingKind.MEDIA_TYPE, f"is no manifest but {root.media_type}")
    source = _Source(registry=registry, root=root, content=manifest.content)
    graph = follow(Root(position=0, descriptor=root, referrer=tag), source, TAG_LIMITS)
    records: dict[str, Records] = {}
    findings = dict.fromkeys(graph.findings)
    for config, parent, found in read_configs(graph, source, TAG_LIMITS):
        faults = [found] if isinstance(found, MalformedError) else []
        if isinstance(found, Records):
            records[config.digest] = found
            faults = [MalformedError(FindingKind.RECORDS, fault) for fault in found.faults]
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
    """The documents below a tag; ``content`` is that of ``root``, which was read already."""

    registry: Distribution
    root: Descriptor
    content: bytes

    def has(self, _: str) -> bool:
        """Return False, so that no subject is followed: a signature does not contain the image that it signs."""
        return False

    def fetch(self, of: Descriptor) -> bytes:
        if of.digest == self.root.digest:
            return self.content
        if not of.role.refers:
            return read_blob(self.registry, of)
        manifest = self.registry.manifest(of.digest)
        if manifest is None:
            raise MalformedError(FindingKind.MISSING, "is not in the registry")
        if len(manifest.content) != of.size:
            raise MalformedError(FindingKind.SIZE, f"has {len(manifest.content)} bytes, not {of.size}")
        return manifest.content


def read_blob(registry: Distribution, of: Descriptor) -> bytes:
    """Return the content of a document, after comparing its size and SHA-256.

    Raises:
        MalformedError: the document is absent, too large, or does not match its descriptor.
    """
    if of.size > DOCUMENT_LIMIT:
        raise MalformedError(FindingKind.TOO_LARGE, f"has {of.size} bytes, and at most {DOCUMENT_LIMIT} are read")
    content = bytearray()
    check_blob(registry, of, content.extend)
    return bytes(content)


def check_blob(registry: Distribution, of: Descriptor, take: Callable[[bytes], object] = len) -> None:
    """Read a blob, compare its size and SHA-256, and call ``take`` with each piece.

    Raises:
        MalformedError: the blob is absent, or does not match its descriptor.
    """
    hashed = hashlib.sha256()
    size = 0
    with registry.blob(of.digest, of.size) as pieces:
        if pieces is None:
            raise MalformedError(FindingKind.MISSING, "is not in the registry")
        for piece in pieces:
            size += len(piece)
            if size > of.size:
                raise MalformedError(FindingKind.SIZE, f"has more than its {of.size} bytes")
            hashed.update(piece)
            take(piece)
    if size != of.size:
        raise MalformedError(FindingKind.SIZE, f"has {size} bytes, not {of.size}")
    if "sha256:" + hashed.hexdigest() != of.digest:
        raise MalformedError(FindingKind.CONTENT, "has other content than its digest says")


class TagKind(StrEnum):
    """The kind of a tag's content."""

    CACHE = "cache"
    INLINE = "image with an inline cache"
    IMAGE = "image without a cache"


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteCache:
    """The content of a tag.

    ``layers`` are sorted, largest first. ``size`` counts the manifests, configs and layers, each once, in bytes.
    ``records`` is None if there are no readable records. ``created`` is the newest time in the records (seconds since
    the epoch), None if unknown: the time at which a step last ran. A registry does not say when a tag was last pushed.
    ``findings`` are the documents that could not be read.
    """

    tag: str
    digest: str
    media_type: str
    shape: Shape
    holds: TagKind
    layers: tuple[Descriptor, ...]
    records: int | None
    size: int
    created: float | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """The caches in one repository. Every method that sends a request may raise DeniedError or UnreachableError."""

    registry: Distribution

    @property
    def name(self) -> str:
        """Return ``host/path``, for people."""
        return self.registry.name

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Return the passwords and tokens that were sent to the registry."""
        return self.registry.login.secrets

    def tags(self) -> tuple[str, ...]:
        """Return every tag.

        Raises:
            UsageError: the repository does not exist.
        """
        return self.registry.tags()

    def cache_tags(self) -> tuple[str, ...]:
        """Return the cache tags of scopes: ``buildcache-*``.

        Raises:
            UsageError: the repository does not exist.
        """
        return tuple(tag for tag in self.tags() if tag.startswith(REF_PREFIX))

    def inspect(self, tag: str) -> RemoteCache:
        """Return the content of a tag from its manifests and records; request no layer.

        Raises:
            UsageError: the tag does not exist.
            CacheError: the tag's manifest cannot be read.
        """
        try:
            contents = read_contents(self.registry, tag)
        except MalformedError as error:
            raise CacheError(
                f"{self.name}:{tag} {error.problem}",
                code="cache-damaged",
                hint="delete the tag, and the next build writes it again",
            ) from None
        return _described(tag, contents)

    def verify(self, tag: str, *, deep: bool = False) -> tuple[Finding, ...]:
        """Return every fault of a tag once; empty if the tag is sound.

        Read manifests and configs and compare their digests; ask for the presence and size of each layer by HEAD.
        ``deep`` also reads the layers, a piece at a time, and compares their SHA-256.

        Raises:
            UsageError: the tag does not exist.
        """
        try:
            contents = read_contents(self.registry, tag)
        except MalformedError as error:
            return (remote(error.at(tag)),)
        layers = [pair for pair in contents.layers().values() if not _is_elsewhere(pair[0])]
        check = self._read_layer if deep else self._ask_for_layer
        faults = zip(layers, in_parallel(check, [layer for layer, _ in layers]), strict=True)
        found = [fault.at(layer.digest, referrer) for (layer, referrer), fault in faults if fault]
        return tuple(dict.fromkeys((*contents.findings, *map(remote, (*limit_faults(contents.graph), *found)))))

    def _ask_for_layer(self, layer: Descriptor) -> MalformedError | None:
        size = self.registry.blob_size(layer.digest)
        if size is None:
            return MalformedError(FindingKind.MISSING, "is not in the registry")
        if size not in (-1, layer.size):
            return MalformedError(FindingKind.SIZE, f"has {size} bytes, not {layer.size}")
        return None

    def _read_layer(self, layer: Descriptor) -> MalformedError | None:
        try:
            check_blob(self.registry, layer)
        except MalformedError as error:
            return error
        return None


def connect(
    repository: Reference,
    credential: Callable[[str], Credential | None],
    *,
    env: Mapping[str, str] | None = None,
    plain_http: bool | None = None,
    send: Send | None = None,
    pace: Pace = Pace(),  # noqa: B008 -- frozen
) -> Repository:
    """Return a repository without sending a request; ignore the reference's tag and digest.

    Args:
        repository: a reference to the repository.
        credential: returns the login for a ``Reference.registry_host``; called if the registry asks for a login.
        env: variables that name proxies.
        plain_http: whether to use plain HTTP; None: only to this machine, as BuildKit (``util/resolver/resolver.go``).
        send: replaces the network.
        pace: limits every answer.

    Raises:
        UnreachableError: the proxy in ``env`` is unusable.
    """
    host, address, path = repository.registry_host, repository.api_host, repository.canonical.path
    plain = is_loopback(address) if plain_http is None else plain_http
    send = send or sender(env or {}, pace)
    login = Login(host=host, path=path, credential=credential, send=send)
    base = f"{'http' if plain else 'https'}://{address}"
    return Repository(registry=Distribution(host=host, path=path, base=base, send=send, login=login, pace=pace))


def _described(tag: str, contents: Contents) -> RemoteCache:
    records = contents.records.values()
    image = TagKind.INLINE if records else TagKind.IMAGE
    layers = [layer for layer, _ in contents.layers().values()]
    return RemoteCache(
        tag=tag,
        digest=contents.root.digest,
        media_type=contents.root.media_type,
        shape=contents.shape,
        holds=image if contents.shape is Shape.IMAGE else TagKind.CACHE,
        layers=tuple(sorted(layers, key=lambda layer: (-layer.size, layer.digest))),
        records=sum(one.records for one in records) if records else None,
        size=sum({link.digest: link.size for link in contents.graph.links}.values()),
        created=max((one.newest for one in records if one.newest is not None), default=None),
        findings=contents.findings,
    )


def _is_elsewhere(layer: Descriptor) -> bool:
    """Return whether a layer is stored by its vendor and not by registries (Windows base images)."""
    return "nondistributable" in layer.media_type or ".foreign." in layer.media_type
