"""What a folder's index refers to, tag by tag, and what nothing refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from buildx_cache.layout.blobsets import BlobSet, Numbering, Weights
from buildx_cache.layout.closures import closures, leaves_first
from buildx_cache.layout.graph import Graph, Root, walk
from buildx_cache.layout.model import DOCUMENTS_LIMIT, Blob, Descriptor, Finding, Kind, Reach, Role, Shape, Tag
from buildx_cache.layout.parse import MalformedError, parse_object
from buildx_cache.layout.records import Records, read_records
from buildx_cache.layout.store import BlobFile, Store, open_store


def reach(folder: Path) -> Reach:
    """Follow index.json. Reads every manifest and cacheconfig, no layer. Never raises on what the folder holds."""
    try:
        with open_store(folder) as store:
            return reach_of(store, walk(store))
    except MalformedError as error:
        return empty_reach(folder, error)


def empty_reach(folder: Path, error: MalformedError) -> Reach:
    """The reach of a folder that cannot be opened."""
    obstacle = Finding(kind=error.kind, blob=str(folder), referrer="", problem=error.problem)
    return Reach(
        folder=folder,
        tags=(),
        blobs=(),
        digests=frozenset(),
        records=0,
        live_bytes=0,
        dead_blobs=0,
        dead_bytes=0,
        obstacles=(obstacle,),
    )


def reach_of(store: Store, graph: Graph) -> Reach:
    """The reach of an open folder whose index was walked."""
    blobs = _blobs(graph)
    digests = frozenset(blob.digest for blob in blobs)
    tags = tuple(_tags(store, graph))
    dead = {name: file for name, file in store.files.items() if "sha256:" + name not in digests}
    return Reach(
        folder=store.path,
        tags=tags,
        blobs=blobs,
        digests=digests,
        records=sum(tag.records or 0 for tag in {tag.digest: tag for tag in tags}.values()),
        live_bytes=size_on_disk(store, digests),
        dead_blobs=len(dead),
        dead_bytes=sum(file.size for file in dead.values()),
        obstacles=(*graph.obstacles, *store.foreign),
    )


def size_on_disk(store: Store, digests: frozenset[str]) -> int:
    """Bytes that these blobs take; an absent one takes none."""
    return sum(file.size for file in map(store.file, digests) if file)


def _blobs(graph: Graph) -> tuple[Blob, ...]:
    referrers: dict[str, dict[str, None]] = {}
    first: dict[str, Descriptor] = {}
    for descriptor, names in graph.links.items():
        referrers.setdefault(descriptor.digest, {}).update(dict.fromkeys(names))
        first.setdefault(descriptor.digest, descriptor)
    return tuple(
        Blob(
            digest=digest,
            media_type=descriptor.media_type,
            size=descriptor.size,
            referrers=tuple(referrers[digest]),
            created=descriptor.created,
        )
        for digest, descriptor in first.items()
    )


def _tags(store: Store, graph: Graph) -> Iterator[Tag]:
    names = [found.digest for found in graph.links]
    numbering = Numbering(names)
    closed = closures(graph, numbering)
    sizes = Weights(numbering, {name: file.size for name in names if (file := store.file(name))})
    layers = numbering.bits(found.digest for found in graph.links if found.role is Role.LAYER)
    read = {digest: found for digest, _, found in cache_configs(store, graph) if isinstance(found, Records)}
    records = Weights(numbering, {digest: found.records for digest, found in read.items()})
    configs = numbering.bits(read)
    newest = _newest(graph, read)
    alone = _held_once(closed[root.descriptor.digest] for root in graph.roots)
    for root in graph.roots:
        bits = closed[root.descriptor.digest]
        yield Tag(
            name=root.descriptor.tag,
            digest=root.descriptor.digest,
            position=root.position,
            shape=_shape(graph, root),
            closure=BlobSet(numbering=numbering, bits=bits),
            layers=(bits & layers).bit_count(),
            records=records.of(bits) if bits & configs else None,
            live_bytes=sizes.of(bits),
            own_bytes=sizes.of(bits & alone),
            created=newest.get(root.descriptor.digest),
            written=_modified(store.file(root.descriptor.digest)),
        )


def _held_once(sets: Iterable[int]) -> int:
    """The blobs that are in just one of these sets."""
    once = twice = 0
    for bits in sets:
        twice |= once & bits
        once |= bits
    return once & ~twice


def _newest(graph: Graph, read: Mapping[str, Records]) -> Mapping[str, float]:
    """The newest time of the records below each document, and of each cacheconfig, where one is known."""
    found = {digest: records.newest for digest, records in read.items() if records.newest is not None}
    for digest in leaves_first(graph):
        below = [found[child.digest] for child in graph.children[digest] if child.digest in found]
        if below:
            found[digest] = max(below)
    return found


def cache_configs(store: Store, graph: Graph) -> Iterator[tuple[str, str, Records | MalformedError]]:
    """Every cacheconfig with each manifest that names it: both digests, and what was read of it. Each is read once."""
    budget = DOCUMENTS_LIMIT
    read: dict[str, Records | MalformedError] = {}
    for parent, children in graph.children.items():
        configs = {child.digest for child in children if child.role is Role.CACHE_CONFIG}
        provided = frozenset(child.digest for child in children if child.role is not Role.CACHE_CONFIG)
        for digest in configs:
            if digest not in read:
                file = store.file(digest)
                budget -= file.size if file else 0
                read[digest] = _read_config(store, digest) if budget >= 0 else TOO_MUCH
            found = read[digest]
            if isinstance(found, Records):
                found = replace(found, faults=found.faults_in(provided))
            yield digest, parent, found


TOO_MUCH = MalformedError(Kind.DOCUMENT, f"comes after {DOCUMENTS_LIMIT} bytes of other configs")


def _read_config(store: Store, digest: str) -> Records | MalformedError:
    try:
        return read_records(parse_object(store.read_document(digest)))
    except MalformedError as error:
        return error


def _shape(graph: Graph, root: Root) -> Shape:
    children = graph.children.get(root.descriptor.digest, ())
    if all(child.role is not Role.CACHE_CONFIG for child in children):
        return Shape.IMAGE
    return Shape.IMAGE_MANIFEST if root.descriptor.role is Role.MANIFEST else Shape.LAYER_LIST


def _modified(file: BlobFile | None) -> float | None:
    return file.modified if file else None
