"""What a folder's index refers to, tag by tag, and what nothing refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from buildx_cache.layout.blobsets import BlobSet, Numbering, Weights
from buildx_cache.layout.graph import FOLDER_LIMITS, Graph, walk
from buildx_cache.layout.model import Blob, Descriptor, Reach, Role, Shape, Tag
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.records import Records, read_configs
from buildx_cache.layout.store import BlobFile, Store, open_store


def reach(folder: Path) -> Reach:
    """Follow index.json. Reads every manifest and cacheconfig, no layer. Never raises on what the folder holds."""
    try:
        with open_store(folder) as store:
            return reach_of(store, walk(store))
    except MalformedError as error:
        return Reach(folder=folder, obstacles=(error.at(str(folder)),))


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
    closed = _closures(graph, numbering)
    sizes = Weights(numbering, {name: file.size for name in names if (file := store.file(name))})
    layers = numbering.bits(found.digest for found in graph.links if found.role is Role.LAYER)
    configs_read = read_configs(graph, store, FOLDER_LIMITS)
    read = {config.digest: found for config, _, found in configs_read if isinstance(found, Records)}
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
            shape=shape_of(root.descriptor, graph.children.get(root.descriptor.digest, ())),
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
    for digest in graph.leaves_first():
        below = [found[child.digest] for child in graph.children[digest] if child.digest in found]
        if below:
            found[digest] = max(below)
    return found


def shape_of(root: Descriptor, below: Iterable[Descriptor]) -> Shape:
    """Tell how a tag's root is made that leads to these descriptors."""
    if all(child.role is not Role.CACHE_CONFIG for child in below):
        return Shape.IMAGE
    return Shape.IMAGE_MANIFEST if root.role is Role.MANIFEST else Shape.LAYER_LIST


def _closures(graph: Graph, numbering: Numbering) -> Mapping[str, int]:
    """For each root, and each document that names something, the bits of itself and of all that it leads to."""
    found: dict[str, int] = {}
    for digest in graph.leaves_first():
        children = {child.digest for child in graph.children[digest]}
        bits = numbering.bits((digest, *children))
        for inner in children & found.keys():
            bits |= found[inner]
        found[digest] = bits
    alone = {root.descriptor.digest for root in graph.roots} - found.keys()
    return {**found, **{digest: numbering.bits([digest]) for digest in alone}}


def _modified(file: BlobFile | None) -> float | None:
    return file.modified if file else None
